"""A consumer group that is lost: it is made again behind the last entry that was written, and what is held is written."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import redis

from bridge.config import Dramatiq, RedisStream
from bridge.model.batch import Written
from bridge.model.event import Event, OnceByXack
from bridge.sink.redis_sink import RedisSink
from bridge.sources.redis_stream.session import RedisStreamSession
from bridge.sources.redis_stream.source import RedisStreamSource
from tests.support.batches import Entry, Sinks, answer, batch_of, event, message, numbers
from tests.support.brokers import Redis
from tests.support.children import wait_until
from tests.support.feeds import StreamFeed
from tests.support.processes import Bridges, assert_no_orphans, queue_messages

NewRedis = Callable[..., Redis]
LOSSES = pytest.mark.parametrize(
    ("how", "start"),
    [(how, start) for how in ("XGROUP DESTROY", "DEL", "FLUSHALL") for start in ("beginning", "new")],
)
PLACES = pytest.mark.parametrize("elsewhere", [False, True], ids=["in-dramatiqs-redis", "elsewhere"])
STARTS = pytest.mark.parametrize("start", ["beginning", "new"])


@pytest.fixture
def feed(redis_server: Redis) -> StreamFeed:
    """A stream without a group yet."""
    return StreamFeed(redis_server)


@pytest.fixture
async def make() -> AsyncIterator[Sinks]:
    """Make sinks that are closed at the end."""
    async with Sinks() as sinks:
        yield sinks


def lose(client: redis.Redis, feed: StreamFeed, how: str, entries: range) -> None:
    """Lose the group and add entries, in one step: nobody sees the time between."""
    with client.pipeline(transaction=True) as step:
        if how == "XGROUP DESTROY":
            step.xgroup_destroy(feed.name, "bridge")
        elif how == "DEL":
            step.delete(feed.name)
        else:
            step.flushall()
        for n in entries:
            step.xadd(feed.name, {"data": f'{{"n": {n}}}'})
        step.execute()


def enqueued(sink: Redis) -> list[int]:
    """Return the numbers in the queue."""
    with sink.client() as client:
        return [call["args"][0] for call in queue_messages(client, "default")]


@pytest.fixture
def sink(elsewhere: bool, redis_server: Redis, new_redis: NewRedis) -> Redis:
    """The Redis that is written to."""
    return new_redis() if elsewhere else redis_server


@PLACES
@LOSSES
def test_a_lost_group_loses_and_repeats_nothing(
    how: str, start: str, feed: StreamFeed, sink: Redis, new_bridge: Bridges
) -> None:
    """Each entry that was added before or after the loss is enqueued once; the loss is logged, and the connection stays."""
    elsewhere = sink is not feed.broker
    bridge = new_bridge(feed.config(sink, start=start)).ready()
    feed.publish([{"n": n} for n in range(10)])
    wait_until(lambda: len(enqueued(sink)) == 10, what="10 messages")
    with feed.broker.client() as client:
        lose(client, feed, how, range(10, 20))
        kept = 10 if how == "FLUSHALL" and not elsewhere else 0  # messages that FLUSHALL has deleted
        wait_until(lambda: len(enqueued(sink)) >= 20 - kept, what="every message")
        wait_until(lambda: feed.unacknowledged() == 0, what="every entry acknowledged")
        assert enqueued(sink) == list(range(kept, 20))
        made = bridge.wait_for("source.group_made_again", source="feed")
        assert made["stream"] == feed.name
        assert len(bridge.events("source.gap")) == (how == "FLUSHALL" and not elsewhere)
        assert not bridge.events("source.disconnected")
        # And the next loss, from where that one was mended.
        lose(client, feed, "XGROUP DESTROY", range(20, 25))
        wait_until(lambda: len(enqueued(sink)) >= 25 - kept, what="every message")
        wait_until(lambda: feed.unacknowledged() == 0, what="every entry acknowledged")
        assert enqueued(sink) == list(range(kept, 25))


@PLACES
@STARTS
def test_a_group_that_is_lost_while_the_bridge_is_away(
    start: str, feed: StreamFeed, sink: Redis, new_bridge: Bridges
) -> None:
    """The next start goes on where the last one ended, also with `start: beginning`, and says so."""
    first = new_bridge(feed.config(sink, start=start)).ready()
    feed.publish([{"n": n} for n in range(10)])
    wait_until(lambda: len(enqueued(sink)) == 10, what="10 messages")
    first.terminate()
    assert first.wait() == 0
    with feed.broker.client() as client:
        lose(client, feed, "XGROUP DESTROY", range(10, 20))
    second = new_bridge(feed.config(sink, start=start)).ready()
    second.wait_for("source.group_made_again", source="feed")
    wait_until(lambda: len(enqueued(sink)) >= 20, what="every message")
    wait_until(lambda: feed.unacknowledged() == 0, what="every entry acknowledged")
    assert enqueued(sink) == list(range(20))


@PLACES
def test_a_stream_that_was_made_anew_is_read_from_its_beginning(
    feed: StreamFeed, sink: Redis, new_bridge: Bridges
) -> None:
    """Its ids are lower than the position: `source.gap` says that the old stream is gone."""
    bridge = new_bridge(feed.config(sink, start="new")).ready()
    feed.publish([{"n": n} for n in range(3)])
    wait_until(lambda: len(enqueued(sink)) == 3, what="3 messages")
    with feed.broker.client() as client, client.pipeline(transaction=True) as step:
        step.delete(feed.name)
        for n in range(3, 6):
            step.xadd(feed.name, {"data": f'{{"n": {n}}}'}, id=f"{n}-1")
        step.execute()
    wait_until(lambda: len(enqueued(sink)) == 6, what="6 messages")
    assert enqueued(sink) == list(range(6))
    gap = bridge.wait_for("source.gap", source="feed")
    assert "made anew" in gap["cause"]


def test_held_entries_are_written_though_their_stream_is_gone(
    feed: StreamFeed, new_redis: NewRedis, new_bridge: Bridges
) -> None:
    """Entries that were read while Redis took no writes are nowhere else after FLUSHALL: they are written all the same."""
    sink = new_redis()
    bridge = new_bridge(feed.config(sink, start="new")).ready()
    feed.publish([{"n": 0}])
    wait_until(lambda: enqueued(sink) == [0], what="the first message")
    sink.pause()
    feed.publish([{"n": n} for n in range(1, 11)])
    with feed.broker.client() as client:
        wait_until(lambda: answer(client.xpending(feed.name, "bridge"))["pending"] == 10, 20, "10 entries held")
        lose(client, feed, "FLUSHALL", range(11, 21))
    time.sleep(1)  # the read that waits is refused meanwhile
    sink.resume()
    wait_until(lambda: len(enqueued(sink)) >= 21, what="every message")
    wait_until(lambda: feed.unacknowledged() == 0, what="every entry acknowledged")
    assert enqueued(sink) == list(range(21))
    bridge.wait_for("source.group_made_again", source="feed")


@PLACES
@STARTS
@pytest.mark.parametrize("restarted", [False, True], ids=["fresh", "restarted"])
def test_a_group_that_is_lost_before_this_process_has_written(
    start: str, restarted: bool, feed: StreamFeed, sink: Redis, new_bridge: Bridges
) -> None:
    """On a quiet stream nothing tells how far it was read but the position at the start: every later entry is enqueued."""
    bridge = new_bridge(feed.config(sink, start=start)).ready()
    if restarted:
        feed.publish([{"n": 0}])
        wait_until(lambda: enqueued(sink) == [0], what="the first message")
        bridge.restart()
    with feed.broker.client() as client:
        lose(client, feed, "FLUSHALL", range(1, 11))
    elsewhere = sink is not feed.broker
    wanted = list(range(0 if restarted and elsewhere else 1, 11))
    wait_until(lambda: len(enqueued(sink)) >= len(wanted), what="every message")
    wait_until(lambda: feed.unacknowledged() == 0, what="every entry acknowledged")
    assert enqueued(sink) == wanted
    bridge.wait_for("source.group_made_again")
    assert len(bridge.events("source.gap")) == (not elsewhere)


def test_a_group_of_which_nothing_is_known(feed: StreamFeed, new_bridge: Bridges) -> None:
    """It was there before the bridge, and is lost before anything was written: `source.gap` says so."""
    feed.prepare()
    bridge = new_bridge(feed.config(feed.broker, start="new")).ready()
    with feed.broker.client() as client:
        lose(client, feed, "XGROUP DESTROY", range(3))
    gap = bridge.wait_for("source.gap", source="feed")
    assert "nothing is known to have been written" in gap["cause"]


def in_sink(
    server: Redis, consumer: str = "me", streams: tuple[str, ...] = ("s",), **settings: Any
) -> RedisStreamSource:
    """Return a source of streams in Dramatiq's Redis, whose entries are numbers."""
    fixed = {"type": "redis-stream", "url": server.url, "group": "g", "field": "data"}
    config = RedisStream.model_validate({**fixed, "consumer": consumer, "streams": list(streams), **settings})
    return RedisStreamSource("feed", config, Dramatiq(url=server.url), in_sink=True)


