"""`python -m bench.sizing`: computes the tables of docs/scaling.md anew from the measured figures, and writes them into the page.

In the page a table stands between `<!-- computed: NAME -->` and `<!-- end -->`. A test fails while a table is not the one
that the figures give.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench import examples
from bench.arithmetic import DAY_S, KINDS, PLAN, cores, cost_at, needed, show, size
from bench.figures import Figures, read
from bench.tables import table

PAGE: Final = Path(__file__).parents[1] / "docs" / "scaling.md"
_BLOCK: Final = re.compile(r"(<!-- computed: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
_RATES: Final = (10, 1_000, 10_000, 100_000, 1_000_000)
_ROUND_TRIPS_MS: Final = (0.2, 1, 10, 50)
_WINDOW: Final = 1_000


def _machines(figures: Figures) -> str:
    rows = [[name, *facts] for name, facts in figures.machines.items()]
    return table(["report", "measured", "load of the machine at the end"], rows)


def _answer(figures: Figures) -> str:
    rows = []
    for rate in _RATES:
        amqp, mqtt = cost_at(figures, "amqp", rate), cost_at(figures, "mqtt", rate)
        writes = cores(rate, max(amqp.sink, mqtt.sink))
        workers = cores(rate, figures.worker_redis)
        need = f"{_pair(needed(cores(rate, amqp.bridge)), needed(cores(rate, mqtt.bridge)))} of bridge,"
        need += f" {needed(writes + workers)} of Redis"
        brokers = _pair(show(cores(rate, amqp.broker or 0)), show(cores(rate, mqtt.broker or 0)))
        bridges = _pair(show(cores(rate, amqp.bridge)), show(cores(rate, mqtt.bridge)))
        rows.append([f"{rate:,}", bridges, brokers, show(writes), show(workers), need])
    head = ["events/s", "bridge", "broker", "Redis: writes", "Redis: workers", "processes of bridge and Redis to plan"]
    return table(head, rows, texts=0)


def _pair(first: object, second: object) -> str:
    return str(first) if first == second else f"{first} / {second}"


def _sources(figures: Figures) -> str:
    rows = []
    for kind, cost in figures.costs.items():
        broker = "the same Redis" if cost.broker is None else f"{cost.broker:.2f}"
        full = 100_000 / cost.bridge
        rows.append(
            [
                KINDS[kind],
                f"{cost.bridge:.2f}",
                broker,
                f"{cost.sink:.2f}",
                show(full),
                show(full * PLAN),
                f"{cost.events_per_s:,.0f}",
            ]
        )
    head = ["source", "bridge", "broker", "Redis", "one core, full", "one core, plan", "measured together"]
    return table(head, rows, texts=1)


def _low(figures: Figures) -> str:
    rates = sorted({rate for _, rate in figures.low})
    rows = []
    for kind in dict.fromkeys(kind for kind, _ in figures.low):
        costs = [figures.low[kind, rate] for rate in rates]
        rows.append(
            [KINDS[kind], *(f"{show(cost.bridge * 10)}" for cost in costs), show(figures.costs[kind].bridge * 10)]
        )
    return table(["us of the bridge's CPU per event", *(f"{rate:,}/s" for rate in rates), "full speed"], rows, texts=1)


def _growth(figures: Figures) -> str:
    first: dict[tuple[str, str], list[float]] = {}
    rows = []
    for row in figures.growth:
        values = [float(row[column]) for column in ("bridge", "broker", "Redis")]
        base = first.setdefault((row["grows"], row["source"]), values)
        if base is not values:
            times = [f"x {value / one:.1f}" for value, one in zip(values, base, strict=True)]
            if row["source"] == "redis-stream":
                times[1] = ""
            rows.append([row["grows"], KINDS[row["source"]], row["number"], *times])
    return table(["grows", "source", "to", "bridge", "broker", "Redis"], rows)


def _limits(figures: Figures) -> str:
    write, worker = figures.costs["mqtt"].sink, figures.worker_redis
    rows = []
    for name, cost, sum_ in (
        (
            "Dramatiq's Redis, MQTT events written and worked off",
            write + worker,
            f"100,000 / ({write:.2f} + {worker:.2f})",
        ),
        ("Dramatiq's Redis, MQTT events written alone", write, f"100,000 / {write:.2f}"),
        (
            "one process of the bridge, AMQP",
            figures.costs["amqp"].bridge,
            f"100,000 / {figures.costs['amqp'].bridge:.2f}",
        ),
        (
            "one process of the bridge, MQTT",
            figures.costs["mqtt"].bridge,
            f"100,000 / {figures.costs['mqtt'].bridge:.2f}",
        ),
        (
            "one mosquitto (one thread)",
            figures.costs["mqtt"].broker or 0,
            f"100,000 / {figures.costs['mqtt'].broker:.2f}",
        ),
        (
            "one core's worth of RabbitMQ",
            figures.costs["amqp"].broker or 0,
            f"100,000 / {figures.costs['amqp'].broker:.2f}",
        ),
        (
            "one process of workers, actors that do nothing",
            figures.worker,
            f"100,000 / {figures.worker:.1f}",
        ),
    ):
        rows.append([name, sum_, show(100_000 / cost), show(100_000 / cost * PLAN)])
    rows.sort(key=lambda row: float(row[2].replace(",", "")))
    return table(["what is one core", "computed", "full, events/s", "plan, events/s"], rows)


def _distance(figures: Figures) -> str:
    rows = []
    for ms in _ROUND_TRIPS_MS:
        measured = [
            [
                show(figures.distance[kind, far, int(ms)]) if (kind, far, ms) in figures.distance else ""
                for kind in ("amqp", "mqtt")
            ]
            for far in ("broker", "Redis")
        ]
        bounds = [_WINDOW / ms * 1000, _WINDOW / 4 / ms * 1000]
        shown = [[show(bound), " / ".join(filter(None, each))] for bound, each in zip(bounds, measured, strict=True)]
        rows.append([f"{ms:g}", *shown[0], *shown[1]])
    head = ["round trip, ms", "broker: window / time", "measured", "Redis: window / 4 / time", "measured so"]
    return table(head, rows, texts=0)


def _store(figures: Figures) -> str:
    by = figures.bytes
    rows = []
    for name, key, seconds, period in (
        ("messages that wait, workers away", "waiting message, five values", 600, "10 min"),
        ("... with the whole payload of 1 KiB", "waiting message, the whole payload of 1,024 bytes", 600, "10 min"),
        ("keys of `deduplicate`", "remembered key, deduplicate", 3_600, "1 h"),
        ("keys of `deduplicate`", "remembered key, deduplicate", DAY_S, "1 d"),
        ("ids of a stream in another Redis", "remembered id, stream in another Redis", DAY_S, "1 d"),
        ("spool, Redis away", "spooled event on disk", 600, "10 min"),
    ):
        rows.append(
            [name, f"{by[key]:,.0f}", period, *(size(rate * seconds * by[key]) for rate in (10, 1_000, 10_000))]
        )
    return table(["kept", "bytes each", "for", "at 10/s", "at 1,000/s", "at 10,000/s"], rows, texts=1)


BLOCKS: Final[dict[str, Callable[[Figures], str]]] = {
    "machines": _machines,
    "answer": _answer,
    "sources": _sources,
    "low": _low,
    "growth": _growth,
    "limits": _limits,
    "distance": _distance,
    "store": _store,
    "home": examples.home,
    "million": examples.million,
}


def render(page: str, figures: Figures) -> str:
    """Return the page with each table computed anew.

    Raises:
        KeyError: the page names a table that nobody computes.
    """
    return _BLOCK.sub(lambda found: f"{found[1]}{BLOCKS[found[2]](figures)}\n{found[3]}", page)


def main() -> int:
    """Write the tables into the page."""
    page = PAGE.read_text()
    PAGE.write_text(render(page, read()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
