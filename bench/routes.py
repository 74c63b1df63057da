"""What each key and function of a route costs, against a plain route: the table of docs/how-it-works.md (`python -m bench.routes`).

Every row has the same events. A round routes them by the plain route, twice by the row's, and by the plain one: A B B A. The
figure is the median of the rounds' ratios, so that a machine which others use shows the same.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import statistics
import sys
import sysconfig
import tempfile
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from bench import usage
from bench.against import interpreter
from bench.tables import table
from bridge import config
from bridge.model.batch import Batch
from bridge.model.event import Event
from bridge.process.event_loop import GC_THRESHOLD
from bridge.routing import router
from bridge.routing.compiler import check_routes, compile_routes
from bridge.sink import RedisSink
from tests.support.brokers import Redis

#: Events of one batch: so many that the dearest row still is routed as one.
_EVENTS: Final = 100
_ROUNDS: Final = 61
_WARM_UP: Final = 5
_LINES: Final = 10
_PLAIN: Final[Mapping[str, Any]] = {"from": "bench", "actor": "record", "args": ["$payload.id", "$payload.total"]}
_SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "required": ["id", "lines"],
    "properties": {
        "id": {"type": "string"},
        "total": {"type": "string"},
        "lines": {"type": "array", "items": {"properties": {"quantity": {"type": "integer"}}}},
    },
}


@dataclass(frozen=True)
class Row:
    """A name, the keys that the plain route and its source have more, and by how many its messages are divided."""

    name: str
    route: Mapping[str, Any] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)
    each: int = 1
    gzip: bool = False


def _with(value: str) -> dict[str, Any]:
    return {"args": [*_PLAIN["args"], value]}


_ROWS: Final = [
    Row(
        "a list of ten elements: `[line.sku for line in payload.lines]`", _with("$[line.sku for line in payload.lines]")
    ),
    Row("the same with a call in each turn", _with("$[upper(line.sku) for line in payload.lines]")),
    Row("`foreach`, for each of ten messages", {"foreach": "$payload.lines"}, each=_LINES),
    Row("`then`, one step", {"then": [{"actor": "after", "args": ["$payload.id"]}]}),
    Row(
        "`then`, three steps",
        {"then": [{"actor": actor, "args": ["$payload.id"]} for actor in ("second", "third", "fourth")]},
    ),
    Row("`otherwise`", {"otherwise": True}),
    Row("`queue_by`", {"queue_by": {"key": "$payload.region", "queues": {"eu": "eu"}}}),
    Row(
        "`allow`, of the actor",
        {"actor": "$payload.task", "name": "task", "allow": {"actor": ["record", "other"]}},
    ),
    Row("`eta`", {"eta": "$received_at + 60000"}),
    Row("`expires`", {"expires": True}),
    Row("`deduplicate`", {"deduplicate": {"key": "$payload.id", "within": "1h"}}),
    Row("`lookup`", _with('$lookup("regions", payload.region)')),
    Row("`validate` of the source", source={"validate": _SCHEMA}),
    Row("a `decode` of the route: `json-or-text`", {"decode": "json-or-text"}),
    Row("a body in gzip", gzip=True),
    Row("`str`, `lower`, `replace`", _with('$lower(replace(str(payload.id), "-", ""))')),
    Row("`cents`", _with('$cents(payload.total, 2, ",.")')),
    Row("`timestamp` of ISO", _with("$timestamp(payload.due)")),
    Row('`format_time` in `"Europe/Berlin"`', _with('$format_time(received_at, "%d.%m.%Y %H:%M", "Europe/Berlin")')),
    Row("`sha256`, or another hash", _with("$sha256(payload.id)")),
    Row("`uuid5`", _with("$uuid5(payload.id)")),
]
_STORED: Final = [
    Row("`foreach`, for each of ten messages", {"foreach": "$payload.lines"}, each=_LINES),
    Row("`deduplicate`, a message that is written", {"deduplicate": {"key": '$f"{payload.id}/{topic}"'}}),
    Row("`deduplicate`, one that is not", {"deduplicate": {"key": "$payload.id", "within": "1h"}}),
]


def _bodies() -> list[bytes]:
    """Return orders of ten lines, of some 480 bytes."""
    lines = [{"sku": f"sku-{number}", "quantity": number + 1} for number in range(_LINES)]
    order = {"total": "1.234,50", "region": "eu", "task": "record", "due": "2026-11-28T11:00:00Z", "lines": lines}
    return [msgspec.json.encode({"id": f"A-{number:06}", **order}) for number in range(_EVENTS)]


def _events(row: Row, topic: str = "orders/new") -> list[Event]:
    def body(plain: bytes) -> bytes:
        return zlib.compress(plain, wbits=31) if row.gzip else plain

    raw: Any = ({}, {"expires_in": 3600, "content_encoding": "gzip" if row.gzip else None})
    now_ms = time.time_ns() // 1_000_000
    return [Event("bench", topic, body(plain), now_ms, raw=raw) for plain in _bodies()]


def _loaded(row: Row, url: str, folder: str) -> config.Config:
    path = Path(folder) / "bridge.yaml"
    source = {"type": "mqtt", "url": "mqtt://127.0.0.1", "topics": ["orders/#"], **row.source}
    text = {
        "dramatiq": {"url": url},
        "tables": {"regions": {"values": {"eu": 4711}}},
        "sources": {"bench": source},
        "routes": [{**_PLAIN, **row.route}],
    }
    path.write_bytes(msgspec.json.encode(text))  # JSON is YAML, and has no anchors
    return config.load(path, check=check_routes)


def _router(loaded: config.Config) -> router.Router:
    tables, problems = compile_routes(loaded)
    assert not problems, problems
    return router.make(loaded.sources["bench"], tables["bench"])


def _routed(compiled: router.Router, row: Row, topic: str = "orders/new") -> Batch:
    batch = Batch(_events(row, topic))
    counts = compiled.route(batch)
    assert counts.received == _EVENTS, "the batch was cut"
    assert not batch.dead_letters, batch.dead_letters[0]
    return batch


def _in_bridge(row: Row) -> tuple[float, float]:
    """Return the median of the ratios to a plain route of the CPU per message, and that route's microseconds."""
    with tempfile.TemporaryDirectory() as folder:
        plain, own = (_router(_loaded(each, "redis://127.0.0.1:1/0", folder)) for each in (Row("plain"), row))
        _routed(own, row)  # it makes no dead letter, and is one batch
        plain_events, own_events = _events(Row("plain")), _events(row)

        def timed(compiled: router.Router, events: list[Event]) -> float:
            batch = Batch(list(events))
            began = time.process_time_ns()
            compiled.route(batch)
            return (time.process_time_ns() - began) / 1_000 / _EVENTS

        return _ratio(lambda: timed(plain, plain_events), lambda: timed(own, own_events) / row.each, _ROUNDS)


