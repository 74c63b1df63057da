"""The two worked examples of docs/scaling.md: a home of 50 devices, and a million events/s on paper."""

from __future__ import annotations

from typing import Final

from bench.arithmetic import DAY_S, PLAN, cores, cost_at, needed, show, size
from bench.figures import Figures
from bench.tables import table

_HEAD: Final = ["need", "computed", "result", "measured by"]
_LOW: Final = "`make bench-scaling PARTS=quiet`"
_BYTES: Final = "`make bench-scaling PARTS=footprint`"
_WORKERS: Final = "`make bench-scaling PARTS=workers`"
_FILTERING: Final = "`make bench-scaling PARTS=filtering`"
_BENCH: Final = "`make bench PARTS=throughput`"

_DEVICES: Final = 50
_EVERY_S: Final = 10
_NIGHT_S: Final = 8 * 3_600
_SPOOL_BYTES: Final = 256 << 20
_LETTERS: Final = 10_000
_MILLION: Final = 1_000_000


def home(figures: Figures) -> str:
    """Return the needs of 50 devices that each publish every 10 s, by MQTT at QoS 1."""
    rate = _DEVICES / _EVERY_S
    idle, cost, by = figures.idle["mqtt", 1], cost_at(figures, "mqtt", 10), figures.bytes
    idle_worker = figures.idle_workers[0]
    rows = [["events/s", f"{_DEVICES} / {_EVERY_S} s", show(rate), ""]]
    for name, share, each in (
        ("bridge", idle[0], cost.bridge),
        ("mosquitto", idle[1], cost.broker or 0),
        ("Redis, for the bridge", idle[2], cost.sink),
    ):
        rows.append([name, f"{share:.2f} % idle + {rate:g} x {each * 10:,.0f} us", _percent(share, rate, each), _LOW])
    for name, column, each in (
        ("Redis, for a worker", "Redis", figures.worker_redis),
        ("the worker itself", "worker", figures.worker),
    ):
        share = float(idle_worker[column])
        rows.append(
            [name, f"{share:.2f} % idle + {rate:g} x {each * 10:,.0f} us", _percent(share, rate, each), _WORKERS]
        )
    resident = by["bridge with one source and one route"]
    message, key, spooled = (
        by["waiting message, five values"],
        by["remembered key, deduplicate"],
        by["spooled event on disk"],
    )
    wire = by["event on the wire, mqtt broker to bridge"] + by["event on the wire, bridge to Redis"]
    rows += [
        ["the bridge's memory", "", f"{resident / (1 << 20):.0f} MiB", _BYTES],
        [
            "Redis, workers away for 8 h",
            f"{rate:g} x {_NIGHT_S:,} s x {message:,.0f} B",
            size(rate * _NIGHT_S * message),
            _BYTES,
        ],
        ["Redis, `deduplicate` within 1 d", f"{rate:g} x {DAY_S:,} s x {key:,.0f} B", size(rate * DAY_S * key), _BYTES],
        [
            "Redis, dead letters at most",
            f"{_LETTERS:,} x {by['dead letter']:,.0f} B",
            size(_LETTERS * by["dead letter"]),
            _BYTES,
        ],
        [
            "disk, Redis away for 8 h",
            f"{rate:g} x {_NIGHT_S:,} s x {spooled:,.0f} B",
            size(rate * _NIGHT_S * spooled),
            _BYTES,
        ],
        [
            "a spool of 256 MiB lasts",
            f"256 MiB / ({rate:g} x {spooled:,.0f} B)",
            f"{show(_SPOOL_BYTES / rate / spooled / 3_600)} h",
            _BYTES,
        ],
        ["network", f"{rate:g} x {wire:,.0f} B", f"{size(rate * wire)}/s", _BYTES],
    ]
    return table(_HEAD, rows, texts=4)


def _percent(idle: float, rate: float, each: float) -> str:
    return f"{show(idle + cores(rate, each) * 100)} % of a core"


def million(figures: Figures) -> str:
    """Return the needs of a million events/s: of each kind of source, of Redis and the workers, and of the machines around them."""
    amqp, mqtt, by = figures.costs["amqp"], figures.costs["mqtt"], figures.bytes
    few = figures.filtered["mqtt"]
    rows = []
    for name, each, source in (
        ("bridge, from RabbitMQ", amqp.bridge, _BENCH),
        ("bridge, from MQTT", mqtt.bridge, _BENCH),
        ("bridge, from MQTT, one event in 100 a message", few.bridge, _FILTERING),
        ("RabbitMQ", amqp.broker or 0, _BENCH),
        ("mosquitto, one thread each", mqtt.broker or 0, _BENCH),
        ("Redis: the bridge's writes, from RabbitMQ", amqp.sink, _BENCH),
        ("Redis: fetched and acknowledged by workers", figures.worker_redis, _WORKERS),
        ("workers with actors that do nothing", figures.worker, _WORKERS),
    ):
        busy = cores(_MILLION, each)
        rows.append([name, f"10 x {each:.2f} s", f"{show(busy)} cores busy, plan {needed(busy)}", source])
    both = amqp.sink + figures.worker_redis
    redis = needed(cores(_MILLION, both))
    message, spooled = by["waiting message, five values"], by["spooled event on disk"]
    rows += [
        [
            "Redis servers, each event a message",
            f"10 x ({amqp.sink:.2f} + {figures.worker_redis:.2f}) s / {PLAN:g}",
            f"{redis}",
            "the rows above",
        ],
        [
            "Redis servers, one event in 100 a message",
            f"10 x ({few.sink:.2f} + {figures.worker_redis:.2f} / 100) s / {PLAN:g}",
            f"{needed(cores(_MILLION, few.sink + figures.worker_redis / 100))}",
            _FILTERING,
        ],
        ["network, RabbitMQ to bridge", *_gbit(by["event on the wire, amqp broker to bridge"])],
        ["network, mosquitto to bridge", *_gbit(by["event on the wire, mqtt broker to bridge"])],
        ["network, bridge to Redis", *_gbit(by["event on the wire, bridge to Redis"])],
        [
            "Redis memory, workers away for a minute",
            f"60 s x 1,000,000 x {message:,.0f} B",
            size(60 * _MILLION * message),
            _BYTES,
        ],
        ["... of one Redis", f"the same / {redis}", size(60 * _MILLION * message / redis), "the rows above"],
        [
            "disk, Redis away for a minute",
            f"60 s x 1,000,000 x {spooled:,.0f} B",
            size(60 * _MILLION * spooled),
            _BYTES,
        ],
        ["... written", f"1,000,000 x {spooled:,.0f} B", f"{size(_MILLION * spooled)}/s", _BYTES],
    ]
    return table(_HEAD, rows, texts=4)


def _gbit(number: float) -> tuple[str, str, str]:
    return f"1,000,000 x {number:,.0f} B x 8", f"{show(number * _MILLION * 8 / 1e9)} Gbit/s", _BYTES
