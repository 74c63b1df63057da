"""The consumer group: entries that were trimmed before they were read, and consumers that are gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import redis

from bridge.config import Dramatiq, RedisStream
from bridge.redis_io.connection import RedisConnection
from bridge.sources.redis_stream import group
from bridge.sources.redis_stream.group import Group
from bridge.sources.redis_stream.positions import Positions
from bridge.sources.redis_stream.source import RedisStreamSource
from tests.support.batches import answer
from tests.support.brokers import Redis
from tests.support.children import wait_until
from tests.support.feeds import StreamFeed
from tests.support.processes import BridgeProcess, Bridges, assert_no_orphans, queue_messages

Scenario = Callable[[redis.Redis], None]


@pytest.fixture
def feed(redis_server: Redis) -> StreamFeed:
    """A stream in the Redis that is written to, and its group."""
    feed = StreamFeed(redis_server)
    feed.prepare()
    return feed


def config(server: Redis, **settings: Any) -> RedisStream:
    """Return a source's settings."""
    stream = {"type": "redis-stream", "url": server.url, "streams": ["s"], "group": "g", "consumer": "me"}
    return RedisStream.model_validate({**stream, **settings})


def new_group(server: Redis, **settings: Any) -> Group:
    """Return a group of the source's settings."""
    positions = Positions("source", "g", Dramatiq(url=server.url), in_sink=False)
    return Group("source", config(server, **settings), positions)


@pytest.fixture
async def connection(redis_server: Redis) -> AsyncIterator[RedisConnection]:
    """A connection to the Redis."""
    made = RedisConnection(config(redis_server), timeout_s=5)
    await made.open()
    yield made
    await made.close()


def _add(client: redis.Redis, count: int) -> None:
    for _ in range(count):
        client.xadd("s", {"data": "{}"})


def _read(client: redis.Redis, count: int, consumer: str = "other") -> list[bytes]:
    reply: Any = client.xreadgroup("g", consumer, {"s": ">"}, count=count)
    return [entry_id for entry_id, _ in reply[0][1]] if reply else []


def _keep(client: redis.Redis, count: int) -> None:
    client.xtrim("s", maxlen=count, approximate=False)


def _trim_unread(client: redis.Redis) -> None:
    _read(client, 3)
    _keep(client, 4)


def _trim_all(client: redis.Redis) -> None:
    _read(client, 3)
    _keep(client, 0)


def _trim_all_and_add(client: redis.Redis) -> None:
    _trim_all(client)
    _add(client, 5)


def _trim_and_read_on(client: redis.Redis) -> None:
    _trim_unread(client)
    _read(client, 100)


def _trim_what_was_read(client: redis.Redis) -> None:
    _read(client, 6)
    _keep(client, 4)


def _trim_and_read_some(client: redis.Redis) -> None:
    """Redis itself can't tell how many entries are unread, but a later inspection can."""
    _trim_unread(client)
    _read(client, 2)


def _delete_what_was_read(client: redis.Redis) -> None:
    client.xdel("s", *_read(client, 6)[:4])


def _delete_far_ahead(client: redis.Redis) -> None:
    """While there is a deleted entry ahead Redis does not know how much the group has read."""
    _read(client, 3)
    client.xdel("s", answer(client.xrevrange("s", count=3))[-1][0])
    _read(client, 100)


def _skip_on_purpose(client: redis.Redis) -> None:
    client.xgroup_setid("s", "g", "$")
    _keep(client, 0)


def _nothing(client: redis.Redis) -> None:
    pass


#: Since #13958 Redis forgets at the next read how many entries were trimmed before; here nobody inspects in between.
FORGOTTEN = {_trim_and_read_on, _trim_and_read_some}
SCENARIOS: list[tuple[Scenario, int]] = [
    (_nothing, 0),
    (_trim_unread, 3),
    (_trim_all, 7),
    (_trim_all_and_add, 7),
    (_trim_and_read_on, 3),
    (_trim_and_read_some, 0),
    (_trim_what_was_read, 0),
    (_delete_what_was_read, 0),
    (_delete_far_ahead, 0),
    (_skip_on_purpose, 0),
]


