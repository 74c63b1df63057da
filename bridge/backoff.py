"""Waiting between attempts: doubled each time, with jitter, bounded."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

#: Missing credentials and permissions come only once somebody gives them: no hurry.
_DENIED_S: Final = 5.0


@dataclass(slots=True)
class Backoff:
    """The waits of one retry loop, in seconds.

    The n-th wait is drawn between half of `first_s * 2**n` and the whole of it, at most `most_s`:
    enough jitter that a fleet does not come back in step, never so little that it hammers.
    """

    first_s: float
    most_s: float
    _attempts: int = 0

    def next(self, *, denied: bool = False) -> float:
        """Return the next wait in seconds; `denied` says that the other side wants other credentials or permissions."""
        wait = min(self.most_s, self.first_s * 2.0 ** min(self._attempts, 32))
        self._attempts += 1
        wait *= random.uniform(0.5, 1.0)  # noqa: S311 - jitter is no secret
        return max(wait, _DENIED_S) if denied else wait

    def reset(self) -> None:
        """Begin anew: the last attempt succeeded."""
        self._attempts = 0
