"""Globs for topics of every protocol: `*` is any run of characters, also none, `?` is one character, all else is itself.

Unlike a regular expression of the same glob it never goes back: a hostile topic costs no more than its length times the
glob's.
"""

from __future__ import annotations

import re
from typing import Final

from bridge.errors import InvalidValue

#: In characters. A longer topic fits only globs of asterisks.
MAX_GLOB: Final = 256
MAX_TOPIC: Final = 1024


class Glob:
    """One compiled glob."""

    def __init__(self, text: str) -> None:
        """Compile `text`.

        Raises:
            InvalidValue: it is too long.
        """
        if len(text) > MAX_GLOB:
            raise InvalidValue(f"takes a glob of at most {MAX_GLOB} characters", "`*` is any run of characters")
        self.text = text
        self._takes_all = bool(text) and not text.strip("*")
        first, *parts = (re.compile(_one(part), re.DOTALL) for part in re.split(r"\*+", text))
        self._first = first
        self._middle = parts[:-1]
        self._last = parts[-1] if parts else None
        self._last_size = len(text) - text.rfind("*") - 1

    def fits(self, topic: str) -> bool:
        """Return whether it takes the whole topic."""
        if self._takes_all:
            return True
        if len(topic) > MAX_TOPIC:
            return False
        if self._last is None:
            return self._first.fullmatch(topic) is not None
        match = self._first.match(topic)
        # The leftmost place of each part is the best: whatever follows has the more room.
        for part in self._middle:
            if match is None:
                return False
            match = part.search(topic, match.end())
        if match is None:
            return False
        start = len(topic) - self._last_size
        return start >= match.end() and self._last.match(topic, start) is not None


def _one(part: str) -> str:
    return "".join("." if char == "?" else re.escape(char) for char in part)