@pytest.mark.parametrize("start", ["0", "$", "in the middle"])
@pytest.mark.parametrize(("scenario", "lost"), SCENARIOS, ids=lambda value: getattr(value, "__name__", ""))
async def test_entries_trimmed_before_they_are_read_are_counted_once(
    redis_server: Redis, connection: RedisConnection, scenario: Scenario, lost: int, start: str
) -> None:
    """Entries that are gone before the group has read them are counted, exactly and once, whichever consumer inspects; no others are."""
    with redis_server.client() as client:
        _add(client, 4)
        _keep(client, 2)  # no loss of a group that was made later
        middle = answer(client.xrange("s"))[0][0]
        client.xgroup_create("s", "g", {"in the middle": middle}.get(start, start))
        groups = [new_group(redis_server) for _ in range(2)]
        await groups[0].inspect(connection)
        if start != "$":
            _read(client, 2)
            await groups[0].inspect(connection)
        _add(client, 10)
        await groups[0].inspect(connection)
        assert groups[0].missed.events == 0
        scenario(client)
        for group in groups:
            await group.inspect(connection)
        trimmed = groups[0].missed.events
        assert trimmed == lost or (scenario in FORGOTTEN and trimmed == 0)
        assert groups[1].missed.events == 0
        _read(client, 100)
        _add(client, 5)
        _keep(client, 1)
        await groups[1].inspect(connection)
        # Entries trimmed without an inspection before the next read are known as soon as all is read.
        assert groups[1].missed.events == 4 or (scenario is _trim_and_read_some and groups[1].missed.events == 4 + 3)


def _lost(bridge: BridgeProcess) -> list[int]:
    return [log["lost"] for log in bridge.events("source.entries_trimmed")]


def _wait_for_messages(sink: Redis, count: int) -> list[int]:
    with sink.client() as client:
        wait_until(lambda: client.llen("dramatiq:default") >= count, 30, f"{count} messages")
        return [message["args"][0] for message in queue_messages(client, "default")]


def test_entries_trimmed_while_the_bridge_was_away_are_logged_once(feed: StreamFeed, new_bridge: Bridges) -> None:
    """Started again, the bridge logs how many entries are lost; started once more, it logs nothing."""
    bridge = new_bridge(feed.config(feed.broker)).ready()
    feed.publish([{"n": n} for n in range(10)])
    _wait_for_messages(feed.broker, 10)
    bridge.kill()
    feed.publish([{"n": n} for n in range(10, 1010)])
    with feed.broker.client() as client:
        client.xtrim(feed.name, maxlen=600, approximate=False)
    bridge.start().ready()
    line = bridge.wait_for("source.entries_trimmed", source="feed", stream=feed.name)
    assert (line["level"], line["lost"], line["total"]) == ("error", 400, 400)
    assert _wait_for_messages(feed.broker, 610) == [*range(10), *range(410, 1010)]
    bridge.restart()
    feed.publish([{"n": 1010}])
    _wait_for_messages(feed.broker, 611)
    assert not _lost(bridge)


def test_entries_trimmed_while_the_sink_was_away_are_logged(
    feed: StreamFeed, new_redis: Callable[..., Redis], new_bridge: Bridges
) -> None:
    """After a pause the bridge inspects before it reads again: no entry that was trimmed meanwhile goes unnoticed."""
    sink = new_redis()
    bridge = new_bridge(feed.config(sink, window={"events": 100, "bytes": "1MiB"})).ready()
    sink.pause()
    feed.publish([{"n": n} for n in range(2000)])
    time.sleep(4)
    with feed.broker.client() as client:
        client.xtrim(feed.name, maxlen=500, approximate=False)
    sink.resume()
    bridge.wait_for("source.entries_trimmed", source="feed")
    with sink.client() as client:
        wait_until(lambda: _last(client) == 1999, 20, "the last entry")
        came = {message["args"][0] for message in queue_messages(client, "default")}
    assert len(came) < 1000
    # Entries that were trimmed while they were pending are held by the bridge, and are written.
    wait_until(lambda: sum(_lost(bridge)) == 2000 - len(came), what="each lost entry said")


