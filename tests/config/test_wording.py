"""The words of messages: kinds of values, quoted values, lists of words, and paths."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.config.substitution import Substituted
from bridge.config.wording import describe, listed, near_miss, quoted, spell_path


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "null"),
        (True, "true or false"),
        (1, "a number"),
        (1.5, "a number"),
        ("x", "text"),
        (Substituted("x"), "text"),
        ([], "a list"),
        ({}, "a mapping"),
        (b"", "bytes"),
        (object(), "something else"),
    ],
)
def test_a_kind_of_value_has_one_name(value: object, words: str) -> None:
    """The configuration and the expressions call a kind of value by the same words."""
    assert describe(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("plant", "'plant'"),
        (Substituted("plant"), "'plant'"),
        ("it's", '"it\'s"'),
        ("\x1b[31m\n", r"'\x1b[31m\n'"),
        ("x" * 78, f"'{'x' * 78}'"),
        ("x" * 79, f"'{'x' * 77}…'"),
        (None, "null"),
        (True, "true"),
        (1.5, "1.5"),
        (2**256 - 1, str(2**256 - 1)),
        (-(2**256), "a huge number"),
        pytest.param(1 << 100_000, "a huge number", id="huge"),
        ([1], "a list"),
    ],
)
def test_a_value_is_quoted_in_few_words(value: object, words: str) -> None:
    """A message shows the beginning of a text, a number of usual size, and of anything else the kind."""
    assert quoted(value) == words


@given(text=st.text(max_size=200))
def test_quoted_text_stays_on_one_short_line(text: str) -> None:
    """Quoted text has nothing that a terminal obeys, no line break, and a closing quote."""
    shown = quoted(text)
    assert len(shown) <= 80
    assert shown.isprintable()
    assert shown[0] == shown[-1]


def test_a_near_miss_is_proposed_and_a_far_one_is_not() -> None:
    """A slip of the finger gets a hint; another word, or one too long to be a slip, gets none."""
    assert near_miss("topc", ("topic", "when")) == "did you mean 'topic'?"
    assert near_miss("itn", ("min", "int", "str"), 0.6) == "did you mean 'int'?"
    assert not near_miss("speed", ("topic", "when"))
    assert not near_miss("x" * 81, ("x" * 80,))


def test_words_and_paths_are_spelled_as_people_write_them() -> None:
    """Alternatives end in `or`; a key that is no word is quoted in brackets."""
    assert listed(["a"]) == "a"
    assert listed(["a", 2, "c"]) == "a, 2 or c"
    assert spell_path(("routes", 0, "kwargs", "unit")) == "routes[0].kwargs.unit"
    assert spell_path(("sources", "a b", "url")) == "sources['a b'].url"
