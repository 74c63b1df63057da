"""The measured figures from which docs/scaling.md is computed: the tables of bench/results.md and bench/scaling.md."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_HERE: Final = Path(__file__).parent
#: The name of each kind's broker in the table of results.md.
_BROKERS: Final = {
    "amqp": "rabbitmq-server",
    "amqp-stream": "rabbitmq-server",
    "mqtt": "mosquitto",
    "redis-pubsub": "redis-server",
}
_SINK: Final = "redis-server (sink)"

Row = dict[str, str]


class FigureError(LookupError):
    """A figure is missing: `make bench` or `make bench-scaling` has to be run with all its parts."""


@dataclass(frozen=True)
class Cost:
    """CPU seconds per 100,000 events; `broker` is None where Dramatiq's Redis is the broker."""

    bridge: float
    broker: float | None
    sink: float
    events_per_s: float = 0.0


@dataclass(frozen=True)
class Figures:
    """All of them. `low` is by source and events/s; `idle` by source and number of sources, in % of a core, with the MiB last."""

    costs: dict[str, Cost]
    growth: list[Row]
    #: Where one event in a hundred becomes a message, by source.
    filtered: dict[str, Cost]
    worker: float
    worker_redis: float
    idle_workers: list[Row]
    low: dict[tuple[str, int], Cost]
    idle: dict[tuple[str, int], tuple[float, float, float, float]]
    distance: dict[tuple[str, str, int], float]
    bytes: dict[str, float]
    #: By report or section: when it was measured, and the load of the machine at the end.
    machines: dict[str, tuple[str, str]]


def read(results: str | None = None, scaling: str | None = None) -> Figures:
    """Return the figures of the two texts, by default of the files in bench/.

    Raises:
        FigureError: one is missing.
    """
    results = (_HERE / "results.md").read_text() if results is None else results
    scaling = (_HERE / "scaling.md").read_text() if scaling is None else scaling
    try:
        drained, idle_workers = tables(scaling, "Workers")
        low, idle = tables(scaling, "Low rates")
        return Figures(
            costs=_costs(tables(results, "Throughput")[0]),
            filtered={
                row["source"]: _filtered(row) for row in tables(scaling, "Filtering")[0] if row["one in"] == "100"
            },
            growth=tables(scaling, "Growth")[0],
            worker=_value(drained[-1], "worker"),
            worker_redis=_value(drained[-1], "Redis"),
            idle_workers=idle_workers,
            low={(row["source"], int(_value(row, "events/s"))): _low(row) for row in low},
            idle={(row["source"], int(row["sources"])): _idle(row) for row in idle},
            distance={_far(row): _value(row, "events/s") for row in tables(scaling, "Distance")[0]},
            bytes={row["one"]: _value(row, "bytes") for row in tables(scaling, "Footprint")[0]},
            machines=_machines(results, scaling),
        )
    except (KeyError, IndexError, ValueError) as error:
        raise FigureError(f"bench/results.md or bench/scaling.md lacks a figure: {error!r}") from error


def tables(text: str, section: str) -> list[list[Row]]:
    """Return the tables of a section of a report, each a list of rows by the names of its columns."""
    found = re.search(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if found is None:
        raise FigureError(f"the section {section!r} is missing")
    whole = []
    for block in re.findall(r"(?:^\|.*\n?)+", found[1], re.MULTILINE):
        head, _, *lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
        whole.append([dict(zip(head, line, strict=True)) for line in lines])
    return whole


def _machines(results: str, scaling: str) -> dict[str, tuple[str, str]]:
    date = re.findall(r"^- (\S+ \S+ UTC);", results, re.MULTILINE)[0]
    load = re.findall(r"^- load of the machine at the end: (\S+)$", results, re.MULTILINE)[0]
    stamps = re.findall(r"^## (.*)\n(?:(?!## ).*\n)*?Measured (.*);.*: (\S+)$", scaling, re.MULTILINE)
    return {"results.md": (date, load), **{f"scaling.md, {title}": (date, load) for title, date, load in stamps}}


def _value(row: Row, column: str) -> float:
    return float(row[column].replace(",", ""))


def _costs(rows: list[Row]) -> dict[str, Cost]:
    costs = {}
    for row in rows:
        if row["contestant"] != "bridge":
            continue
        kind, cell = row["source"], row["brokers' CPU s/100k"]
        by_name = {name.strip(): float(value) for name, value in re.findall(r"([^,]+?) ([\d.]+)(?:,|$)", cell)}
        broker = by_name[_BROKERS[kind]] if kind in _BROKERS else None
        sink = by_name[_SINK] if broker is not None else by_name["redis-server"]
        costs[kind] = Cost(_value(row, "CPU s/100k"), broker, sink, _value(row, "events/s"))
    return costs


def _filtered(row: Row) -> Cost:
    return Cost(_value(row, "bridge"), _value(row, "broker"), _value(row, "Redis"))


def _low(row: Row) -> Cost:
    # Microseconds of one event, as seconds of 100,000.
    bridge, broker, sink = (_value(row, name) / 10 for name in ("bridge", "broker", "Redis"))
    return Cost(bridge, None if row["source"] == "redis-stream" else broker, sink)


def _idle(row: Row) -> tuple[float, float, float, float]:
    return _value(row, "bridge"), _value(row, "broker"), _value(row, "Redis"), _value(row, "MiB")


def _far(row: Row) -> tuple[str, str, int]:
    return row["source"], row["far away"], int(row["round trip ms"])
