"""AMQP 0-9-1, shown on a real RabbitMQ: declaring, properties, sizes, the window, and an operator's actions."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel

from bridge import sources
from bridge.config import load
from bridge.routing.compiler import check_routes
from tests.sources.amqp.test_salvage import BAD_HEADERS, properties_around
from tests.support.amqp_wire import BAD_PROPERTIES
from tests.support.brokers import RabbitMQ, Redis
from tests.support.children import wait_until
from tests.support.feeds import AmqpFeed
from tests.support.processes import Bridges, queue_messages

#: RabbitMQ's frames hold at most 131,072 bytes, 8 of which are the frame's own.
FRAME = 131_064


@pytest.fixture
def feed(rabbitmq: RabbitMQ) -> AmqpFeed:
    """A queue of its own, not declared yet."""
    return AmqpFeed(rabbitmq)


def _at(feed: AmqpFeed, work: Callable[[AbstractChannel], Awaitable[object]]) -> None:
    """Call `work` with a channel of its own."""

    async def run() -> None:
        async with await aio_pika.connect(feed.broker.url) as connection, connection.channel() as channel:
            await work(channel)

    asyncio.run(run())


def _send(feed: AmqpFeed, *bodies: bytes, exchange: str = "", key: str | None = None, **properties: Any) -> None:
    async def work(channel: AbstractChannel) -> None:
        to = await channel.get_exchange(exchange, ensure=False) if exchange else channel.default_exchange
        for body in bodies:
            await to.publish(aio_pika.Message(body, delivery_mode=2, **properties), feed.name if key is None else key)

    _at(feed, work)


def _queue(feed: AmqpFeed, **arguments: Any) -> None:
    _at(feed, lambda channel: channel.declare_queue(feed.name, durable=True, **arguments))


def _args(sink: Redis, count: int, timeout: float = 30.0) -> list[list[Any]]:
    """Wait for `count` messages and return their arguments."""
    with sink.client() as client:
        wait_until(lambda: client.llen("dramatiq:default") >= count, timeout, f"{count} messages")
        return [message["args"] for message in queue_messages(client, "default")]


def _dead(sink: Redis, count: int) -> list[dict[str, bytes]]:
    """Wait for `count` dead letters and return them."""
    with sink.client() as client:
        wait_until(lambda: client.xlen("dramatiq-bridge:dead-letters") >= count, 30, f"{count} dead letters")
        letters: Any = client.xrange("dramatiq-bridge:dead-letters")
        return [{name.decode(): value for name, value in fields.items()} for _, fields in letters]


def _nothing_left(feed: AmqpFeed) -> None:
    wait_until(lambda: feed.unacknowledged() == 0, 20, "nothing left in the queue")


def test_a_missing_queue_is_said_with_the_remedy(feed: AmqpFeed, redis_server: Redis, either_bridge: Bridges) -> None:
    """A missing queue is named, with the remedy; once somebody declares it the source continues by itself."""
    bridge = either_bridge(feed.config(redis_server))
    cause = bridge.wait_for("source.unavailable", source="feed")["cause"]
    assert feed.name in cause
    assert "does not exist" in cause
    assert "declare" in cause
    feed.prepare()
    feed.publish([{"n": 1}])
    assert _args(redis_server, 1) == [[1]]
    bridge.ready()


def test_a_declaration_makes_queues_exchanges_and_bindings(
    feed: AmqpFeed, redis_server: Redis, either_bridge: Bridges, fast_path: bool
) -> None:
    """`declare` works at every start; the routing key is the topic; a different declaration is named."""
    topic, fanout = f"{feed.name}-topic", f"{feed.name}-fanout"
    route = {"topic": "order.{action}.{id}.#", "args": ["$action", "$id", "$meta.exchange", "$topic"]}
    config = feed.config(redis_server, route, declare={"exchange": topic, "bindings": ["order.#"]})
    config["sources"]["all"] = {**feed.source, "queue": fanout, "declare": {"exchange": fanout, "type": "fanout"}}
    config["routes"].append({"from": "all", "actor": "record", "args": ["", "", "$meta.exchange", "$topic"]})
    bridge = either_bridge(config).ready()
    for round_ in (1, 2):
        _send(feed, b"{}", exchange=topic, key="order.paid.7")
        _send(feed, b"{}", exchange=topic, key="parcel.sent.7")
        _send(feed, b"{}", exchange=fanout, key="any")
        expected = [["", "", fanout, "any"], ["paid", "7", topic, "order.paid.7"]] * round_
        assert sorted(_args(redis_server, 2 * round_)) == sorted(expected)
        bridge.terminate()
        bridge.wait()
        if round_ == 1:
            bridge.start().ready()

    # A queue with another argument and an exchange of another type are named.
    config["sources"]["feed"]["declare"]["arguments"] = {"x-max-length": 5}
    config["sources"]["all"]["declare"]["type"] = "direct"
    bridge.configure(config, fast=fast_path)
    bridge.start()
    cause = bridge.wait_for("source.unavailable", source="feed")["cause"]
    assert f"queue '{feed.name}' exists with other settings" in cause
    assert "x-max-length" in cause
    cause = bridge.wait_for("source.unavailable", source="all")["cause"]
    assert f"exchange '{fanout}' exists with other settings" in cause


def test_every_property_has_its_documented_type(feed: AmqpFeed, redis_server: Redis, either_bridge: Bridges) -> None:
    """Headers come in JSON's types, `timestamp` in milliseconds in any time zone, `expires_in` in seconds."""
    feed.prepare()
    when = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    headers: Any = {
        "text": "grüße 🌍",
        "number": 2**40,
        "float": 1.5,
        "yes": True,
        "nothing": None,
        "table": {"inner": {"list": [1, "zwei", False]}},
        "binary": bytearray(b"\x00\xff"),
        "at": when,
    }
    either_bridge(feed.config(redis_server, {"args": ["$meta", "$headers"]}), env={"TZ": "America/New_York"}).ready()
    _send(
        feed,
        b"{}",
        headers=headers,
        message_id="m-1",
        correlation_id="c-1",
        reply_to="answers",
        content_type="application/json",
        timestamp=when,
        expiration=60,
    )
    _send(feed, b"{}")
    (meta, got), (bare, no_headers) = _args(redis_server, 2)
    expected = {
        "message_id": "m-1",
        "correlation_id": "c-1",
        "reply_to": "answers",
        "content_type": "application/json",
        "timestamp": int(when.timestamp() * 1000),
        "expires_in": 60.0,
        "exchange": "",
        "redelivered": False,
    }
    assert {name: meta[name] for name in expected} == expected
    assert type(meta["timestamp"]) is int
    assert got == {**headers, "binary": "AP8=", "at": when.isoformat()}
    # aio-pika gives a message id to a message without one.
    nothing = dict.fromkeys(("correlation_id", "reply_to", "content_type", "timestamp", "expires_in"))
    assert {name: bare[name] for name in nothing} == nothing
    assert no_headers == {}


