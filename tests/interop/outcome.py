"""How a check ended, for one source of one broker."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from tests.faults.checker import shown
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


@dataclass(frozen=True, slots=True)
class Witness:
    """A plain client beside the bridge, once nothing more comes to it: what it has seen of a source's events.

    `since` is the first number that it had to see, `missed` are those of the confirmed ones from there on that it has not.
    `forgotten` are the numbers that the bridge has not acknowledged to a broker that has then forgotten its sessions.
    """

    since: int = 0
    missed: frozenset[int] = frozenset()
    blind: bool = False
    forgotten: frozenset[int] = frozenset()


def judge(source: str, failures: list[str], missing: list[int], witness: Witness | None = None) -> Outcome:
    """Return the outcome of a source from an experiment's `failures`, those of all sources, and its `missing` numbers.

    The broker has lost what the witness misses too. Of the numbers before its first, which it cannot show, as many are the
    broker's as it misses others.
    """
    own = [failure.removeprefix(f"{source}: ") for failure in failures if concerns(failure, source)]
    others = [failure for failure in own if not failure.startswith("lost ")]
    if witness is not None and witness.blind:
        return Outcome(
            "FAILED", "; ".join(["the plain client beside the bridge saw nothing, and proves nothing", *own])
        )
    if not missing or len(others) == len(own):
        return Outcome("FAILED", "; ".join(own)) if own else HELD
    seen = witness or Witness()
    ours = set(missing) - seen.missed - seen.forgotten
    earlier = {number for number in ours if number < seen.since}
    if len(earlier) <= len(seen.missed - set(missing)):
        ours -= earlier
    if ours:
        return Outcome("LOST", f"{len(missing)}, of which the broker has not lost {shown(sorted(ours))}")
    if others:
        return Outcome("FAILED", "; ".join(others))
    if set(missing) <= seen.forgotten:
        return Outcome(
            "broker", f"has forgotten all sessions, a plain client's too: {len(missing)} events were under way"
        )
    return Outcome("broker", f"loses events itself: {len(missing)}, a plain client misses {len(seen.missed)}")


def concerns(failure: str, source: str) -> bool:
    """Whether a failure is that of this source, or of none in particular."""
    head = failure.partition(": ")[0]
    return head == source or head not in KINDS
