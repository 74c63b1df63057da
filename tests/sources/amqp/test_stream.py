"""RabbitMQ streams: read by offsets, and each event written exactly once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import aio_pika
import pytest

from bridge.config import Amqp, Dramatiq
from bridge.errors import Disconnected
from bridge.sources.amqp import stream as stream_module
from bridge.sources.amqp.consumer_check import ConsumerCheck
from bridge.sources.amqp.source import AmqpSource
from bridge.sources.amqp.stream import StreamPosition, StreamReader
from tests.support.brokers import RabbitMQ, Redis
from tests.support.children import wait_until
from tests.support.feeds import AmqpFeed, AmqpStreamFeed
from tests.support.processes import BridgeProcess, Bridges, written_numbers

_KEY = 'dramatiq-bridge:position:["amqp", "feed", "/", "{}"]'


def _wait_for(sink: Redis, numbers: Sequence[int]) -> None:
    """Wait until exactly these have been written, in this order."""
    wait_until(lambda: len(written_numbers(sink)) >= len(numbers), 40, f"{len(numbers)} messages")
    time.sleep(0.3)  # what would come twice
    assert written_numbers(sink) == list(numbers)


def _position(sink: Redis, feed: AmqpFeed) -> int | None:
    with sink.client() as client:
        value: Any = client.get(_KEY.format(feed.name))
        return None if value is None else int(value)


def _stop(bridge: BridgeProcess) -> None:
    bridge.terminate()
    assert bridge.wait() == 0


def _declare(rabbitmq: RabbitMQ, name: str, **arguments: Any) -> None:
    async def declare() -> None:
        async with await aio_pika.connect(rabbitmq.url) as connection:
            channel = await connection.channel()
            await channel.declare_queue(name, durable=True, arguments={"x-queue-type": "stream", **arguments})

    asyncio.run(declare())


def _first_left(feed: AmqpFeed) -> int:
    """Return the offset of the first event that the stream still has; 0 if its beginning was deleted while it was read."""

    async def look() -> int:
        arrived: asyncio.Queue[Any] = asyncio.Queue()
        async with await aio_pika.connect(feed.broker.url) as connection, connection.channel() as channel:
            await channel.set_qos(prefetch_count=1)
            queue = await channel.get_queue(feed.name)
            await queue.consume(arrived.put, arguments={"x-stream-offset": "first"})
            try:
                message = await asyncio.wait_for(arrived.get(), 5)
            except TimeoutError:
                return 0
            return int(message.headers["x-stream-offset"])

    return asyncio.run(look())


def test_a_bridge_goes_on_where_it_has_written(
    stream: AmqpStreamFeed, redis_server: Redis, either_bridge: Bridges
) -> None:
    """After a stop and after kill -9 alike: what came meanwhile is written, and nothing twice."""
    bridge = either_bridge(stream.config(redis_server)).ready()
    stream.publish_numbers(0, 1, 2)
    _wait_for(redis_server, range(3))
    _stop(bridge)
    stream.publish_numbers(3, 4)
    bridge.start().ready()
    _wait_for(redis_server, range(5))
    bridge.kill()
    stream.publish_numbers(5)
    bridge.start().ready()
    _wait_for(redis_server, range(6))
    assert (_position(redis_server, stream) or 0) >= 6


def test_a_declared_stream_is_known(rabbitmq: RabbitMQ, redis_server: Redis, either_bridge: Bridges) -> None:
    """Where `declare` makes the stream, `stream: true` is not needed, and the promise is said at the start."""
    feed = AmqpFeed(rabbitmq)
    config = feed.config(redis_server, declare={"arguments": {"x-queue-type": "stream"}})
    bridge = either_bridge(config).ready()
    assert bridge.wait_for("source.connected")["guarantee"] == "exactly once enqueued"
    feed.publish_numbers(0, 1)
    _wait_for(redis_server, range(2))
    assert not bridge.events("source.stream_queue")


def test_two_bridges_write_each_event_once(stream: AmqpStreamFeed, redis_server: Redis, new_bridge: Bridges) -> None:
    """Every consumer of a stream gets every event: the write decides whose it is."""
    bridges = [new_bridge(stream.config(redis_server)) for _ in range(2)]
    for bridge in bridges:
        bridge.ready()
    stream.publish_numbers(*range(2000))
    wait_until(lambda: len(written_numbers(redis_server)) >= 2000, 60, "all")
    for bridge in bridges:
        _stop(bridge)
    assert written_numbers(redis_server) == list(range(2000))


@pytest.mark.parametrize(
    ("start", "expected"), [("beginning", [0, 1, 2, 3]), ("new", [3]), (1, [1, 2, 3]), (3, [3])], ids=str
)
def test_where_a_stream_is_read_from_at_first(
    start: str | int, expected: list[int], stream: AmqpStreamFeed, redis_server: Redis, new_bridge: Bridges
) -> None:
    """The beginning, the end, or an offset."""
    stream.publish_numbers(0, 1, 2)
    new_bridge(stream.config(redis_server, start=start)).ready()
    stream.publish_numbers(3)
    _wait_for(redis_server, expected)


def test_a_time_to_begin_at(stream: AmqpStreamFeed, redis_server: Redis, new_bridge: Bridges) -> None:
    """RabbitMQ begins with the chunk that holds the time: nothing after it is left out, and little before it comes."""
    stream.publish_numbers(*range(5))
    time.sleep(1.1)
    start = datetime.now(UTC)
    time.sleep(1.1)
    stream.publish_numbers(5, 6)
    new_bridge(stream.config(redis_server, start=start.isoformat())).ready()
    _wait_for(redis_server, [5, 6])


@pytest.mark.parametrize("before", [(), (0, 1, 2)], ids=["an empty stream", "with events"])
def test_new_means_the_first_start(
    before: tuple[int, ...], stream: AmqpStreamFeed, redis_server: Redis, either_bridge: Bridges
) -> None:
    """Killed before it has written anything, the bridge goes on at the end that it had found at first."""
    if before:
        stream.publish_numbers(*before)
    bridge = either_bridge(stream.config(redis_server, start="new")).ready()
    assert _position(redis_server, stream) == len(before)
    bridge.kill()
    stream.publish_numbers(7, 8)
    bridge.start().ready()
    _wait_for(redis_server, [7, 8])


def test_a_stream_of_which_the_file_does_not_say_so(
    stream: AmqpStreamFeed, redis_server: Redis, either_bridge: Bridges
) -> None:
    """Its first event shows it. Without a kept offset the lesser guarantee is said; with one it is read from there."""
    queue = AmqpFeed(stream.broker)
    queue.name = stream.name
    bridge = either_bridge(queue.config(redis_server)).ready()
    stream.publish_numbers(0)
    said = bridge.wait_for("source.stream_queue", source="feed", queue=stream.name)
    assert said["guarantee"].startswith(
        "at most once in each process: each connection begins at the stream's next entry"
    )
    assert "`stream: true`" in said["remedy"]
    _stop(bridge)
    known = either_bridge(stream.config(redis_server, start=1)).ready()
    stream.publish_numbers(1)
    _wait_for(redis_server, [0, 1])
    _stop(known)
    stream.publish_numbers(2)  # nobody reads
    bridge.start().ready()
    stream.publish_numbers(3)
    _wait_for(redis_server, range(4))
    lost = bridge.wait_for("source.disconnected")
    assert "is a stream: it is consumed again, from the offset that is kept" in lost["cause"]
    assert not bridge.events("source.stream_queue")


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_a_queue_that_is_no_stream(kind: str, rabbitmq: RabbitMQ, redis_server: Redis, either_bridge: Bridges) -> None:
    """`stream: true` of a queue is said at once, or at its first event; the event stays at the broker."""
    feed = AmqpFeed(rabbitmq)
    _declare(rabbitmq, feed.name, **{"x-queue-type": kind})
    feed.publish_numbers(0)
    bridge = either_bridge(feed.config(redis_server, stream=True))
    said = bridge.wait_for("source.unavailable")
    assert said["cause"] == f"queue {feed.name!r} is no stream: remove `stream: true` from the source"
    _stop(bridge)
    wait_until(lambda: feed.unacknowledged() == 1, 20, "the event at the broker")
    assert written_numbers(redis_server) == []


def test_what_retention_deletes_unread_is_counted(
    rabbitmq: RabbitMQ, redis_server: Redis, either_bridge: Bridges
) -> None:
    """The offsets between the kept one and the first that is left are lost; RabbitMQ's own entries may be among them."""
    feed = AmqpStreamFeed(rabbitmq)
    bounds = {"x-max-length-bytes": 40_000, "x-stream-max-segment-size-bytes": 10_000}
    _declare(rabbitmq, feed.name, **bounds)
    bridge = either_bridge(feed.config(redis_server)).ready()
    feed.publish_numbers(0, 1, 2)
    _wait_for(redis_server, range(3))
    _stop(bridge)
    published = [0, 1, 2]

    def publish_more() -> None:
        numbers = range(len(published), len(published) + 100)
        published.extend(numbers)
        feed.publish([{"n": n, "text": "x" * 1000} for n in numbers], content_type="application/json")

    def first_left_after_more() -> int:
        """RabbitMQ looks at retention when a segment ends, and not again if that look has failed."""
        publish_more()
        return _first_left(feed)

    for _ in range(9):  # in chunks of their own, so that segments end; the library sends slowly enough
        publish_more()
    wait_until(lambda: first_left_after_more() > 3, 60, "what retention deletes, which RabbitMQ does in its own time")
    bridge.start().ready()
    said = bridge.wait_for("source.entries_trimmed", source="feed", stream=feed.name)
    wait_until(lambda: written_numbers(redis_server)[-1] == published[-1], 30, "the last")
    first = written_numbers(redis_server)[3]
    assert first > 100
    assert written_numbers(redis_server)[3:] == published[first:]
    # A segment of 10 events has one entry of RabbitMQ's own.
    assert first - 3 <= said["lost"] <= (first - 3) * 1.15
    assert said["total"] == said["lost"]