@pytest.mark.parametrize("name", ["a content type that is not UTF-8", "a timestamp in nanoseconds"])
def test_an_unreadable_property_is_a_dead_letter_where_it_is_asked_for(
    feed: AmqpFeed, redis_server: Redis, either_bridge: Bridges, name: str
) -> None:
    """A property that cannot be decoded makes its own message a dead letter if a route reads it, and delays no other."""
    feed.prepare()
    config = feed.config(
        redis_server,
        {"args": ["$payload.n", "$default(meta.content_type, default(meta.timestamp, 0))"], "name": "asks"},
    )
    config["routes"].append({"from": "feed", "actor": "record", "queue": "other", "args": ["$payload.n"]})
    bridge = either_bridge(config).ready()
    feed.publish([{"n": 1}])
    feed.publish_raw(b'{"n": 2}', BAD_PROPERTIES[name])
    feed.publish([{"n": 3}])
    assert _args(redis_server, 2) == [[1, 0], [3, 0]]
    (letter,) = _dead(redis_server, 1)
    assert letter["reason"] == b"decode"
    assert letter["route"] == b"asks"
    assert b"a property can't be read" in letter["error"]
    assert letter["body"] == b'{"n": 2}'
    with redis_server.client() as client:
        assert [message["args"] for message in queue_messages(client, "other")] == [[1], [2], [3]]
    assert len(bridge.events("source.connected")) == 1
    bridge.terminate()
    assert bridge.wait() == 0
    _nothing_left(feed)


