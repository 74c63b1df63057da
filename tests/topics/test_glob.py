"""Globs for topics: `*` and `?`, and no glob or topic that takes long."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import InvalidValue
from bridge.topics.glob import MAX_GLOB, MAX_TOPIC, Glob


@pytest.mark.parametrize(
    ("glob", "fits", "others"),
    [
        ("plants/3", ["plants/3"], ["plants/33", "plants", ""]),
        ("plants/*", ["plants/", "plants/3", "plants/3/ovens"], ["plant/3", "xplants/3"]),
        ("*.created", [".created", "order.created", "a.b.created"], ["order.created.x"]),
        ("*a*b*", ["ab", "xaxbx", "aab"], ["ba", "a"]),
        ("a?c", ["abc", "a/c", "a\nc"], ["ac", "abbc"]),
        ("*", ["", "x", "x" * 5000], []),
        ("**", ["", "x" * 5000], []),
        ("a*a", ["aa", "aba"], ["a"]),
        ("[a]+.(x)", ["[a]+.(x)"], ["a.x", "aax"]),
        ("?*?", ["ab", "abc"], ["a", ""]),
        ("grüße/*", ["grüße/日本"], ["gruesse/x"]),
    ],
)
def test_globs(glob: str, fits: list[str], others: list[str]) -> None:
    """An asterisk is any run of characters, also none and over every separator; a question mark is one."""
    compiled = Glob(glob)
    assert [topic for topic in fits if not compiled.fits(topic)] == []
    assert [topic for topic in others if compiled.fits(topic)] == []


@given(st.text("ab*?", max_size=8), st.text("ab", max_size=8))
def test_a_glob_is_as_its_regular_expression(glob: str, topic: str) -> None:
    """The matcher never goes back, and finds the same."""
    pattern = "".join({"*": ".*", "?": "."}.get(char, char) for char in glob)
    assert Glob(glob).fits(topic) == (re.fullmatch(pattern, topic) is not None)


def test_long_topics_fit_asterisks_only() -> None:
    """No route matches topics of more than 1,024 characters either."""
    assert Glob("a*").fits("a" * MAX_TOPIC)
    assert not Glob("a*").fits("a" * (MAX_TOPIC + 1))


def test_long_globs_are_refused() -> None:
    """With words."""
    with pytest.raises(InvalidValue, match="at most 256 characters"):
        Glob("x" * (MAX_GLOB + 1))


@pytest.mark.parametrize("glob", ["*a" * 128, "*?a" * 85, "a*" * 128, "*" + "?" * 254 + "b", "*" + "a" * 254 + "b"])
def test_no_glob_takes_long(glob: str) -> None:
    """A hundred hostile topics take less than a second of CPU, with any glob; here tenfold."""
    compiled = Glob(glob)
    begin = time.process_time()
    for length in range(MAX_TOPIC - 100, MAX_TOPIC):
        assert not compiled.fits("a" * length + "c") or glob.endswith("*")
    assert time.process_time() - begin < 10
