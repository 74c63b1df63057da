"""The clocks of a process: it may stand still as a whole, and the wall clock may be stepped."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from bridge.observe.logs import logger

log = logger()
_INTERVAL_S: Final = 1.0
#: A sleep that took so much longer was no sleep: the process was stopped, or the machine suspended, or a call blocked it.
_STALLED_S: Final = 5.0
#: The wall clock jumps by more than this: NTP slews by half a millisecond a second.
_STEPPED_S: Final = 1.0


def _now_s() -> float:
    # CLOCK_MONOTONIC stands still while the machine is suspended: then the wall clock would seem to be stepped.
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class StallDetector:
    """Knows by its own lateness whether the event loop stood still: SIGSTOP, a suspended machine, a call that blocked.

    Whoever concludes from the time that passed that another has been silent asks first.
    """

    def __init__(self) -> None:
        self._slept_from = _now_s()

    async def sleep(self) -> float:
        """Sleep for a second; return for how many seconds the process did not run since the last call, 0.0 if few; log it."""
        await asyncio.sleep(_INTERVAL_S)
        now = _now_s()
        late_s, self._slept_from = now - self._slept_from - _INTERVAL_S, now
        if late_s < _STALLED_S:
            return 0.0
        log.warning("bridge.stalled", seconds=round(late_s, 1), cause=f"the process did not run for {late_s:.0f} s")
        return late_s


async def watch_steps() -> None:
    """Log each step of the wall clock, for ever.

    Nothing of the bridge waits by it; ids, the time of a message and its eta are of the wall clock, as Dramatiq's are.
    """
    offset_s = time.time() - _now_s()
    while True:
        await asyncio.sleep(_INTERVAL_S)
        before_s, offset_s = offset_s, time.time() - _now_s()
        step_s = offset_s - before_s
        if abs(step_s) >= _STEPPED_S:
            cause = f"the wall clock was set {'forward' if step_s > 0 else 'back'} by {abs(step_s):.0f} s"
            log.warning("bridge.clock_stepped", seconds=round(step_s, 1), cause=f"{cause}: delayed messages move along")
