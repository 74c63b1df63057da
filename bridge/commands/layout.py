"""Text for a terminal of some width: numbers and spans of time as people read them, columns, and lines that are broken."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))
#: A larger number is shown in three digits and a letter.
_MAX_EXACT: Final = 10_000_000
_WORD: Final = re.compile(r"( *)([^ ]+)")
_LETTERS: Final = ("k", "M", "G", "T", "P", "E")
#: In columns; names are cut to so many where others need the room.
_MIN_NAME: Final = 8


def spell_number(number: int) -> str:
    """Return `1,234,567`, and of a larger number `12.3M`."""
    if number < _MAX_EXACT:
        return f"{number:,}"
    value, letter = float(number), ""
    for each in _LETTERS:
        if value < 1000:
            break
        value, letter = value / 1000, each
    return f"{value:.3g}{letter}" if value < 999.5 else f"{value:.0f}{letter}"


def spell_rate(rate: float) -> str:
    """Return `0`, `0.25`, `12.3` or `4,120`, in events a second."""
    if rate >= 100:
        return spell_number(round(rate))
    return f"{rate:.1f}" if rate >= 10 else f"{rate:.2f}".rstrip("0").rstrip(".")


def spell_span(seconds: float) -> str:
    """Return the two largest units of a span of time: `3d 4h`, `12m 5s`, `34s`, and `0s` of less than a second."""
    left = max(0, int(seconds))
    parts: list[str] = []
    for size, unit in _UNITS:
        count, left = divmod(left, size)
        if count or parts:
            parts.append(f"{count}{unit}" if count else "")
    return " ".join(filter(None, parts[:2])) or "0s"


def spell_bytes(size: int) -> str:
    """Return a size in three digits, such as `1.5 MiB`."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.3g} {unit}"
        value /= 1024
    return f"{value:.3g} TiB"


def columns_of(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(_columns(char) for char in text)


def _columns(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def fit(text: str, columns: int) -> str:
    """Return a text of at most so many columns; the end of a longer one is cut."""
    return text if columns_of(text) <= columns else f"{_beginning(text, columns - 1)}…"


def _beginning(text: str, columns: int) -> str:
    """Return as much of a text as fits into so many columns."""
    taken = 0
    for index, char in enumerate(text):
        taken += _columns(char)
        if taken > columns:
            return text[:index]
    return text


def wrap(text: str, columns: int, indent: str = "") -> list[str]:
    """Return a text in lines of at most so many columns, broken at blanks; all but the first begin with `indent`.

    A word that is longer than a line is broken too.
    """
    lines: list[str] = []
    line = ""
    for blanks, word in _WORD.findall(text):
        if line.strip() and columns_of(line + blanks + word) > columns:
            lines.append(line)
            line = indent + word
        else:
            line += blanks + word
        while columns_of(line) > columns and columns_of(indent) + 2 <= columns:
            head = _beginning(line, columns)
            lines.append(head)
            line = indent + line[len(head) :]
    return [*lines, line]


def table(head: Sequence[str], rows: Sequence[Sequence[str]], columns: int) -> list[str]:
    """Return lines in columns: the first one to the left, its names cut where the others need the room."""
    widths = [max(map(columns_of, column)) for column in zip(head, *rows, strict=True)]
    others = sum(width + 2 for width in widths[1:])
    widths[0] = max(min(widths[0], columns - others), _MIN_NAME)
    lines = []
    for row in (head, *rows):
        name = fit(row[0], widths[0])
        cells = [f"  {' ' * (width - columns_of(cell))}{cell}" for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append(f"{name}{' ' * (widths[0] - columns_of(name))}{''.join(cells)}")
    return lines
