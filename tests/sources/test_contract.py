"""The contract of sources: the same promises, shown for each protocol on its real broker."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import redis

from bridge import sources
from bridge.config import load
from bridge.errors import Disconnected
from bridge.routing.compiler import check_routes
from bridge.sources import Session, Source
from tests.support.brokers import Redis
from tests.support.children import wait_until
from tests.support.feeds import SETTLING, AmqpFeed, Feed, MqttFeed, PubsubFeed, StreamFeed
from tests.support.processes import BridgeProcess, Worker, assert_no_orphans, assert_queue_empty, queue_messages

#: Less than the 32 KiB of properties that are read where the AMQP library reads.
_HEADER_BYTES = 30_000


@pytest.fixture
def sink(redis_server: Redis) -> Redis:
    """The Redis that the bridge writes to, another one than the source's."""
    return redis_server


def _numbers(client: redis.Redis) -> list[int]:
    return [message["args"][0] for message in queue_messages(client, "default")]


def _wait_for_messages(client: redis.Redis, count: int, timeout: float = 40.0) -> None:
    wait_until(lambda: client.llen("dramatiq:default") >= count, timeout, f"{count} messages in the queue")


def test_a_thousand_events_are_a_thousand_executions(
    feed: Feed, sink: Redis, new_bridge: Callable[..., BridgeProcess], new_worker: Callable[..., Worker]
) -> None:
    """Each published event runs its actor once, with its args and kwargs, and nothing of the queue stays in Redis."""
    route = {
        "when": "payload.n >= 0",
        "args": ["$payload.n", "$topic", "$payload.site.id"],
        "kwargs": {"text": '$f"event {payload.n}"', "kind": "literal", "tags": "$payload.tags"},
    }
    new_bridge(feed.config(sink, route)).ready()
    worker = new_worker(sink.url_of(0))
    feed.publish([{"n": n, "site": {"id": f"é{n}"}, "tags": [n, None, 1.5, True]} for n in range(1000)])
    calls = worker.wait_for(1000, 60)
    assert len(calls) == 1000
    for call in calls:
        n = call["args"][0]
        assert call["actor"] == "record"
        assert call["args"] == [n, feed.topic, f"é{n}"]
        assert call["kwargs"] == {"text": f"event {n}", "kind": "literal", "tags": [n, None, 1.5, True]}
    assert {call["args"][0] for call in calls} == set(range(1000))
    assert len({call["message_id"] for call in calls}) == 1000
    with sink.client() as client:
        wait_until(lambda: not client.exists("dramatiq:default.msgs"), 10, "the queue's hash gone")
        assert_queue_empty(client, "default")


def test_events_keep_their_order(feed: Feed, sink: Redis, new_bridge: Callable[..., BridgeProcess]) -> None:
    """Messages stand in the queue in the order in which the broker delivered their events."""
    new_bridge(feed.config(sink)).ready()
    feed.publish([{"n": n} for n in range(3000)])
    with sink.client() as client:
        _wait_for_messages(client, 3000)
        assert _numbers(client) == list(range(3000))


def test_unwritten_events_come_again_after_kill_9(
    feed: Feed, sink: Redis, new_bridge: Callable[..., BridgeProcess]
) -> None:
    """Events received and not yet written when the bridge is killed are redelivered; pub/sub cannot."""
    bridge = new_bridge(feed.config(sink)).ready()
    sink.pause()
    try:
        feed.publish([{"n": n} for n in range(50)])
        threading.Event().wait(1.0)  # the bridge has them now, and waits for its write
        bridge.kill()
    finally:
        sink.resume()
    with sink.client() as client:
        # The one write that was under way may have reached Redis: at least once, and never an orphan.
        wait_until(client.ping, 10, "redis")
        already = len(_numbers(client))
        if not feed.redelivers:
            assert already <= 50
            return
        bridge.start().ready()
        wait_until(lambda: set(_numbers(client)) == set(range(50)), 40, "all fifty")
        assert len(_numbers(client)) <= 50 + already
        assert_no_orphans(client)


