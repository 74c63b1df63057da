"""Numbers, spans of time and columns as the commands print them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.commands.layout import (
    columns_of,
    fit,
    spell_bytes,
    spell_number,
    spell_rate,
    spell_span,
    table,
    wrap,
)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (999, "999"), (9_999_999, "9,999,999"), (12_345_678, "12.3M"), (10**10, "10G"), (10**18, "1E")],
)
def test_a_number(number: int, text: str) -> None:
    """Exact below ten million; three digits above."""
    assert spell_number(number) == text


@pytest.mark.parametrize(
    ("rate", "text"), [(0.0, "0"), (0.25, "0.25"), (5.0, "5"), (12.34, "12.3"), (4120.4, "4,120"), (1e9, "1G")]
)
def test_a_rate(rate: float, text: str) -> None:
    """As many digits as help."""
    assert spell_rate(rate) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5.0, "0s"),
        (0.9, "0s"),
        (34.0, "34s"),
        (725.0, "12m 5s"),
        (3600.0, "1h"),
        (86_400 * 3 + 3600.0 * 4 + 9, "3d 4h"),
    ],
)
def test_a_span_of_time(seconds: float, text: str) -> None:
    """The two largest units; a clock that was set back makes no negative one."""
    assert spell_span(seconds) == text


@pytest.mark.parametrize(("size", "text"), [(0, "0 B"), (1536, "1.5 KiB"), (3 << 19, "1.5 MiB"), (1 << 40, "1 TiB")])
def test_a_size(size: int, text: str) -> None:
    """Three digits and a unit."""
    assert spell_bytes(size) == text


@pytest.mark.parametrize(
    ("text", "columns"), [("abc", 3), ("grüße", 5), ("日本", 4), ("e\u0301", 1), ("🚒", 2), ("", 0)]
)
def test_columns(text: str, columns: int) -> None:
    """A terminal shows some characters in two columns, and combining ones in none."""
    assert columns_of(text) == columns


def test_a_text_that_is_cut() -> None:
    """It has as many columns as there is room for, never more."""
    assert fit("abcdef", 6) == "abcdef"
    assert fit("abcdefg", 6) == "abcde…"
    assert fit("日本語日本語", 6) == "日本…"


def test_a_text_in_lines() -> None:
    """It is broken at blanks; a word that is longer than a line is broken too, and blanks at the beginning stay."""
    assert wrap("  one two three", 9, "    ") == ["  one two", "    three"]
    assert wrap("abcdefghij", 6, "  ") == ["abcdef", "  ghij"]
    assert wrap("key    value", 80) == ["key    value"]
    assert wrap("", 80) == [""]


@given(st.text(st.sampled_from("ab 日\u0301-"), max_size=60), st.integers(8, 20))
def test_lines_are_never_too_long(text: str, columns: int) -> None:
    """And no character of a word is lost."""
    lines = wrap(text, columns, "  ")
    assert max(map(columns_of, lines)) <= columns
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_a_table() -> None:
    """Names are cut where the numbers need the room, and not below eight columns."""
    rows = [("a", "1"), ("日本語" * 5, "1000")]
    assert table(("name", "number"), rows, 20) == [
        "name          number",
        "a                  1",
        "日本語日本…     1000",
    ]
    assert table(("name", "number"), rows, 5)[2] == "日本語…     1000"
