"""Linear cost: time grows in proportion to the size and the number of events, and memory does not grow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bench.backlogs import Backlog
from bench.contestants import PEERS
from bench.goals import Verdict
from bench.load import EVENT_BYTES
from bench.report import Section
from bench.rounds import MIN_EVENTS, LogLine
from bench.tables import number, table
from bench.throughput import Run, measure

_SIZES: Final = (1024, 2048, 4096, 8192)
_COUNTS: Final = (10_000, 100_000, 1_000_000)
#: Largest ratio of memory, and of CPU per event, between a backlog and a tenth of it or less; the 25 % allow for noise.
_MAX_RATIO: Final = 1.25


def part(backlogs: Sequence[Backlog], log_line: LogLine, scale: float) -> tuple[Section, list[Verdict]]:
    """Measure the bridge once for each size of an event and each number of events."""
    rows: list[list[str]] = []
    verdicts: list[Verdict] = []
    failures = 0
    for backlog in backlogs:
        plan = [(size, PEERS[backlog.kind][0].events // 4) for size in _SIZES]
        plan += [(EVENT_BYTES, count) for count in _COUNTS]
        runs: list[Run | None] = []
        for size, planned in plan:
            events = max(MIN_EVENTS, int(planned * scale))
            run, shown = _measure(backlog, events, size)
            runs.append(run)
            failures += run is None
            rows.append([backlog.kind, f"{size:,}", f"{events:,}", *shown])
            log_line(f"linear  {backlog.kind:12}  {size:>5} bytes, {events:>9,} events: {' | '.join(shown)}")
        sized = [run for run in runs[: len(_SIZES)] if run]
        counted = [run for run in runs[len(_SIZES) :] if run]
        if len(sized) + len(counted) == len(plan):
            verdicts += _judge(backlog.kind, sized, counted)
    text = "The bridge, one run each; the peak is the highest resident memory of the process (VmHWM).\n\n"
    text += table(["source", "bytes", "events", "events/s", "CPU s/100k", "peak MiB"], rows, texts=1)
    return Section("Linear cost", text, failures), verdicts


def _measure(backlog: Backlog, events: int, size: int) -> tuple[Run | None, list[str]]:
    try:
        run = measure(backlog, PEERS[backlog.kind][0], events=events, size=size)
    except AssertionError as error:
        return None, [f"FAILED: {str(error).splitlines()[0]}", "", ""]
    return run, [number(run.events_per_s, 0), number(run.cpu), str(run.peak_rss_bytes >> 20)]


def _judge(kind: str, sized: Sequence[Run], counted: Sequence[Run]) -> list[Verdict]:
    peaks = [run.peak_rss_bytes >> 20 for run in counted]
    by_size, by_count = _ratio(sized[-1], sized[0]), _ratio(counted[-1], counted[-2])
    times = _SIZES[-1] // _SIZES[0]
    return [
        Verdict(
            kind,
            f"memory flat: most events at most {_MAX_RATIO:g} x the peak of fewest",
            f"{' / '.join(map(str, peaks))} MiB",
            peaks[-1] <= peaks[0] * _MAX_RATIO,
        ),
        Verdict(kind, f"linear: CPU of 8 KiB at most {times} x that of 1 KiB", f"{by_size:.2f} x", by_size <= times),
        # Compared with a tenth, not a hundredth: 10,000 events take only a few ticks of the kernel's CPU clock.
        Verdict(
            kind,
            f"linear: CPU per event with most events at most {_MAX_RATIO:g} x that with a tenth",
            f"{by_count:.2f} x",
            by_count <= _MAX_RATIO,
        ),
    ]


def _ratio(run: Run, other: Run) -> float:
    # A run shorter than a tick of the kernel's CPU clock shows no cost.
    return run.cpu / other.cpu if other.cpu else 0.0
