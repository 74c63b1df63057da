"""Growth: the CPU per 100,000 events of bridge, broker and Dramatiq's Redis as one thing grows and all else stays."""

from __future__ import annotations

import statistics
from collections import defaultdict
from dataclasses import replace
from typing import Final

from bench.costs import Cost, Setup, move, stage
from bench.report import Section
from bench.rounds import LogLine
from bench.tables import number, table

ROUNDS: Final = 3
_MIN_EVENTS: Final = 5_000
_SIZES: Final = (1024, 8192)

#: One of everything, for each kind of source.
_PLAIN: Final = {
    "amqp": Setup("amqp", 40_000),
    "mqtt": Setup("mqtt", 60_000),
    "redis-stream": Setup("redis-stream", 100_000),
}
_BATCHED: Final = Setup("mqtt", 60_000, topics=1000, window=4000)


def _rows() -> list[tuple[str, int, Setup]]:
    """Return what grows, its number, and the setup; equal setups run once."""
    rows = [("queues in a batch of 1,000", count, replace(_BATCHED, queues=count)) for count in (1, 100, 1000)]
    for kind, plain in _PLAIN.items():
        # More events: the broker sends every source its window before the measurement begins.
        many = [replace(plain, sources=count, events=plain.events * 3) for count in (10, 50)]
        rows += [
            ("sources", setup.sources, setup) for setup in (plain, *(many if kind != "redis-stream" else many[1:]))
        ]
    rows += [("routes", count, replace(_PLAIN["mqtt"], routes=count)) for count in (1, 100, 1000)]
    for plain in _PLAIN.values():
        rows.append(("bytes", plain.size, plain))
        rows += [("bytes", size, replace(plain, size=size, events=plain.events // 4)) for size in _SIZES]
    for kind in ("amqp", "redis-stream"):
        plain = _PLAIN[kind]
        rows += [("processes", 1, plain), ("processes", 2, replace(plain, processes=2, events=plain.events * 2))]
        rows += [("replicas", 1, plain), ("replicas", 2, replace(plain, replicas=2, events=plain.events * 2))]
    return rows


def section(log_line: LogLine, scale: float) -> Section:
    """Measure each setup in `ROUNDS` rounds; a round runs all of them, so that a disturbance affects all."""
    rows = _rows()
    setups = dict.fromkeys(setup for _, _, setup in rows)
    runs: dict[Setup, list[Cost]] = defaultdict(list)
    failures = []
    for kind in _PLAIN:
        with stage(kind) as on:
            for _ in range(ROUNDS):
                for setup in [setup for setup in setups if setup.kind == kind]:
                    smaller = replace(setup, events=max(_MIN_EVENTS, int(setup.events * scale)))
                    try:
                        cost = move(on, smaller)
                    except AssertionError as error:
                        failures.append(f"- {setup}: {str(error).splitlines()[0]}")
                        log_line(f"growth  {setup} FAILED: {error}")
                        continue
                    runs[setup].append(cost)
                    log_line(f"growth  {setup} bridge {cost.bridge:.2f} broker {cost.broker:.2f} Redis {cost.sink:.2f}")
    shown = [[what, setup.kind, f"{count:,}", *_medians(runs[setup])] for what, count, setup in rows]
    text = (
        f"CPU seconds per 100,000 events, medians of {ROUNDS} rounds. One source, queue, route, process and replica, bodies of"
        " 210 bytes, but for the one thing that grows; each event becomes one message. A stream is in Dramatiq's Redis, so"
        " the one Redis does both works.\n\n"
    )
    text += table(["grows", "source", "number", "bridge", "broker", "Redis", "events/s"], shown)
    if failures:
        text += "\n\nRuns that failed and count for nothing:\n\n" + "\n".join(failures)
    return Section("Growth", text, len(failures))


def _medians(runs: list[Cost]) -> list[str]:
    if not runs:
        return ["FAILED", "", "", ""]
    middle = [
        statistics.median(values)
        for values in zip(*[(r.bridge, r.broker, r.sink, r.events_per_s) for r in runs], strict=True)
    ]
    return [number(middle[0]), number(middle[1]), number(middle[2]), number(middle[3], 0)]
