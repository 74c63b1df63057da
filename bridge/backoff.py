"""Waiting between attempts: doubled each time, with jitter, bounded."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(slots=True)
class Backoff:
    """The waits of one retry loop, in seconds.

    The n-th wait is drawn between half of `first_s * 2**n` and the whole of it, at most `most_s`:
    enough jitter that a fleet does not come back in step, never so little that it hammers.
    """

    first_s: float
    most_s: float
    _attempts: int = 0

    def next(self) -> float:
        """Return the next wait in seconds."""
        wait = min(self.most_s, self.first_s * 2.0 ** min(self._attempts, 32))
        self._attempts += 1
        return wait * random.uniform(0.5, 1.0)  # noqa: S311 - jitter is no secret

    def reset(self) -> None:
        """Begin anew: the last attempt succeeded."""
        self._attempts = 0
