"""Waiting between attempts: doubled each time, with jitter, bounded; longer for an attempt that fails for more than two minutes.

The bounds stand with each loop: reconnects of a source in `delivery/pipeline.py`, writes in `sink/health.py`, questions
to Dramatiq's Redis in `redis_io/patience.py`, child processes in `process/child_process.py`.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import Final

#: The least wait after wrong credentials or permissions: only an operator can change them, so there is no hurry.
_DENIED_RETRY_S: Final = 5.0
#: An outage that lasts longer than a slow restart takes is one that stays, for which the waits grow to `lasting_max_s`.
_LASTING_AFTER_S: Final = 120.0


@dataclass(slots=True)
class Backoff:
    """The waits of one retry loop, in seconds.

    The first wait is drawn between half of `first_s` and the whole of it, each further one from twice as much as the one
    before. It is at most `max_s`, and once the attempts have failed for two minutes at most `lasting_max_s`, where that
    is given. The jitter keeps a fleet from coming back in step, and the lower bound keeps a loop from hammering.
    """

    first_s: float
    max_s: float
    lasting_max_s: float = 0.0
    _next_s: float = 0.0
    _failing_since: float | None = None

    def next(self, *, denied: bool = False) -> float:
        """Return the next wait in seconds; `denied` means that the other side refused credentials or permissions."""
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
        lasts = now - self._failing_since >= _LASTING_AFTER_S
        max_s = max(self.max_s, self.lasting_max_s) if lasts else self.max_s
        wait = min(max_s, self._next_s or self.first_s)
        self._next_s = 2 * wait
        wait *= random.uniform(0.5, 1.0)  # noqa: S311 - jitter is no secret
        return max(wait, _DENIED_RETRY_S) if denied else wait

    def interrupt(self) -> None:
        """Let the two minutes begin again, after an attempt that succeeded for a moment: the waits are short, and go on doubling."""
        self._failing_since = None

    def reset(self) -> None:
        """Start again with the first wait, after an attempt that succeeded."""
        self._next_s, self._failing_since = 0.0, None
