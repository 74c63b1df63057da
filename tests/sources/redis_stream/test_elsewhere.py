"""A stream in another Redis than Dramatiq's: the entry's id tells duplicates."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from bridge.config import Dramatiq, RedisStream
from bridge.redis_io.connection import RedisConnection
from bridge.sources.redis_stream.source import RedisStreamSource
from tests.support.brokers import Redis
from tests.support.children import wait_until
from tests.support.feeds import StreamFeed
from tests.support.processes import Bridges, queue_messages

_DAY_S = 86_400


def test_a_stream_elsewhere_has_no_duplicates_within_a_day(
    redis_server: Redis, new_redis: Callable[..., Redis], new_bridge: Bridges
) -> None:
    """Each entry's id is remembered for a day: entries that the group reads again in that time are not written again."""
    feed, sink = StreamFeed(redis_server), new_redis()
    feed.prepare()
    bridge = new_bridge(feed.config(sink)).ready()
    feed.publish([{"n": n} for n in range(100)])
    with sink.client() as client:
        wait_until(lambda: client.llen("dramatiq:default") == 100, 30, "100 messages")
        keys = list(client.scan_iter("dramatiq-bridge:seen:*"))
        lifetimes: list[Any] = [client.ttl(key) for key in keys]
        assert len(keys) == 100
        assert all(_DAY_S - 60 < lifetime <= _DAY_S for lifetime in lifetimes)
        wait_until(lambda: feed.unacknowledged() == 0, 10, "every entry acknowledged")
        with feed.broker.client() as broker:
            broker.xgroup_setid(feed.name, "bridge", "0")
        feed.publish([{"n": 100}])
        wait_until(lambda: client.llen("dramatiq:default") > 100, 30, "the new message")
        assert [message["args"][0] for message in queue_messages(client, "default")] == list(range(101))
    bridge.terminate()
    assert bridge.wait() == 0
    counts = bridge.wait_for("source.counts", source="feed")
    assert (counts["messages"], counts["deduplicated"]) == (101, 100)


async def test_a_session_that_ends_while_it_connects_leaves_no_connection(
    redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection for XACK had ended while it was idle; the new one opens after the session has ended, and is closed."""
    feed = StreamFeed(redis_server)
    await asyncio.to_thread(feed.prepare)
    source = RedisStreamSource(
        "feed", RedisStream.model_validate(feed.source), Dramatiq(url=redis_server.url), in_sink=False
    )
    opens, released, open_it = asyncio.Event(), asyncio.Event(), RedisConnection.open

    async def open_late(connection: RedisConnection) -> None:
        opens.set()
        await released.wait()
        await open_it(connection)

    with redis_server.client() as client:

        def connections() -> set[str]:
            return {each["id"] for each in client.client_list()}

        before = connections()
        async with source.connect() as session:
            await asyncio.to_thread(feed.publish, [{"n": 1}])
            events = await session.receive()
            session._acknowledger._fail(ConnectionResetError())
            monkeypatch.setattr(RedisConnection, "open", open_late)
            acknowledging = asyncio.create_task(session.acknowledge(events))
            await opens.wait()
        released.set()
        await acknowledging
        await asyncio.to_thread(wait_until, lambda: connections() <= before, 10, "every connection closed")
