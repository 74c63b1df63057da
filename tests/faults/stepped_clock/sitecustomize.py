"""A wall clock that is stepped while the bridge runs: by the seconds in the file CLOCK_OFFSET; on the PYTHONPATH of such a bridge."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

_OFFSET: Final = Path(os.environ["CLOCK_OFFSET"])
_time, _time_ns = time.time, time.time_ns


def _offset_s() -> int:
    return int(_OFFSET.read_text() or 0) if _OFFSET.exists() else 0


time.time = lambda: _time() + _offset_s()
time.time_ns = lambda: _time_ns() + _offset_s() * 1_000_000_000