def entries(events: list[Event]) -> Any:
    """Return a batch with one message for each event."""
    return batch_of([Entry(each, [message(int(each.body))]) for each in events])


async def receive(session: RedisStreamSession, count: int) -> list[Event]:
    """Receive so many events."""
    events: list[Event] = []
    while len(events) < count:
        events += await session.receive()
    return events


async def write_newest_first(
    sink: RedisSink, first: asyncio.Task[list[Event]], second: asyncio.Task[list[Event]], held: list[Event]
) -> None:
    """Write the entry that one of the two receives, then those that were held before: each is written."""
    done, _ = await asyncio.wait([first, second], timeout=60, return_when=asyncio.FIRST_COMPLETED)
    (newest,) = [event for task in done for event in task.result()]
    assert await sink.write(entries([newest])) == Written(1, 0)
    assert await sink.write(entries(held)) == Written(3, 0)
    for task in (first, second):
        task.cancel()


@STARTS
async def test_held_entries_of_a_group_without_a_position(start: str, redis_server: Redis, make: Sinks) -> None:
    """An operator has made it, or an earlier version: what is held when it is lost is written once."""
    sink = make(redis_server)
    with redis_server.client() as client:
        client.xgroup_create("s", "g", "0", mkstream=True)
        async with in_sink(redis_server, start=start).connect() as session:
            for n in range(3):
                client.xadd("s", {"data": f"{n}"})
            held = await receive(session, 3)
            async with in_sink(redis_server, "other", start=start).connect() as other:
                answer(client.xgroup_destroy("s", "g"))
                client.xadd("s", {"data": "3"})
                again = asyncio.create_task(receive(other, 4 if start == "beginning" else 1))
                await asyncio.to_thread(wait_until, lambda: answer(client.xinfo_groups("s")) != [], 10, "the group")
                assert await sink.write(entries(held)) == Written(3, 0)
                if start == "new":
                    client.xadd("s", {"data": "4"})
                events = await asyncio.wait_for(again, 60)
                assert (await sink.write(entries(events))).messages == 1
        assert numbers(client) == [0, 1, 2, 3 if start == "beginning" else 4]


