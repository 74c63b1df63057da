"""Rounds: each round runs every contestant once, so that a disturbance of the machine affects all of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench.backlogs import Backlog
from bench.contestants import Contestant
from bench.throughput import Run, measure

#: Events per run at least: a run with fewer would end before it can be measured.
MIN_EVENTS = 5_000

LogLine = Callable[[str], None]


@dataclass
class Rounds:
    """The runs of one source, by contestant and round; None stands for a run that failed."""

    kind: str
    contestants: Sequence[Contestant]
    runs: dict[str, list[Run | None]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def median(self, name: str, value: Callable[[Run], float]) -> float | None:
        """Return the median of a value over the rounds; None if no run succeeded."""
        values = [value(run) for run in self.runs.get(name, []) if run]
        return statistics.median(values) if values else None

    def ratio(self, name: str, other: str, value: Callable[[Run], float]) -> float | None:
        """Return the median of the ratios of `name` to `other`, each of two runs of one round; None without a ratio."""
        pairs = zip(self.runs.get(name, []), self.runs.get(other, []), strict=False)
        ratios = [value(run) / value(base) for run, base in pairs if run and base and value(base)]
        return statistics.median(ratios) if ratios else None


def play(backlog: Backlog, contestants: Sequence[tuple[Contestant, int]], scale: float, log_line: LogLine) -> Rounds:
    """Run each contestant for the number of rounds beside it, with `scale` times its events."""
    rounds = Rounds(backlog.kind, [contestant for contestant, _ in contestants])
    for number in range(max((count for _, count in contestants), default=0)):
        for contestant, count in contestants:
            if number >= count:
                continue
            events = max(MIN_EVENTS, int(contestant.events * scale))
            run: Run | None = None
            try:
                run = measure(backlog, contestant, events=events)
                result = f"{run.events_per_s:>9,.0f} events/s  {run.cpu:6.2f} s CPU per 100k"
            except AssertionError as error:
                # The other contestants still run; the report lists the failure.
                result = f"FAILED: {error}"
                rounds.failures.append(f"{backlog.kind}, {contestant.name}: {str(error).splitlines()[0]}")
            rounds.runs.setdefault(contestant.name, []).append(run)
            log_line(f"round {number + 1}  {backlog.kind:12}  {contestant.name:24} {result}")
    return rounds
