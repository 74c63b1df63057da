"""Faults that RabbitMQ causes, shown on a real one: deleted, timed out, closed, blocked, silent, forgotten; nothing is lost."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel

from bridge.config import Amqp
from bridge.errors import Disconnected
from bridge.sources.amqp.consumer_check import ConsumerCheck
from bridge.sources.amqp.source import AmqpSource
from tests.support.amqp_wire import NOWHERE
from tests.support.brokers import RabbitMQ, Redis
from tests.support.children import wait_until
from tests.support.feeds import AmqpFeed
from tests.support.processes import Bridges, written_numbers


@pytest.fixture
def feed(rabbitmq: RabbitMQ) -> AmqpFeed:
    """A queue of its own, not declared yet."""
    return AmqpFeed(rabbitmq)


@pytest.fixture
def impatient(rabbitmq: RabbitMQ) -> Iterator[None]:
    """RabbitMQ closes the channel of a delivery that was not acknowledged for 2 s, instead of 30 min."""
    _settings(rabbitmq, consumer_timeout=2000, channel_tick_interval=500)
    yield
    _settings(rabbitmq, consumer_timeout=1_800_000, channel_tick_interval=60_000)


def _settings(rabbitmq: RabbitMQ, **values: int) -> None:
    """Set values that apply to channels opened from now on."""
    rabbitmq.ctl(
        "eval", " ".join(f"application:set_env(rabbit, {name}, {value})," for name, value in values.items()) + " ok."
    )


@asynccontextmanager
async def _channel(feed: AmqpFeed) -> AsyncIterator[AbstractChannel]:
    async with await aio_pika.connect(feed.broker.url) as connection, connection.channel() as channel:
        yield channel


async def _declare(feed: AmqpFeed, **arguments: Any) -> None:
    async with _channel(feed) as channel:
        await channel.declare_queue(feed.name, durable=True, arguments=arguments)


async def _delete(feed: AmqpFeed) -> None:
    async with _channel(feed) as channel:
        await channel.queue_delete(feed.name)


async def _ready(queue: str, feed: AmqpFeed) -> int:
    """Return how many messages of a queue are delivered to nobody."""
    async with _channel(feed) as channel:
        return (await channel.declare_queue(queue, passive=True)).declaration_result.message_count or 0


def _wait_for(sink: Redis, numbers: range) -> None:
    wait_until(lambda: set(written_numbers(sink)) >= set(numbers), 30, f"the events {numbers}")


def _publish_in_parts(feed: AmqpFeed, numbers: range) -> None:
    """Publish so that the events arrive in several batches."""
    for start in range(numbers.start, numbers.stop, 10):
        feed.publish([{"n": n} for n in range(start, min(start + 10, numbers.stop))])


def test_a_deleted_queue_is_declared_again(feed: AmqpFeed, redis_server: Redis, either_bridge: Bridges) -> None:
    """A deleted queue is declared again by a bridge with `declare`, and consumed."""
    bridge = either_bridge(feed.config(redis_server, declare={})).ready()
    asyncio.run(_delete(feed))
    lost = bridge.wait_for("source.disconnected", source="feed")
    assert f"cancelled the consumer of queue '{feed.name}' (was it deleted?)" in lost["cause"]
    assert lost["retry_in"] < 1
    bridge.wait_for("source.connected", times=2, source="feed")
    feed.publish([{"n": 1}])
    _wait_for(redis_server, range(1, 2))
    assert written_numbers(redis_server) == [1]


def test_events_that_a_deleted_queue_delivered_are_not_lost(
    feed: AmqpFeed, new_redis: Callable[..., Redis], either_bridge: Bridges
) -> None:
    """A queue is deleted while Redis is away: the events that only the bridge still has are written once Redis is back."""
    sink = new_redis()
    feed.prepare()
    bridge = either_bridge(feed.config(sink)).ready()
    sink.stop()
    _publish_in_parts(feed, range(50))
    wait_until(lambda: asyncio.run(_ready(feed.name, feed)) == 0, 10, "all of it delivered")
    asyncio.run(_delete(feed))
    feed.prepare()
    feed.publish([{"n": 50}])
    sink.start()
    _wait_for(sink, range(51))
    assert Counter(written_numbers(sink)) == Counter(range(51))
    assert len(bridge.events("source.disconnected")) == 1


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("held", [1, 100], ids=["one-batch", "full-pipeline"])
def test_an_outage_wears_out_no_quorum_queue(
    feed: AmqpFeed, new_redis: Callable[..., Redis], either_bridge: Bridges, held: int
) -> None:
    """Redis is away for longer than RabbitMQ waits for an acknowledgement, and connections get closed: the events it holds
    are released once and not redelivered before Redis is back, so that a delivery limit drops none of them.
    """
    sink = new_redis()
    dead = AmqpFeed(feed.broker)
    dead.prepare()
    to_dead = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead.name}
    asyncio.run(_declare(feed, **{"x-queue-type": "quorum", "x-delivery-limit": 1, **to_dead}))
    bridge = either_bridge(feed.config(sink)).ready()
    sink.stop()
    feed.publish([{"n": n} for n in range(held)])
    if held == 1:
        assert "timed out" in bridge.wait_for("source.disconnected", source="feed")["cause"]
        bridge.wait_for("source.waiting", source="feed")
    wait_until(lambda: asyncio.run(_ready(feed.name, feed)) == held, 10, "released")
    feed.publish([{"n": n} for n in range(held, 200)])
    for _ in range(3):
        feed.broker.ctl("close_all_connections", "again and again")
        time.sleep(1)
    assert asyncio.run(_ready(feed.name, feed)) == 200
    sink.start()
    _wait_for(sink, range(200))
    assert set(Counter(written_numbers(sink)).values()) <= {1, 2}
    wait_until(lambda: feed.unacknowledged() == 0, 20, "nothing left in the queue")
    assert asyncio.run(_ready(dead.name, feed)) == 0
    assert len(bridge.events("source.disconnected")) == 1


def test_a_bridge_that_waits_for_redis_stops_when_told(
    feed: AmqpFeed, new_redis: Callable[..., Redis], either_bridge: Bridges
) -> None:
    """SIGTERM ends a bridge that lost its connection while Redis is away, and so waits before it consumes again."""
    sink = new_redis()
    feed.prepare()
    bridge = either_bridge({**feed.config(sink), "drain_timeout": "1s"}).ready()
    sink.stop()
    feed.publish([{"n": 1}])
    bridge.wait_for("sink.unavailable")
    feed.broker.ctl("close_all_connections", "maintenance")
    bridge.wait_for("source.waiting", source="feed")
    bridge.terminate()
    assert bridge.wait() == 0
    assert feed.unacknowledged() == 1


def test_an_alarm_at_the_broker_holds_up_nothing(
    feed: AmqpFeed, new_redis: Callable[..., Redis], either_bridge: Bridges
) -> None:
    """While RabbitMQ is out of memory, and blocks publishers, the bridge still acknowledges and may connect."""
    sink = new_redis()
    feed.prepare()
    bridge = either_bridge(feed.config(sink)).ready()
    sink.stop()
    feed.publish([{"n": n} for n in range(100)])
    feed.broker.ctl("set_vm_memory_high_watermark", "0.0000001")
    try:
        sink.start()
        _wait_for(sink, range(100))
        wait_until(lambda: feed.unacknowledged() == 0, 20, "nothing left in the queue")
        assert bridge.events("source.disconnected") == []
        feed.broker.ctl("close_all_connections", "out of memory")
        bridge.wait_for("source.connected", times=2, source="feed")
    finally:
        feed.broker.ctl("set_vm_memory_high_watermark", "0.4")
    feed.publish([{"n": 100}])
    _wait_for(sink, range(101))
    assert Counter(written_numbers(sink)) == Counter(range(101))


@pytest.mark.parametrize("answers", [True, False])
def test_an_end_that_the_broker_does_not_confirm_is_said(
    feed: AmqpFeed, redis_server: Redis, either_bridge: Bridges, answers: bool
) -> None:
    """Acknowledgements may not have arrived: their events may come again, and the log says so; else it says nothing."""
    feed.prepare()
    bridge = either_bridge(feed.config(redis_server)).ready()
    feed.publish([{"n": n} for n in range(3)])
    with redis_server.client() as client:
        wait_until(lambda: client.llen("dramatiq:default") == 3, what="the messages")
    try:
        if not answers:
            feed.broker.pause()
        bridge.terminate()
        assert bridge.wait() == 0
    finally:
        if not answers:
            feed.broker.resume()
    assert bool(bridge.events("source.close_unconfirmed")) != answers


def test_a_broker_that_says_nothing_is_found(feed: AmqpFeed, redis_server: Redis, either_bridge: Bridges) -> None:
    """A broker that vanishes without closing is noticed by its heartbeats, and logged; once it is back, events flow."""
    feed.prepare()
    bridge = either_bridge(feed.config(redis_server, heartbeat="1s", connect_timeout="2s")).ready()
    feed.broker.pause()
    try:
        lost = bridge.wait_for("source.disconnected", timeout=12, source="feed")
        assert "no sign of life" in lost["cause"]
        assert bridge.wait_for("source.unavailable", timeout=12, source="feed")["cause"] == "timed out"
    finally:
        feed.broker.resume()
    bridge.wait_for("source.connected", times=2, source="feed")
    feed.publish([{"n": 1}])
    _wait_for(redis_server, range(1, 2))


def test_an_outage_with_the_window_full_by_bytes_is_survived(
    feed: AmqpFeed, new_redis: Callable[..., Redis], either_bridge: Bridges
) -> None:
    """Redis hangs for longer than the heartbeats' patience, with large events: no event is written twice, and the rest is written once Redis is back."""
    sink = new_redis()
    feed.prepare()
    bridge = either_bridge(feed.config(sink, heartbeat="1s", window={"bytes": "64KiB"})).ready()
    sink.pause()
    try:
        feed.publish([{"n": n, "text": "x" * 65_536} for n in range(200)])
        time.sleep(12)  # the patience is 7 s
    finally:
        sink.resume()
    _wait_for(sink, range(200))
    assert Counter(written_numbers(sink)) == Counter(range(200))
    (lost,) = bridge.events("source.disconnected")
    assert "the window was full for long" in lost["cause"]
    bridge.terminate()
    assert bridge.wait() == 0
    assert feed.unacknowledged() == 0