@pytest.mark.parametrize("broker", SETTLING, ids=lambda feed: feed.kind, indirect=True)
def test_an_event_is_acknowledged_only_after_its_message_is_in_redis(
    feed: Feed, sink: Redis, new_bridge: Callable[..., BridgeProcess]
) -> None:
    """While Redis does not answer the broker keeps every event; afterwards it keeps none."""
    bridge = new_bridge(feed.config(sink)).ready()
    with sink.client() as client:
        sink.pause()
        try:
            feed.publish([{"n": n} for n in range(20)])
            threading.Event().wait(1.0)
            bridge.kill()
            # Over a second connection of the same name where the protocol knows no other way to look.
            wait_until(lambda: feed.unacknowledged() == 20, 20, "twenty events still at the broker")
        finally:
            sink.resume()
        bridge.start().ready()
        wait_until(lambda: set(_numbers(client)) == set(range(20)), 40, "all twenty")
        bridge.terminate()
        assert bridge.wait() == 0
        wait_until(lambda: feed.unacknowledged() == 0, 20, "no event left at the broker")


def test_sigterm_under_load_drains(feed: Feed, sink: Redis, new_bridge: Callable[..., BridgeProcess]) -> None:
    """SIGTERM at full load ends with exit code 0; received events are written and acknowledged, once, the rest comes later."""
    bridge = new_bridge(feed.config(sink)).ready()
    total = 6000
    publisher = threading.Thread(target=feed.publish, args=([{"n": n} for n in range(total)],))
    publisher.start()
    with sink.client() as client:
        _wait_for_messages(client, 300)
        bridge.terminate()
        assert bridge.wait() == 0
        publisher.join(60)
        stopped = bridge.wait_for("bridge.stopped")
        assert stopped["received"] == stopped["enqueued"] + stopped["returned"]
        assert stopped["messages"] == stopped["enqueued"] == len(_numbers(client))
        # On a machine that is very busy a broker may take longer than 2 s to confirm the end; the bridge says so.
        is_confirmed = not bridge.events("source.close_unconfirmed")
        first_life = bridge.log_tail()
        if not feed.redelivers:
            return
        bridge.start().ready()
        wait_until(lambda: len(_numbers(client)) >= total, 60, "the rest")
        numbers = sorted(_numbers(client)) if is_confirmed else sorted(set(_numbers(client)))
        assert numbers == list(range(total)), f"each exactly once\n{first_life}"
        assert_no_orphans(client)


def test_a_restarted_broker_is_found_again(feed: Feed, sink: Redis, new_bridge: Callable[..., BridgeProcess]) -> None:
    """After its broker's restart the source continues by itself, and logs both."""
    bridge = new_bridge(feed.config(sink)).ready()
    pid = bridge.pid
    with sink.client() as client:
        feed.publish([{"n": 0}])
        _wait_for_messages(client, 1)
        feed.broker.restart()
        lost = bridge.wait_for("source.disconnected", source="feed")
        assert lost["cause"]
        assert lost["retry_in"] > 0
        bridge.wait_for("source.connected", times=2, timeout=30, source="feed")
        feed.publish([{"n": 1}])
        wait_until(lambda: set(_numbers(client)) == {0, 1}, 30, "the second event")
    assert bridge.pid == pid
    assert bridge.running


def test_a_broker_that_is_away_at_the_start_stops_nobody(
    feed: Feed, sink: Redis, new_bridge: Callable[..., BridgeProcess]
) -> None:
    """A source without its broker retries and logs it, while the others work; `bridge.ready` waits for it."""
    other = StreamFeed(sink)
    other.prepare()
    config = feed.config(sink)
    config["sources"]["other"] = other.source
    config["routes"].append({"from": "other", "actor": "record", "args": ["$payload.n"]})
    feed.broker.stop()
    try:
        bridge = new_bridge(config)
        away = bridge.wait_for("source.unavailable", source="feed")
        assert away["cause"]
        other.publish([{"n": 7}])
        with sink.client() as client:
            _wait_for_messages(client, 1)
        assert not bridge.events("bridge.ready")
    finally:
        feed.broker.start()
    bridge.ready()


async def test_a_session_that_has_ended_is_freed(feed: Feed, sink: Redis, tmp_path: Path) -> None:
    """A reconnection leaves nothing of the earlier connection behind, also with events that were never acknowledged."""
    source = _source(feed, sink, tmp_path)
    async with source.connect() as session:
        await _in_thread(feed.publish, [{"n": n} for n in range(5)])
        assert await session.receive()
        held = weakref.ref(session)
    del session
    for _ in range(300):  # the libraries have work to do after the end
        gc.collect()
        if held() is None:
            break
        await asyncio.sleep(0.1)
    assert held() is None