@pytest.mark.parametrize(
    ("jumps", "first", "lost"),
    [
        ([(5, 10), (20, 21)], 8, 3),
        ([(5, 10), (20, 21)], 100, 6),
        ([(5, 6)], 0, 0),
        ([(5, 6)], 5, 0),
    ],
)
async def test_only_what_is_gone_counts_as_lost(
    jumps: list[tuple[int, int]], first: int, lost: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A jump of the offset is no loss while the stream still has what lies between: entries of RabbitMQ, or filtered ones."""

    async def look(*_: Any, **__: Any) -> int:
        return first

    monkeypatch.setattr(stream_module, "look", look)
    monkeypatch.setattr(stream_module, "_LOOK_INTERVAL_S", 0.0)
    config = Amqp.model_validate({"type": "amqp", "url": "amqp://localhost", "queue": "q", "stream": True})
    position = StreamPosition("s", "/", "q", Dramatiq.model_validate({"url": "redis://localhost"}))
    reader = StreamReader("s", config, position)
    for jump in jumps:  # without a connection they wait for the next one
        reader._note_jump(*jump)
    assert reader.missed.events == 0
    await reader.begin(object(), "q", can_look=True)
    for _ in range(20):
        await asyncio.sleep(0)
    assert reader.missed.events == lost
    assert reader._jumps == []
    reader._note_jump(200, 201)
    reader.end()
    reader._note_jump(300, 301)
    assert reader._looking_at_jumps is None
    assert reader._jumps == [(200, 201), (300, 301)]


def test_a_stream_that_was_made_anew_is_said(
    stream: AmqpStreamFeed, redis_server: Redis, either_bridge: Bridges
) -> None:
    """Its offsets begin again, and the kept one lies beyond its end: no event would come, and nobody would know."""
    bridge = either_bridge(stream.config(redis_server)).ready()
    stream.publish_numbers(*range(5))
    _wait_for(redis_server, range(5))
    _stop(bridge)
    stream.broker.ctl("delete_queue", stream.name)
    stream.prepare()
    stream.publish_numbers(10, 11)
    bridge.start().ready()
    said = bridge.wait_for("source.stream_shorter", source="feed", stream=stream.name)
    key = _KEY.format(stream.name)
    assert said["key"] == key
    assert "delete the key" in said["cause"]
    _stop(bridge)
    with redis_server.client() as client:
        client.delete(key)
    bridge.start().ready()
    _wait_for(redis_server, [*range(5), 10, 11])


def test_a_filter(stream: AmqpStreamFeed, redis_server: Redis, new_bridge: Bridges) -> None:
    """RabbitMQ from 3.13 on leaves out chunks of other values; one before it sends everything, which is said."""
    for value, n in (("b", 0), ("a", 1), ("b", 2)):
        stream.publish([{"n": n}], headers={"x-stream-filter-value": value})
    bridge = new_bridge(stream.config(redis_server, filter=["a"])).ready()
    version = [int(part) for part in stream.broker.ctl("version").strip().split(".")[:2]]
    if version < [3, 13]:
        assert "knows no filters of streams" in bridge.wait_for("source.filter_ignored", source="feed")["cause"]
        _wait_for(redis_server, [0, 1, 2])
    else:
        _wait_for(redis_server, [1])
        assert not bridge.events("source.filter_ignored")
    assert not bridge.events("source.entries_trimmed")


async def _source(feed: AmqpFeed, sink: Redis, *, fast_path: bool, quiet_s: float) -> AmqpSource:
    config = Amqp.model_validate({**feed.source, "fast_path": fast_path})
    dramatiq = Dramatiq.model_validate({"url": sink.url_of(0)})
    return AmqpSource("feed", config, dramatiq, consumer_check=ConsumerCheck(feed.name, quiet_s))


async def test_a_quiet_stream_keeps_its_session(stream: AmqpStreamFeed, redis_server: Redis, fast_path: bool) -> None:
    """RabbitMQ counts no consumers of a stream, and all its events wait for ever: neither says that ours is lost."""
    await asyncio.to_thread(stream.publish_numbers, 0, 1)
    source = await _source(stream, redis_server, fast_path=fast_path, quiet_s=0.5)
    async with source.connect() as session:
        events = await session.receive()
        while len(events) < 2:
            events += await session.receive()
        await session.acknowledge(events)
        await asyncio.sleep(9)  # a look for what comes next waits 3 s
        assert not session.ended


async def test_a_consumer_that_brings_nothing_is_found(
    stream: AmqpStreamFeed, redis_server: Redis, fast_path: bool
) -> None:
    """The stream has events behind the last one that came: the consumer is lost."""
    source = await _source(stream, redis_server, fast_path=fast_path, quiet_s=0.5)
    async with source.connect() as session, asyncio.timeout(30):
        await asyncio.to_thread(stream.publish_numbers, 0)
        await session.acknowledge(await session.receive())
        # As if the broker had forgotten it.
        await session._channel.basic_cancel("dramatiq-bridge")
        await asyncio.to_thread(stream.publish_numbers, 1)
        with pytest.raises(Disconnected, match="has events from offset 1 on, and none comes"):
            await session.receive()


async def test_a_position_that_is_no_offset(stream: AmqpStreamFeed, redis_server: Redis) -> None:
    """A key that somebody has overwritten is an error in words."""
    with redis_server.client() as client:
        client.set(_KEY.format(stream.name), "tomorrow")
    source = await _source(stream, redis_server, fast_path=True, quiet_s=30)
    with pytest.raises(Disconnected, match="holds no offset: delete it, or mend it"):
        async with source.connect():
            pass


def test_events_that_cannot_be_read_have_their_offsets(
    stream: AmqpStreamFeed, redis_server: Redis, either_bridge: Bridges
) -> None:
    """A dead letter moves the position too, on the library's path also with headers that the library must not read."""
    bridge = either_bridge(stream.config(redis_server)).ready()
    stream.publish([{"n": 0}], headers={"k": "x" * 40_000})
    stream.publish([{"no": "n"}])
    stream.publish_numbers(1)
    wait_until(lambda: 1 in written_numbers(redis_server), 30, "the last")
    numbers = written_numbers(redis_server)
    assert _position(redis_server, stream) == 3
    bridge.kill()
    bridge.start().ready()
    stream.publish_numbers(2)
    _wait_for(redis_server, [*numbers, 2])
    with redis_server.client() as client:
        assert client.xlen("dramatiq-bridge:dead-letters") == 3 - len(numbers)


def test_a_stream_with_one_channel(
    new_rabbitmq: Callable[..., RabbitMQ], redis_server: Redis, either_bridge: Bridges
) -> None:
    """Where the broker allows no second channel the events flow; what can't be known then is said."""
    feed = AmqpStreamFeed(new_rabbitmq({"channel_max": "1"}))
    feed.prepare()
    feed.publish_numbers(0)
    bridge = either_bridge(feed.config(redis_server, start="new")).ready()
    said = bridge.wait_for("source.consumer_unchecked", source="feed")
    assert said["cause"].endswith("`start: new` what comes before the first write while the bridge is away")
    feed.publish_numbers(1)
    _wait_for(redis_server, [1])
    bridge.kill()
    feed.publish_numbers(2)
    bridge.start().ready()
    _wait_for(redis_server, [1, 2])


def test_fewer_processes_change_nothing(stream: AmqpStreamFeed, redis_server: Redis, new_bridge: Bridges) -> None:
    """A stream is read by the first process; its position is the source's, however many there are."""
    config = {**stream.config(redis_server), "processes": 2}
    bridge = new_bridge(config).ready()
    stream.publish_numbers(*range(50))
    wait_until(lambda: len(written_numbers(redis_server)) == 50, 30, "fifty")
    _stop(bridge)
    stream.publish_numbers(*range(50, 100))
    bridge.configure({**config, "processes": 1})
    bridge.start().ready()
    _wait_for(redis_server, range(100))