def _source(feed: AmqpFeed, fast_path: bool, quiet_s: float) -> AmqpSource:
    config = Amqp.model_validate({**feed.source, "fast_path": fast_path})
    return AmqpSource("feed", config, NOWHERE, consumer_check=ConsumerCheck(feed.name, quiet_s))


def _forget(feed: AmqpFeed, tag: str) -> None:
    """Make the queue forget a consumer that its channel and its client still know."""
    name = f'rabbit_misc:r(<<"/">>, queue, <<"{feed.name}">>)'
    cancel = (
        f'gen_server2:call(amqqueue:get_pid(Q), {{basic_cancel, element(1, C), <<"{tag}">>, undefined, <<"guest">>}})'
    )
    consumers = f'[C || C <- rabbit_amqqueue:consumers(Q), element(2, C) =:= <<"{tag}">>]'
    feed.broker.ctl("eval", f"{{ok, Q}} = rabbit_amqqueue:lookup({name}), [ok] = [{cancel} || C <- {consumers}].")


async def _keep(_message: object) -> None:
    """Receive a message, and never acknowledge it."""


async def _next(session: Any) -> list[int]:
    events = await session.receive()
    await session.acknowledge(events)
    return [json.loads(event.body)["n"] for event in events]


@pytest.mark.parametrize("others", [False, True], ids=["alone", "with-others"])
async def test_a_forgotten_consumer_is_found(feed: AmqpFeed, fast_path: bool, others: bool) -> None:
    """If the broker forgets the consumer silently, the session ends: no consumer is left, or messages wait in vain."""
    await _declare(feed)
    source = _source(feed, fast_path, quiet_s=1)
    async with _channel(feed) as channel:
        async with source.connect() as session:
            await asyncio.to_thread(feed.publish, [{"n": 1}])
            assert await _next(session) == [1]
            if others:
                await channel.set_qos(1)
                queue = await channel.declare_queue(feed.name, passive=True)
                await queue.consume(_keep, consumer_tag="another")
            await asyncio.to_thread(_forget, feed, "dramatiq-bridge")
            if others:
                await asyncio.to_thread(feed.publish, [{"n": n} for n in (2, 3)])
            with pytest.raises(Disconnected) as caught:
                async with asyncio.timeout(60):
                    await session.receive()
        assert ("1 messages wait" if others else "has no consumer any more") in caught.value.cause
        async with source.connect() as session, asyncio.timeout(60):
            if not others:
                await asyncio.to_thread(feed.publish, [{"n": 3}])
            assert await _next(session) == [3]


@pytest.mark.parametrize("kind", ["classic", "quorum"])
async def test_a_consumer_that_stands_by_is_left_in_peace(feed: AmqpFeed, fast_path: bool, kind: str) -> None:
    """The standby of a single active consumer ends its session at most once; it receives when the other one leaves."""
    await _declare(feed, **{"x-queue-type": kind, "x-single-active-consumer": True})
    source = _source(feed, fast_path, quiet_s=0.5)
    async with _channel(feed) as channel:
        await channel.set_qos(1)
        queue = await channel.declare_queue(feed.name, passive=True)
        await queue.consume(_keep, consumer_tag="active")
        await asyncio.to_thread(feed.publish, [{"n": n} for n in (1, 2, 3)])
        async with source.connect() as session:
            with pytest.raises(Disconnected, match=r"2 messages wait in queue .* another consumer"):
                async with asyncio.timeout(60):
                    await session.receive()
        stands_by = source.connect()
        session = await stands_by.__aenter__()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await session.receive()
    received: list[int] = []
    async with asyncio.timeout(60):
        while len(received) < 3:
            received += await _next(session)
    assert sorted(received) == [1, 2, 3]
    await stands_by.__aexit__(None, None, None)