async def test_a_stream_that_was_made_anew_has_a_position_of_its_own(redis_server: Redis, make: Sinks) -> None:
    """A later loss goes on behind its own last entry, not from its beginning."""
    sink = make(redis_server)
    with redis_server.client() as client:
        client.xadd("s", {"data": "0"}, id="900-0")
        async with in_sink(redis_server).connect() as session:
            events = await receive(session, 1)
            assert await sink.write(entries(events)) == Written(1, 0)
            await session.acknowledge(events)
            client.delete("s")
            for n in range(1, 4):
                client.xadd("s", {"data": f"{n}"}, id=f"{n}-0")
            events = await receive(session, 3)
            assert await sink.write(entries(events)) == Written(3, 0)
            await session.acknowledge(events)
            assert client.get('dramatiq-bridge:position:["s", "g"]') == b"3-0"
            # As if a day were over: nothing but the position tells how far it was read.
            client.delete(*client.keys("dramatiq-bridge:seen:*"), *client.keys("dramatiq-bridge:restart:*"))
            answer(client.xgroup_destroy("s", "g"))
            client.xadd("s", {"data": "4"}, id="4-0")
            assert [event.body for event in await receive(session, 1)] == [b"4"]


async def test_one_of_two_streams_is_still_missing(redis_server: Redis, make: Sinks) -> None:
    """Another consumer has made the group of the other one: what is held of it, with ids of any kind, is written."""
    sink, first = make(redis_server), 99_999_999_999_000
    with redis_server.client() as client:
        async with in_sink(redis_server, "a", ("s", "t")).connect() as slow:
            for n in range(3):
                client.xadd("s", {"data": f"{n}"}, id=f"{first + n}-0")
            held = await receive(slow, 3)
            client.delete("s", "t")
            async with in_sink(redis_server, "b").connect() as other:
                noticing = asyncio.create_task(slow.receive())
                await asyncio.to_thread(wait_until, lambda: client.exists("t"), 10, "the other stream, once more")
                client.xadd("s", {"data": "9"}, id=f"{first + 9}-0")
                await write_newest_first(sink, noticing, asyncio.create_task(receive(other, 1)), held)


