"""Waiting between attempts: doubled each time, with jitter, bounded.

The bounds stand with each loop: reconnects of a source in `delivery/pipeline.py`, writes in `sink/health.py`, child
processes in `process/supervisor.py`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

#: The least wait after wrong credentials or permissions: only an operator can change them, so there is no hurry.
_DENIED_RETRY_S: Final = 5.0


@dataclass(slots=True)
class Backoff:
    """The waits of one retry loop, in seconds.

    The n-th wait is drawn between half of `first_s * 2**n` and the whole of it, at most `max_s`. The jitter keeps a
    fleet from coming back in step, and the lower bound keeps a loop from hammering.
    """

    first_s: float
    max_s: float
    _attempts: int = 0

    def next(self, *, denied: bool = False) -> float:
        """Return the next wait in seconds; `denied` means that the other side refused credentials or permissions."""
        wait = min(self.max_s, self.first_s * 2.0 ** min(self._attempts, 32))
        self._attempts += 1
        wait *= random.uniform(0.5, 1.0)  # noqa: S311 - jitter is no secret
        return max(wait, _DENIED_RETRY_S) if denied else wait

    def reset(self) -> None:
        """Start again with the first wait, after an attempt that succeeded."""
        self._attempts = 0
