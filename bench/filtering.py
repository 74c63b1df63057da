"""Filtering: the CPU per 100,000 events where one event in a hundred becomes a message, and the others are dropped by `when`."""

from __future__ import annotations

import statistics
from typing import Any, Final

from bench.costs import Cost, Setup, move, stage
from bench.report import Section
from bench.rounds import LogLine
from bench.tables import number, table

EVERY: Final = 100
_ROUNDS: Final = 3
_EVENTS: Final = {"amqp": 100_000, "mqtt": 200_000}


def section(log_line: LogLine, scale: float) -> Section:
    """Measure each kind with every event and with one in a hundred."""
    rows = []
    for kind, planned in _EVENTS.items():
        events = max(10_000, int(planned * scale)) // EVERY * EVERY
        with stage(kind) as on:
            for every in (1, EVERY):
                runs = [
                    move(on, Setup(kind, events, every=every), _filtered if every > 1 else _all) for _ in range(_ROUNDS)
                ]
                rows.append([kind, f"{every}", *_medians(runs)])
                log_line(f"filtering  {kind}, one in {every}: {rows[-1][2:]}")
    text = f"CPU seconds per 100,000 events, medians of {_ROUNDS} rounds; `when: payload.seq % {EVERY} == 0` drops all but one in {EVERY}.\n\n"
    return Section("Filtering", text + table(["source", "one in", "bridge", "broker", "Redis"], rows, texts=1))


def _all(config: dict[str, Any]) -> dict[str, Any]:
    return config


def _filtered(config: dict[str, Any]) -> dict[str, Any]:
    when = f"payload.seq % {EVERY} == 0"
    return {**config, "routes": [{**route, "when": when} for route in config["routes"]]}


def _medians(runs: list[Cost]) -> list[str]:
    return [
        number(statistics.median(values))
        for values in zip(*[(run.bridge, run.broker, run.sink) for run in runs], strict=True)
    ]