async def test_a_pause_is_followed_by_an_inspection(redis_server: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trimmed entries are counted before the next read, not only by the regular inspection, ten seconds after the first one."""
    monkeypatch.setattr(group, "_MAX_READ_PAUSE_S", 0.2)
    with redis_server.client() as client:
        client.xgroup_create("s", "g", "0", mkstream=True)
        _add(client, 20)
        source = RedisStreamSource(
            "s", config(redis_server, window={"events": 5}), Dramatiq(url=redis_server.url), in_sink=False
        )
        async with source.connect() as session:
            events = await session.receive()
            while len(events) < 5:
                events += await session.receive()
            await asyncio.sleep(0.3)
            _keep(client, 3)
            await session.acknowledge(events)
            await session.receive()
            assert source.group.missed.events == 20 - 5 - 3


def _last(client: redis.Redis) -> int:
    messages = queue_messages(client, "default")
    return int(messages[-1]["args"][0]) if messages else -1


def test_a_capped_stream_that_is_read_in_time_loses_nothing(feed: StreamFeed, new_bridge: Bridges) -> None:
    """If only entries that have been read are trimmed or deleted, nothing is logged."""
    bridge = new_bridge(feed.config(feed.broker)).ready()
    with feed.broker.client() as client:
        for round_ in range(3):
            feed.publish([{"n": n} for n in range(round_ * 100, round_ * 100 + 100)])
            _wait_for_messages(feed.broker, round_ * 100 + 100)
            client.xdel(feed.name, *[entry_id for entry_id, _ in answer(client.xrange(feed.name))[10:20]])
            client.xtrim(feed.name, maxlen=[50, 0, 7][round_], approximate=False)
            bridge.restart()
            assert not _lost(bridge)


async def test_consumers_that_are_gone_are_deleted(redis_server: Redis, connection: RedisConnection) -> None:
    """A consumer that holds nothing and was idle for long is deleted; one that holds entries never is."""
    with redis_server.client() as client:
        client.xgroup_create("s", "g", "0", mkstream=True)
        _add(client, 4)
        for consumer in ("pod-1", "me", "pod-2"):
            client.xack("s", "g", *_read(client, 1, consumer))
        _read(client, 1, "pod-2")
        client.xgroup_createconsumer("s", "g", "pod-3")
        mine = new_group(redis_server, claim_after="10ms")

        def consumers() -> set[bytes]:
            return {one["name"] for one in answer(client.xinfo_consumers("s", "g"))}

        await mine.inspect(connection)
        assert consumers() == {b"pod-1", b"pod-2", b"pod-3", b"me"}
        await asyncio.sleep(2.1)
        await new_group(redis_server, consumer="pod-3").inspect(connection)  # as every bridge does while it lives
        await mine.inspect(connection)
        assert consumers() == {b"pod-2", b"pod-3", b"me"}
        assert answer(client.xpending("s", "g"))["pending"] == 1


def test_a_bridge_whose_consumer_was_deleted_goes_on(feed: StreamFeed, new_bridge: Bridges) -> None:
    """A consumer that is deleted while it waits costs nothing: Redis makes it anew with the next entry."""
    new_bridge(feed.config(feed.broker, consumer="pod-1")).ready()
    with feed.broker.client() as client:
        for n in range(5):
            wait_until(lambda: answer(client.xinfo_consumers(feed.name, "bridge")), 10, "the consumer")
            client.xgroup_delconsumer(feed.name, "bridge", "pod-1")
            feed.publish([{"n": n}])
            assert _wait_for_messages(feed.broker, n + 1) == list(range(n + 1))


#: The permissions for reading, and the further ones for inspecting the group.
READER = "+xreadgroup +xgroup +xautoclaim +xack"
INSPECTOR = "+eval +exists +xinfo +xrange"


@pytest.fixture
def reader(redis_server: Redis) -> Iterator[Callable[[str], dict[str, Any]]]:
    """Make a user with these permissions, and return the settings with which a source is this user."""
    with redis_server.client() as client:

        def allow(permissions: str) -> dict[str, Any]:
            client.execute_command("ACL", "SETUSER", "reader", "on", ">p", "~*", *permissions.split())
            return {"username": "reader", "password": "p"}

        yield allow
        client.execute_command("ACL", "DELUSER", "reader")


def test_a_user_who_may_not_inspect_reads_nevertheless(
    feed: StreamFeed, new_bridge: Bridges, reader: Callable[[str], dict[str, Any]]
) -> None:
    """Without the permission for EVAL trimmed entries go unnoticed; that is logged once, and every entry flows."""
    bridge = new_bridge(feed.config(feed.broker, **reader(READER))).ready()
    feed.publish([{"n": n} for n in range(10)])
    assert _wait_for_messages(feed.broker, 10) == list(range(10))
    assert "eval" in bridge.wait_for("source.trimming_unnoticed", source="feed")["cause"]
    assert len(bridge.events("source.trimming_unnoticed")) == 1


def test_a_user_with_the_documented_permissions_notices_trimmed_entries(
    feed: StreamFeed, new_bridge: Bridges, reader: Callable[[str], dict[str, Any]]
) -> None:
    """A user with the permissions that the documents name reads, notices and counts."""
    feed.publish([{"n": n} for n in range(10)])
    with feed.broker.client() as client:
        client.xgroup_setid(feed.name, "bridge", "0", entries_read=0)
        client.xtrim(feed.name, maxlen=6, approximate=False)
    bridge = new_bridge(feed.config(feed.broker, **reader(f"{READER} {INSPECTOR}"))).ready()
    assert _wait_for_messages(feed.broker, 6) == list(range(4, 10))
    bridge.wait_for("source.entries_trimmed")
    assert _lost(bridge) == [4]
    assert not bridge.events("source.trimming_unnoticed")


@pytest.mark.parametrize("elsewhere", [False, True], ids=["in-dramatiqs-redis", "elsewhere"])
def test_a_killed_pod_is_taken_over_by_the_next(
    elsewhere: bool, feed: StreamFeed, new_redis: Callable[..., Redis], new_bridge: Bridges
) -> None:
    """A bridge is killed in the middle, and its name never comes back: the next one writes the rest, each once."""
    sink = new_redis() if elsewhere else feed.broker
    first, second = (
        feed.config(sink, consumer=f"pod-{pod}", claim_after="500ms", window={"events": 200, "bytes": "1MiB"})
        for pod in (1, 2)
    )
    bridge = new_bridge(first).ready()
    feed.publish([{"n": n} for n in range(10_000)])
    _wait_for_messages(sink, 500)
    bridge.kill()
    new_bridge(second).ready()
    assert sorted(_wait_for_messages(sink, 10_000)) == list(range(10_000))
    with feed.broker.client() as client:
        wait_until(lambda: answer(client.xpending(feed.name, "bridge"))["pending"] == 0, 10, "nothing pending")
    with sink.client() as client:
        assert client.llen("dramatiq:default") == 10_000
        assert_no_orphans(client)


async def test_an_event_tells_whether_it_was_delivered_before(redis_server: Redis) -> None:
    """Pending entries that are read again, own and a dead consumer's, are redelivered; new ones are not."""
    with redis_server.client() as client:
        client.xgroup_create("s", "g", "0", mkstream=True)
        _add(client, 6)
        own, others = _read(client, 2, "me"), _read(client, 2, "dead")
    await asyncio.sleep(0.1)
    source = RedisStreamSource(
        "s", config(redis_server, claim_after="50ms"), Dramatiq(url=redis_server.url), in_sink=False
    )
    async with source.connect() as session:
        events = await session.receive()
        while len(events) < 6:
            events += await session.receive()
        assert {event.deduplication_key for event in events if event.redelivered} == {*own, *others}
        assert [event.redelivered for event in events] == [True] * 4 + [False] * 2
        await session.acknowledge(events)