def _in_redis(row: Row) -> tuple[float, float]:
    """Return the median of the ratios to a plain route of Redis's CPU per message, and that route's microseconds."""
    with (
        Redis() as redis,
        tempfile.TemporaryDirectory() as folder,
        asyncio.Runner() as runner,
        redis.client() as client,
    ):
        ways = []
        for each in (Row("plain"), row):
            loaded = _loaded(each, redis.url_of(0), folder)
            ways.append((each, _router(loaded), RedisSink(loaded.dramatiq, loaded.dead_letters)))
        numbers = itertools.count()

        def timed(each: Row, compiled: router.Router, sink: RedisSink) -> float:
            batches = [_routed(compiled, each, f"orders/{next(numbers)}") for _ in range(10)]
            began = _redis_us(client)
            for batch in batches:
                runner.run(sink.write(batch))
            return (_redis_us(client) - began) / 10 / _EVENTS / each.each

        found = _ratio(lambda: timed(*ways[0]), lambda: timed(*ways[1]), _ROUNDS // 3)
        for _, _, sink in ways:
            runner.run(sink.close())
        return found


def _redis_us(client: Any) -> float:
    cpu = client.info("cpu")
    return float(cpu["used_cpu_user"] + cpu["used_cpu_sys"]) * 1e6


def _ratio(plain: Callable[[], float], own: Callable[[], float], rounds: int) -> tuple[float, float]:
    """Return the median of the rounds' ratios own / plain, and the median of plain."""
    ratios, plains = [], []
    for number in range(_WARM_UP + rounds):
        before, first, second, after = plain(), own(), own(), plain()
        if number >= _WARM_UP:
            plains.append((before + after) / 2)
            ratios.append((first + second) / (before + after))
    return statistics.median(ratios), statistics.median(plains)


def main() -> int:
    """Print the tables, and the machine that has made them."""
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 20)  # as the bridge runs
    load = os.getloadavg()[0]
    for where, rows, measure in (("the bridge's CPU", _ROWS, _in_bridge), ("Redis's CPU", _STORED, _in_redis)):
        found = [(row.name, *measure(row)) for row in rows]
        plain = statistics.median(plain for _, _, plain in found)
        cells = [[name, f"{ratio:.2f}"] for name, ratio, _ in found]
        print(table([where, "a plain route is 1"], cells, texts=1), f"\n\nA plain route takes {plain:.1f} us.\n")
    print(interpreter(sysconfig.get_config_var("CONFIG_ARGS") or ""))
    body = len(_bodies()[0])
    print(f"events of {body} bytes; {os.cpu_count()} cores, {usage.cpu_model()}; load {load:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