@pytest.mark.parametrize("remade", [False, True])
async def test_a_claimed_entry_is_written_once_though_the_group_is_lost(
    remade: bool, redis_server: Redis, make: Sinks
) -> None:
    """Its first consumer, which was slow, finds that another one has written it."""
    sink = make(redis_server)
    with redis_server.client() as client:
        async with in_sink(redis_server, "slow").connect() as slow:
            client.xadd("s", {"data": "1"})
            held = await receive(slow, 1)
            await asyncio.sleep(0.05)
            async with in_sink(redis_server, "other", claim_after="10ms").connect() as other:
                assert await sink.write(entries(await receive(other, 1))) == Written(1, 0)
                answer(client.xgroup_destroy("s", "g"))
                if remade:
                    async with in_sink(redis_server, "third").connect():
                        pass
                assert await sink.write(entries(held)) == Written(0, 1)


async def test_a_position_that_has_changed_meanwhile(redis_server: Redis) -> None:
    """Of two consumers that make the group again, the slower one does not begin where it was before."""
    source = in_sink(redis_server)
    positions = source.group._positions
    with redis_server.client() as client:
        client.set('dramatiq-bridge:position:["s", "g"]', "5-0")
        wanted: dict[str, Any] = {"start": b"3-0", "last_known": b"9-0"}
        assert await positions.make("s", known=b"3-0", **wanted) == "changed"
        assert await positions.make("s", known=b"5-0", start=b"5-0", last_known=b"9-0") == "made"
        assert await positions.make("s", known=b"5-0", start=b"5-0", last_known=b"9-0") == "exists"
        assert client.get('dramatiq-bridge:position:["s", "g"]') == b"5-0"


async def test_without_the_right_to_xpending(new_redis: NewRedis, make: Sinks) -> None:
    """Whether the group is lost can't be known: what is held is written once all the same."""
    server = new_redis(
        {
            "user bridge": "on >secret ~* -@all +ping +eval +evalsha +type +get +set +hset +rpush +xadd"
            " +hmget +hincrby +hdel +expire +xack +xgroup +xinfo"
        }
    )
    sink = make(server, username="bridge", password="secret")
    with server.client() as client:
        async with in_sink(server).connect() as session:
            for n in range(2):
                client.xadd("s", {"data": f"{n}"})
            held = await receive(session, 2)
            assert await sink.write(entries(held[1:])) == Written(1, 0)
            answer(client.xgroup_destroy("s", "g"))
            assert await sink.write(entries(held[:1])) == Written(1, 0)
            assert await sink.write(entries(held[:1])) == Written(0, 1)


async def test_an_entry_that_another_consumer_has_written_is_a_duplicate(redis_server: Redis, make: Sinks) -> None:
    """Written behind a newer one, it raises the position: its first consumer, which was slow, writes it no second time."""
    sink = make(redis_server)
    once = OnceByXack("s", "g", ":s:g:", 60_000, "s g")

    def entry(entry_id: str, *, redelivered: bool = False) -> Entry:
        return Entry(event(once, deduplication_key=entry_id.encode(), redelivered=redelivered), [message(1)])

    with redis_server.client() as client:
        client.xgroup_create("s", "g", "0", mkstream=True)
        for entry_id in ("150-0", "200-0"):
            client.xadd("s", {"data": "{}"}, id=entry_id)
            client.xreadgroup("g", "a", {"s": ">"})
        assert await sink.write(batch_of([entry("150-0"), entry("200-0", redelivered=True)])) == Written(2, 0)
        assert await sink.write(batch_of([entry("200-0")])) == Written(0, 1)


