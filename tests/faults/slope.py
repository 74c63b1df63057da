"""How fast a number grows that differs from state to state."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Final

_EVERY_S: Final = 0.1
#: Bytes, to MiB.
_MIB: Final = 2**20


@dataclass(slots=True)
class Slope:
    """Samples of `read`, which returns bytes, in several states that come again round after round.

    Each state is compared with itself only. Of its samples in a round the lower quartile counts: peaks come and go, as in an
    attempt to write 4 MiB, and growth lifts all of them.
    """

    read: Callable[[], int]
    #: By state, in order: the round's number, when it began in seconds, and the lower quartile in MiB.
    seen: dict[str, list[tuple[int, float, float]]] = field(default_factory=dict)

    def sample(self, state: str, number: int, seconds: float) -> None:
        """Read for so long, in the round with this number; in its first half the state begins."""
        began = time.monotonic()
        time.sleep(seconds / 2)
        values = []
        while time.monotonic() < began + seconds:
            values.append(self.read())
            time.sleep(_EVERY_S)
        self.seen.setdefault(state, []).append((number, began, quantiles(values, n=4)[0] / _MIB))

    def mib_per_minute(self, since: int) -> float:
        """Return the growth from one half of the rounds to the other; rounds before `since` do not count.

        Of the states, the median: memory that one of them has lost is missing in the next round of all.
        """
        slopes = []
        for samples in self.seen.values():
            counted = [(at, value) for number, at, value in samples if number >= since]
            half = len(counted) // 2
            early, late = counted[:half], counted[half:]
            minutes = (median([at for at, _ in late]) - median([at for at, _ in early])) / 60
            slopes.append((median([value for _, value in late]) - median([value for _, value in early])) / minutes)
        return median(slopes)

    def summary(self) -> str:
        """Return each state's values by round, in MiB; of many rounds the first three and the last three."""
        texts = []
        for state, samples in self.seen.items():
            values = [f"{value:.1f}" for _, _, value in samples]
            shown = values if len(values) <= 6 else [*values[:3], "...", *values[-3:]]
            texts.append(f"{state} {' '.join(shown)}")
        return ", ".join(texts)
