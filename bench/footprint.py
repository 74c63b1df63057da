"""Footprint: the bytes of one event in Redis, on the spool's disk and on the wire, and of the bridge's memory.

A busy machine does not change them.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from bench import load, usage
from bench.backlogs import PubsubBacklog
from bench.costs import Setup, Stage, configs, move, stage
from bench.report import Section
from bench.rounds import LogLine
from bench.sides import StreamSide
from bench.tables import number, table
from tests.faults.proxy import Proxy
from tests.support.brokers import Redis
from tests.support.children import wait_until
from tests.support.processes import BridgeProcess

_EVENTS: Final = 20_000
#: Fewer than `dead_letters: {max_length}`.
_LETTERS: Final = 8_000
_ROUTES: Final = 2_000
_MIB: Final = 1 << 20
#: The spool has taken everything once its files have not grown for so long.
_STILL_S: Final = 2.0

Config = dict[str, Any]


def section(log_line: LogLine, scale: float) -> Section:
    """Measure each size once."""
    events = max(5_000, int(_EVENTS * scale))
    with stage("mqtt") as on:
        rows = [*_messages(on, events), *_deduplicated(on, events), _letters(on), *_memory(on), _wire(on, events)]
        rows.append(_to_redis(on, events))
    rows.append(_elsewhere(events))
    with stage("redis-stream") as on:
        rows.append(_unread(on, events))
    with stage("amqp") as on:
        rows.append(_wire(on, events))
    rows.append(_spooled(events))
    for name, size in rows:
        log_line(f"footprint  {name}: {size:,.0f}")
    text = f"Bytes per event, means of {events:,}; bodies of 210 bytes where no other size is named. Redis's are those of `used_memory`.\n\n"
    return Section(
        "Footprint", text + table(["one", "bytes"], [[name, number(size, 0)] for name, size in rows], texts=1)
    )


def _used(on: Stage) -> int:
    with on.sink.client() as client:
        answer: Any = client.info("memory")
        return int(answer["used_memory"])


def _grown(on: Stage, setup: Setup, changed: Callable[[Config], Config], *, without_messages: bool) -> float:
    """Return by how many bytes per event Redis has grown."""
    with on.sink.client() as client:
        client.flushall()
        before = _used(on)
        move(on, setup, changed)
        if without_messages:
            client.delete(*setup.queue_keys, *[f"{key}.msgs" for key in setup.queue_keys])
        return (_used(on) - before) / setup.events


def _messages(on: Stage, events: int) -> list[tuple[str, float]]:
    def whole(config: Config) -> Config:
        return {**config, "routes": [{**route, "args": ["$payload"], "kwargs": {}} for route in config["routes"]]}

    plain = Setup("mqtt", events)
    rows = [("waiting message, five values", _grown(on, plain, lambda config: config, without_messages=False))]
    for size in (load.EVENT_BYTES, 1024, 8192):
        grown = _grown(on, Setup("mqtt", events // 4, size=size), whole, without_messages=False)
        rows.append((f"waiting message, the whole payload of {size:,} bytes", grown))
    return rows


def _deduplicated(on: Stage, events: int) -> list[tuple[str, float]]:
    def with_key(config: Config) -> Config:
        key = {"key": '$f"{payload.device}/{payload.seq}"', "within": "1d"}
        return {**config, "sources": {name: {**each, "deduplicate": key} for name, each in config["sources"].items()}}

    return [("remembered key, deduplicate", _grown(on, Setup("mqtt", events), with_key, without_messages=True))]


def _elsewhere(events: int) -> tuple[str, float]:
    with Redis() as sink, Redis() as other:
        on = Stage("redis-stream", sink, StreamSide(other))
        setup = Setup("redis-stream", events)
        return "remembered id, stream in another Redis", _grown(on, setup, lambda config: config, without_messages=True)


def _letters(on: Stage) -> tuple[str, float]:
    setup = Setup("mqtt", _LETTERS)
    with on.sink.client() as client, BridgeProcess(configs(on, setup)[0]) as bridge:
        client.flushall()
        bridge.ready(60)
        before = _used(on)
        publisher = on.side.publisher([on.side.topic(0)])
        publisher.publish([b"x" * load.EVENT_BYTES] * _LETTERS)
        publisher.close()
        wait_until(lambda: client.xlen("dramatiq-bridge:dead-letters") == _LETTERS, 60, "every dead letter")
        return "dead letter", (_used(on) - before) / _LETTERS


def _unread(on: Stage, events: int) -> tuple[str, float]:
    before = _used(on)
    publisher = on.side.publisher([on.side.topic(0)])
    publisher.publish(load.bodies(events))
    publisher.close()
    return "entry of a Redis stream", (_used(on) - before) / events


def _wire(on: Stage, events: int) -> tuple[str, float]:
    """Count the bytes that the broker sends."""
    passed = 0
    port = on.side.broker.port

    def count(data: bytes) -> bytes:
        nonlocal passed
        passed += len(data)
        return data

    with Proxy(port) as proxy:
        proxy.rewrite = count

        def through(config: Config) -> Config:
            source = config["sources"]["s0"]
            source["url"] = source["url"].replace(f":{port}", f":{proxy.port}")
            return config

        move(on, Setup(on.kind, events), through)
    return f"event on the wire, {on.kind} broker to bridge", passed / events


def _to_redis(on: Stage, events: int) -> tuple[str, float]:
    with on.sink.client() as client:

        def received() -> int:
            answer: Any = client.info("stats")
            return int(answer["total_net_input_bytes"])

        before = received()
        move(on, Setup("mqtt", events))
        return "event on the wire, bridge to Redis", (received() - before) / events


def _memory(on: Stage) -> list[tuple[str, float]]:
    """Measure the bridge's memory of 2,000 routes; `quiet.py` has that of sources."""

    def resident(routes: int) -> int:
        with BridgeProcess(configs(on, Setup("mqtt", 0, routes=routes))[0]) as bridge:
            bridge.ready(120)
            time.sleep(1)
            return usage.rss_bytes(bridge.pid)

    one, many = resident(1), resident(_ROUTES)
    return [("bridge with one source and one route", one), ("route more in the bridge", (many - one) / (_ROUTES - 1))]


def _spooled(events: int) -> tuple[str, float]:
    """Publish while Redis stands still; afterwards every event has become a message."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        backlog = stack.enter_context(PubsubBacklog())
        client = stack.enter_context(backlog.sink.client())
        config = {
            "dramatiq": {"url": backlog.sink.url_of(0)},
            "spool": {"directory": str(directory)},
            "sources": {"bench": backlog.source},
            "routes": [load.route(backlog.topic)],
        }
        bridge = stack.enter_context(BridgeProcess(config))
        bridge.ready(60)
        backlog.sink.pause()
        backlog.fill(load.bodies(events))
        size, since = -1, time.monotonic()
        while time.monotonic() < since + _STILL_S:
            now = sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())
            size, since = (now, time.monotonic()) if now != size or now == 0 else (size, since)
            time.sleep(0.1)
        backlog.sink.resume()
        wait_until(lambda: client.llen(load.QUEUE_KEY) == events, 120, "every event's message")
        return "spooled event on disk", size / events
