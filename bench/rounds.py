"""Rounds: every contestant once, then every contestant again, so that what disturbs the machine disturbs them all."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench.backlogs import Backlog
from bench.contestants import Contestant
from bench.throughput import Run, measure

#: Of a run: with fewer it is over before it is looked at.
FEWEST = 5_000

Say = Callable[[str], None]


@dataclass
class Rounds:
    """The runs of one source, by contestant and then by round; None where a run failed."""

    kind: str
    contestants: Sequence[Contestant]
    runs: dict[str, list[Run | None]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def median(self, name: str, value: Callable[[Run], float]) -> float | None:
        """Return the median of a value over the rounds; None without a run."""
        values = [value(run) for run in self.runs.get(name, []) if run]
        return statistics.median(values) if values else None

    def ratio(self, name: str, other: str, value: Callable[[Run], float]) -> float | None:
        """Return the median of the ratios `name` to `other`, each taken within one round."""
        pairs = zip(self.runs.get(name, []), self.runs.get(other, []), strict=False)
        ratios = [value(mine) / value(theirs) for mine, theirs in pairs if mine and theirs and value(theirs)]
        return statistics.median(ratios) if ratios else None


def play(backlog: Backlog, contestants: Sequence[tuple[Contestant, int]], scale: float, say: Say) -> Rounds:
    """Let every contestant run as many rounds as is said beside it, each with `scale` times its events."""
    rounds = Rounds(backlog.kind, [contestant for contestant, _ in contestants])
    for number in range(max((count for _, count in contestants), default=0)):
        for contestant, count in contestants:
            if number >= count:
                continue
            events = max(FEWEST, int(contestant.events * scale))
            run: Run | None = None
            try:
                run = measure(backlog, contestant, events=events)
                result = f"{run.events_per_s:>9,.0f} events/s  {run.cpu:6.2f} s CPU per 100k"
            except AssertionError as error:
                # The others go on; what failed is told in the report.
                result = f"FAILED: {error}"
                rounds.failures.append(f"{backlog.kind}, {contestant.name}: {str(error).splitlines()[0]}")
            rounds.runs.setdefault(contestant.name, []).append(run)
            say(f"round {number + 1}  {backlog.kind:12}  {contestant.name:24} {result}")
    return rounds
