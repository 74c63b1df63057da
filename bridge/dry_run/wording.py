"""How a value of an event is shown to people: as JSON, on one line, cut where it is long."""

from __future__ import annotations

import json
from typing import Final

_MAX_SHOWN: Final = 120
#: So many characters are shown before the place that matters.
_BEFORE: Final = 40


def shown(value: object) -> str:
    """Return a value as JSON of at most 120 characters, and some more where characters are escaped."""
    return cut(json.dumps(value, ensure_ascii=False, default=str))


def shown_around(text: str, at: int) -> str:
    """Return a text as JSON, and of a long one only the part around the character at `at`."""
    start = max(0, at - _BEFORE) if len(text) > _MAX_SHOWN - 2 else 0
    return f"{'…' if start else ''}{shown(text[start:])}"


def cut(text: str) -> str:
    """Return a text of at most 120 characters, as `visible` does."""
    return visible(text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 1]}…")


def visible(text: str) -> str:
    """Return a text on one line: a character that can't be seen is escaped, as in JSON."""
    return text if text.isprintable() else "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    return " " if char in "\t\n\r" else json.dumps(char)[1:-1]