@pytest.mark.parametrize("first", [1, 99_999_999_999_000], ids=["times", "chosen-by-the-producer"])
async def test_another_consumer_makes_the_group_again(first: int, redis_server: Redis, make: Sinks) -> None:
    """What the others hold is written, though entries with higher ids are written before."""
    sink = make(redis_server)
    with redis_server.client() as client:
        async with in_sink(redis_server, "a").connect() as slow:
            for n in range(3):
                client.xadd("s", {"data": f"{n}"}, id=f"{first + n}-0")
            held = await receive(slow, 3)
            answer(client.delete("s"))
            async with in_sink(redis_server, "b").connect() as other:
                noticing = asyncio.create_task(slow.receive())
                if first > 1:
                    # Its ids tell nothing about the time: the slow consumer has to say how far it has read.
                    await asyncio.to_thread(
                        wait_until, lambda: client.keys("*restart*"), 10, "the slow one has noticed"
                    )
                client.xadd("s", {"data": "9"}, id=f"{first + 9}-0")
                await write_newest_first(sink, noticing, asyncio.create_task(receive(other, 1)), held)


async def test_held_entries_in_dramatiqs_redis(redis_server: Redis, make: Sinks) -> None:
    """XACK answers 0 for them: written once nevertheless, before the group is made again and after it."""
    sink = make(redis_server)
    with redis_server.client() as client:
        async with in_sink(redis_server, start="new").connect() as session:
            for n in range(6):
                client.xadd("s", {"data": f"{n}"})
            held = await receive(session, 6)
            assert await sink.write(entries(held[:2])) == Written(2, 0)
            await session.acknowledge(held[:2])
            answer(client.xgroup_destroy("s", "g"))
            # Nobody has noticed the loss: ids beyond the position were never written.
            assert await sink.write(entries(held[2:4])) == Written(2, 0)
            await session.acknowledge(held[2:4])
            # The group delivers again what comes behind the position: the copies of what is held are duplicates.
            client.xadd("s", {"data": "6"})
            again = await receive(session, 3)
            assert await sink.write(entries(held[4:])) == Written(2, 0)
            await session.acknowledge(held[4:])
            assert await sink.write(entries(again)) == Written(1, 2)
            await session.acknowledge(again)
        assert numbers(client) == list(range(7))
        assert answer(client.xpending("s", "g"))["pending"] == 0


def test_two_bridges_of_one_group_lose_it_under_load(feed: StreamFeed, new_bridge: Bridges) -> None:
    """What one bridge holds while the other one makes the group again is written once."""
    feed.prepare()
    bridges = [new_bridge(feed.config(feed.broker, consumer=f"bridge-{n}")).ready() for n in range(2)]
    with feed.broker.client() as client:
        for start in range(0, 20_000, 2_000):
            feed.publish([{"n": n} for n in range(start, start + 2_000)])
            client.xgroup_destroy(feed.name, "bridge")
        wait_until(lambda: answer(client.llen("dramatiq:default")) >= 20_000, 60, "every message")
        wait_until(lambda: answer(client.xinfo_groups(feed.name)) != [], what="the group, once more")
        wait_until(lambda: feed.unacknowledged() == 0, what="every entry acknowledged")
        assert_no_orphans(client)
    counts = Counter(enqueued(feed.broker))
    assert sorted(counts) == list(range(20_000))
    assert max(counts.values()) == 1
    assert any(bridge.events("source.group_made_again") for bridge in bridges)


def test_a_group_begins_where_the_stream_was_at_the_start(
    feed: StreamFeed, new_redis: NewRedis, new_bridge: Bridges
) -> None:
    """With `start: new`, entries that are added while Dramatiq's Redis is away are new, and none of them is missed."""
    sink = new_redis()
    feed.publish([{"n": 0}])
    sink.stop()
    bridge = new_bridge(feed.config(sink, start="new"))
    bridge.wait_for("source.position_unknown", source="feed")
    feed.publish([{"n": 1}])
    sink.start()
    wait_until(lambda: enqueued(sink) == [1], 40, "the message")


async def test_the_position_only_rises(redis_server: Redis, make: Sinks) -> None:
    """Also beyond 53 bits; a late write of older entries leaves it."""
    sink = make(redis_server)
    with redis_server.client() as client:
        client.xgroup_create("s", "g", "0", mkstream=True)
        for entry_id, position in (
            ("5-1", "5-1"),
            ("5-18446744073709551614", "5-18446744073709551614"),
            ("5-18446744073709551615", "5-18446744073709551615"),
            ("4-9", "5-18446744073709551615"),
            ("10-0", "10-0"),
        ):
            once = OnceByXack("s", "g", ":s:g:", 60_000, "s g")
            await sink.write(batch_of([Entry(event(once, deduplication_key=entry_id.encode()), [message(1)])]))
            assert client.get("dramatiq-bridge:position:s g") == position.encode()