def test_a_property_that_cannot_be_read_damages_only_the_routes_that_read_it(
    feed: AmqpFeed, redis_server: Redis, either_bridge: Bridges
) -> None:
    """Whoever reads the deliveries, the bridge or the library, and whichever property it is."""
    feed.prepare()
    config = feed.config(redis_server, {"args": ["$headers.a", "$headers.b", "$meta.message_id", "$meta.priority"]})
    for name, value in (("header", "$headers.bad"), ("headers", "$headers"), ("property", "$meta.correlation_id")):
        config["routes"].append({"from": "feed", "actor": "record", "name": name, "args": [value]})
    either_bridge(config).ready()
    feed.publish_raw(b"{}", properties_around(BAD_HEADERS["a name inside that is not UTF-8"][0]))
    assert _args(redis_server, 1) == [["x", "y", "id", 7]]
    letters = _dead(redis_server, 3)
    assert sorted(letter["route"] for letter in letters) == [b"header", b"headers", b"property"]
    assert all(letter["error"].startswith(b"a property can't be read: 'utf-8'") for letter in letters)


def test_bodies_of_every_size_arrive_whole(feed: AmqpFeed, redis_server: Redis, either_bridge: Bridges) -> None:
    """Empty, exactly at the borders of frames, in several frames; one over `max_body` is a dead letter, the next flows."""
    feed.prepare()
    sizes = [0, 1, FRAME - 1, FRAME, FRAME + 1, 2 * FRAME - 1, 2 * FRAME, 262_144, 262_145, 5]
    bodies = [bytes(97 + (n * 7 + size) % 26 for n in range(size)) for size in sizes]
    route = {"args": ["$len(payload)", "$sha256(payload)"]}
    either_bridge(feed.config(redis_server, route, decode="text")).ready()
    _send(feed, *bodies)
    taken = [body for body in bodies if len(body) <= 262_144]
    assert _args(redis_server, len(taken)) == [[len(body), hashlib.sha256(body).hexdigest()] for body in taken]
    (letter,) = _dead(redis_server, 1)
    assert letter["reason"] == b"too-large"
    assert letter["body_size"] == b"262145"
    _nothing_left(feed)


def test_the_window_bounds_memory(
    feed: AmqpFeed, redis_server: Redis, new_redis: Callable[..., Redis], either_bridge: Bridges
) -> None:
    """While Redis hangs, 32 MiB in the queue cost less than 20 MiB of memory, and none of them is lost."""
    sink = new_redis()
    feed.prepare()
    route = {"args": ["$payload.n"]}
    bridge = either_bridge(feed.config(sink, route, window={"events": 1000, "bytes": "256KiB"}))
    bridge.ready()
    feed.publish([{"n": n, "text": "x" * 65_536} for n in range(5)])
    _args(sink, 5)
    before = bridge.rss_bytes()
    sink.pause()
    try:
        feed.publish([{"n": n, "text": "x" * 65_536} for n in range(5, 505)])
        grown = 0
        for _ in range(20):
            time.sleep(0.1)
            grown = max(grown, bridge.rss_bytes() - before)
    finally:
        sink.resume()
    assert grown < 20 * 2**20, f"grew by {grown / 2**20:.1f} MiB"
    assert [n for (n,) in _args(sink, 505)] == list(range(505))
    _nothing_left(feed)


