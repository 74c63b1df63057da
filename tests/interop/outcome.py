"""How a check ended, for one source of one broker."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from tests.faults.sources import KINDS

#: The kinds of outcomes, the worst first.
Verdict = Literal["LOST", "FAILED", "refused", "broker", "held"]
_FAILURES: Final = frozenset({"LOST", "FAILED"})


@dataclass(frozen=True, slots=True)
class Outcome:
    """`held`; `broker`: it cannot give this; `refused`: the bridge says so in words; `LOST` and `FAILED` are failures."""

    verdict: Verdict = "held"
    text: str = ""
    #: The end of the bridge's log; no cell has it.
    log: str = ""

    @property
    def failed(self) -> bool:
        """Whether this is a fault of the bridge, or of the check."""
        return self.verdict in _FAILURES

    def __str__(self) -> str:
        """As in a cell of the table."""
        return f"{self.verdict}: {self.text}" if self.text else self.verdict


HELD: Final = Outcome()
#: Of one check, by source.
Outcomes = dict[str, Outcome]


@dataclass(slots=True)
class Report:
    """All that was found out about one broker; `unavailable` says why it could not be had."""

    name: str
    protocols: frozenset[str]
    version: str = ""
    unavailable: str = ""
    #: By the name of the check.
    outcomes: dict[str, Outcomes] = field(default_factory=dict)
    #: What it announces, and what the bridge logs about it, in the order of their discovery.
    notes: list[str] = field(default_factory=list)
    #: How long each check took, and all of it.
    took_s: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def failed(self) -> bool:
        """Whether it could not be had, or any check failed."""
        return bool(self.unavailable) or any(one.failed for each in self.outcomes.values() for one in each.values())


def judge(
    source: str, failures: list[str], missing: list[int], by_itself: int = 0, forgotten: range = range(0)
) -> Outcome:
    """Return the outcome of a source from an experiment's `failures`, those of all sources, and its `missing` numbers.

    `by_itself` is how many of the events the plain client beside the bridge has missed; `forgotten` are the numbers that were
    under way when the broker died, if it then had forgotten the plain client's session too.
    """
    own = [failure.removeprefix(f"{source}: ") for failure in failures if concerns(failure, source)]
    others = [failure for failure in own if not failure.startswith("lost ")]
    if not missing or len(others) == len(own):
        return Outcome("FAILED", "; ".join(own)) if own else HELD
    # The same fault of the broker hits two subscribers differently; ten times as much would be another fault.
    if len(missing) > 10 * by_itself and not set(missing) <= set(forgotten):
        return Outcome("LOST", f"{len(missing)}, a plain client {by_itself}")
    if others:
        return Outcome("FAILED", "; ".join(others))
    if by_itself:
        return Outcome("broker", f"loses events itself: {len(missing)}, of a plain client's {by_itself}")
    return Outcome("broker", f"has forgotten all sessions, a plain client's too: {len(missing)} events were under way")


def concerns(failure: str, source: str) -> bool:
    """Whether a failure is that of this source, or of none in particular."""
    head = failure.partition(": ")[0]
    return head == source or head not in KINDS
