"""How a value of an event is shown to people: as JSON, on one line, cut where it is long."""

from __future__ import annotations

import json
from typing import Final

_MAX_SHOWN: Final = 120


def shown(value: object) -> str:
    """Return a value as JSON of at most 120 characters."""
    return cut(json.dumps(value, ensure_ascii=False, default=str))


def cut(text: str) -> str:
    """Return a text without line breaks and control characters, of at most 120 characters."""
    line = "".join(char if char.isprintable() else " " for char in text[: _MAX_SHOWN + 1])
    return line if len(line) <= _MAX_SHOWN else f"{line[: _MAX_SHOWN - 1]}…"