def test_a_deleted_queue_is_consumed_again(feed: AmqpFeed, redis_server: Redis, either_bridge: Bridges) -> None:
    """The deletion of a queue is logged, and the queue is consumed again as soon as somebody declares it."""
    feed.prepare()
    bridge = either_bridge(feed.config(redis_server)).ready()
    _at(feed, lambda channel: channel.queue_delete(feed.name))
    lost = bridge.wait_for("source.disconnected", source="feed")
    assert feed.name in lost["cause"]
    assert "cancelled" in lost["cause"]
    bridge.wait_for("source.unavailable", source="feed")
    feed.prepare()
    feed.publish([{"n": 1}])
    assert _args(redis_server, 1) == [[1]]


def test_an_operator_may_close_the_connection(feed: AmqpFeed, redis_server: Redis, either_bridge: Bridges) -> None:
    """After `rabbitmqctl close_all_connections` the bridge logs the operator's reason, and reconnects."""
    feed.prepare()
    bridge = either_bridge(feed.config(redis_server)).ready()
    feed.broker.ctl("close_all_connections", "maintenance tonight")
    assert "maintenance tonight" in bridge.wait_for("source.disconnected", source="feed")["cause"]
    bridge.wait_for("source.connected", times=2, source="feed")
    feed.publish([{"n": 1}])
    assert _args(redis_server, 1) == [[1]]


def test_events_that_no_route_takes_leave_the_queue(
    feed: AmqpFeed, redis_server: Redis, either_bridge: Bridges
) -> None:
    """Filtered events are acknowledged; unmatched ones too, as dead letters unless `unmatched: drop` is set."""
    route = {"topic": "wanted", "when": "payload.n > 1"}
    config = feed.config(redis_server, route, declare={"exchange": feed.name, "type": "fanout"})
    dropping = {**deepcopy(config["sources"]["feed"]), "queue": f"{feed.name}-2", "unmatched": "drop"}
    config["sources"]["dropping"] = dropping
    config["routes"].append({**deepcopy(config["routes"][0]), "from": "dropping"})
    bridge = either_bridge(config).ready()
    for number, key in ((1, "wanted"), (2, "other"), (3, "wanted")):
        _send(feed, b'{"n": %d}' % number, exchange=feed.name, key=key)
    assert _args(redis_server, 2) == [[3], [3]]
    (letter,) = _dead(redis_server, 1)
    assert letter["reason"] == b"unmatched"
    _nothing_left(feed)
    bridge.terminate()
    bridge.wait()
    for source, dead_lettered in (("feed", 1), ("dropping", 0)):
        counts = bridge.wait_for("source.counts", source=source)
        expected = {"enqueued": 1, "filtered": 1, "dead_lettered": dead_lettered, "unmatched": 1 - dead_lettered}
        assert {name: counts[name] for name in expected} == expected


async def test_only_acknowledged_events_leave_the_queue(
    feed: AmqpFeed, redis_server: Redis, tmp_path: Path, fast_path: bool
) -> None:
    """After four of ten events are acknowledged, six are redelivered, in order and marked as redelivered."""
    await asyncio.to_thread(feed.prepare)
    path = tmp_path / "bridge.yaml"
    path.write_text(json.dumps(feed.config(redis_server, fast_path=fast_path)))
    config = load(path, check=check_routes)
    source = sources.make("feed", config)
    await asyncio.to_thread(feed.publish, [{"n": n} for n in range(10)])

    async def receive(session: sources.Session, count: int) -> Sequence[Any]:
        events = await session.receive()
        while len(events) < count:
            events += await session.receive()
        return events

    async with source.connect() as session:
        events = await receive(session, 10)
        assert [event.details()[1]["redelivered"] for event in events] == [False] * 10
        assert not any(event.redelivered for event in events)
        await session.acknowledge(events[:3])
        await session.acknowledge(events[3:4])
    async with source.connect() as session:
        events = await receive(session, 6)
        assert [json.loads(event.body)["n"] for event in events] == [4, 5, 6, 7, 8, 9]
        assert [event.details()[1]["redelivered"] for event in events] == [True] * 6
        assert all(event.redelivered for event in events)
        await session.acknowledge(events)
    await asyncio.to_thread(_nothing_left, feed)