async def test_a_late_acknowledgement_is_ignored(feed: Feed, sink: Redis, tmp_path: Path) -> None:
    """Acknowledging on a session whose connection has ended does nothing: the next one redelivers the events."""
    source = _source(feed, sink, tmp_path)
    async with source.connect() as session:
        await _in_thread(feed.publish, [{"n": n} for n in range(5)])
        events = await session.receive()
        while len(events) < 5:
            events += await session.receive()
        await _in_thread(feed.broker.restart)
        with pytest.raises(Disconnected):
            await session.receive()
        assert session.ended
        await session.acknowledge(events)
    if not feed.redelivers:
        return
    async with _connected_again(source) as session:
        again = await session.receive()
        while len(again) < 5:
            again += await session.receive()
        assert [json.loads(event.body)["n"] for event in again] == [0, 1, 2, 3, 4]
        await session.acknowledge(again)
        await session.pause()
        assert await session.receive() == []


async def test_late_calls_to_a_closed_session_do_no_harm(feed: Feed, sink: Redis, tmp_path: Path) -> None:
    """After its context a session has ended: late calls raise nothing but Disconnected, and acknowledge nothing."""
    source = _source(feed, sink, tmp_path)
    async with source.connect() as session:
        await _in_thread(feed.publish, [{"n": n} for n in range(5)])
        events = await session.receive()
        while len(events) < 5:
            events += await session.receive()
        await session.acknowledge(events[:2])
    assert session.ended
    assert (session.waiting, session.held) == (0, 3)
    await session.acknowledge(events[2:4])
    session.fail("too late")
    await session.pause()
    with pytest.raises(Disconnected) as ended:
        await session.receive()
    assert ended.value.cause != "too late"
    await session.acknowledge(events[4:])
    assert session.held == 0
    if not feed.redelivers:
        return
    async with source.connect() as session:
        # Of a stream the write alone says what is done, and here nothing was written.
        expected = [2, 3, 4] if feed.settles else [0, 1, 2, 3, 4]
        again = await session.receive()
        while len(again) < len(expected):
            again += await session.receive()
        assert [json.loads(event.body)["n"] for event in again] == expected
        await session.acknowledge(again)


async def test_the_size_of_an_event_covers_all_that_it_holds(feed: Feed, sink: Redis, tmp_path: Path) -> None:
    """Body, topic, headers and properties: the window's limit of bytes means what was received."""
    source = _source(feed, sink, tmp_path)
    async with source.connect() as session:
        await _in_thread(feed.publish, [{"text": "x" * 1000}])
        (event,) = await session.receive()
        least = len(event.body) + len(event.topic)
        assert least <= event.size <= least + 300
        await session.acknowledge([event])
        if isinstance(feed, PubsubFeed):  # has no headers
            return
        await _in_thread(_publish_header, feed)
        (event,) = await session.receive()
        headers, _ = event.details()
        assert len(str(headers["k"])) == _HEADER_BYTES
        assert _HEADER_BYTES <= event.size <= _HEADER_BYTES + 1000


def _publish_header(feed: Feed) -> None:
    """Publish an event with a header `k`."""
    if isinstance(feed, MqttFeed):
        feed.publish_properties([1], _HEADER_BYTES)
    elif isinstance(feed, AmqpFeed):
        feed.publish([{}], headers={"k": "v" * _HEADER_BYTES})
    elif isinstance(feed, StreamFeed):
        with feed.broker.client() as client:
            client.xadd(feed.name, {"data": "{}", "k": "v" * _HEADER_BYTES})


def _source(feed: Feed, sink: Redis, tmp_path: Path) -> Source:
    path = tmp_path / "bridge.yaml"
    path.write_text(json.dumps(feed.config(sink)))
    config = load(path, check=check_routes)
    return sources.make("feed", config)


@asynccontextmanager
async def _connected_again(source: Source) -> AsyncIterator[Session]:
    """Connect as soon as the restarted broker takes it: a stream of RabbitMQ is not there at once."""
    async with AsyncExitStack() as ends, asyncio.timeout(60):
        while True:
            try:
                session = await ends.enter_async_context(source.connect())
                break
            except Disconnected:
                await asyncio.sleep(0.2)
        yield session


async def _in_thread(function: Callable[..., object], *args: object) -> None:
    await asyncio.to_thread(function, *args)
