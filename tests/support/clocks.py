"""A wall clock that a test steps, for the bridges that run with its environment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.support.children import with_fault

DAY_S = 86_400
YEAR_S = 365 * DAY_S


class SteppedClock:
    """The offset of a wall clock, in a file of `directory`; `env` is for the bridge."""

    def __init__(self, directory: Path, name: str = "clock-offset") -> None:
        self._path = directory / name
        self.env: Mapping[str, str] = {**with_fault("stepped_clock"), "CLOCK_OFFSET": str(self._path)}

    def set(self, seconds: int) -> None:
        """Let the clock be so many seconds ahead."""
        new = self._path.with_suffix(".new")
        new.write_text(str(seconds))
        new.replace(self._path)

    def remove(self) -> None:
        """Let the clock be right again, and leave no file."""
        self._path.unlink(missing_ok=True)
