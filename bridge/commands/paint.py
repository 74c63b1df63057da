"""Colours of the terminal: only on a terminal, unless `--color` says otherwise; NO_COLOR switches them off (no-color.org)."""

from __future__ import annotations

import os
import sys
from typing import Final

_CODES: Final = {"red": "31", "green": "32", "yellow": "33", "bold": "1", "dim": "2"}


class Paint:
    """Paints text for standard output; `when` is "auto", "always" or "never"."""

    def __init__(self, when: str) -> None:
        terminal = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self.is_on = when == "always" or (when == "auto" and terminal)

    def __call__(self, text: str, color: str) -> str:
        """Return `text` in a colour of _CODES, or as it is."""
        return f"\x1b[{_CODES[color]}m{text}\x1b[0m" if self.is_on else text
