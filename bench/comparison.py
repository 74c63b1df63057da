"""The arithmetic of `make bench-against`: which difference between two trees is a regression.

A round runs this tree (A) and the revision (B) in the order A B B A. It gives two ratios A / B, one for each order, so
that a machine that becomes steadily slower or faster favours neither tree, and one ratio B / B.

- The change is the median of all ratios A / B, less 1.
- The noise is the median distance of the ratios B / B from 1. It is never smaller than the distance of their median
  from 1, which is close to 0 in some runs however much the machine disturbs the measurement.
- A change for the worse that is larger than 3 % and the noise together is a regression.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from bench.goals import cpu, speed
from bench.throughput import Run

#: A change for the worse that is tolerated beside the noise.
TOLERANCE: Final = 0.03

#: The runs of one round in their order: this tree, the revision, the revision, this tree. None: the run failed.
Round = tuple[Run | None, Run | None, Run | None, Run | None]

Judgement = Literal["same", "better", "REGRESSION"]


@dataclass(frozen=True)
class Quantity:
    """A value of a run that is compared."""

    name: str
    value: Callable[[Run], float]
    more_is_better: bool
    #: After the decimal point, in the report.
    digits: int


QUANTITIES: Final = (
    Quantity("events/s", speed, more_is_better=True, digits=0),
    Quantity("CPU s/100k", cpu, more_is_better=False, digits=3),
)


@dataclass(frozen=True)
class Comparison:
    """One quantity on one source; `change` and `noise` are fractions: 0.05 is 5 %."""

    source: str
    quantity: Quantity
    this_values: Sequence[float]
    rev_values: Sequence[float]
    change: float
    noise: float

    @property
    def allowed(self) -> float:
        """The largest change for the worse that is no regression."""
        return TOLERANCE + self.noise

    @property
    def judgement(self) -> Judgement:
        """Say whether this tree is worse or better than the revision, or neither."""
        worse = -self.change if self.quantity.more_is_better else self.change
        if worse > self.allowed:
            return "REGRESSION"
        return "better" if -worse > self.allowed else "same"


def compare(source: str, quantity: Quantity, rounds: Sequence[Round]) -> Comparison | None:
    """Return the comparison over all rounds; None if the failed runs leave no ratio A / B, or none B / B."""
    changes = _ratios([pair for a, b, b_again, a_again in rounds for pair in ((a, b), (a_again, b_again))], quantity)
    noises = _ratios([(b_again, b) for _, b, b_again, _ in rounds], quantity)
    if not changes or not noises:
        return None
    return Comparison(
        source,
        quantity,
        [quantity.value(run) for first, _, _, last in rounds for run in (first, last) if run],
        [quantity.value(run) for _, second, third, _ in rounds for run in (second, third) if run],
        statistics.median(changes) - 1,
        statistics.median(abs(ratio - 1) for ratio in noises),
    )


def _ratios(pairs: Iterable[tuple[Run | None, Run | None]], quantity: Quantity) -> list[float]:
    return [quantity.value(run) / quantity.value(other) for run, other in pairs if run and other]
