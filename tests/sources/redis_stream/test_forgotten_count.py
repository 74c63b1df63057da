"""Redis 7.0 forgets how much a group has read, at a restart with an append-only file: no entry is called lost for that."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis
import structlog

from bridge.config import Dramatiq, RedisStream
from bridge.redis_io.connection import RedisConnection
from bridge.sources.redis_stream.group import Group
from bridge.sources.redis_stream.positions import Positions
from tests.support.batches import answer
from tests.support.brokers import Redis
from tests.support.children import wait_until
from tests.support.feeds import StreamFeed
from tests.support.processes import Bridges


class Inspected:
    """A group, and a Redis that keeps a file and is killed; `read` reads as the group's own consumer."""

    def __init__(self, server: Redis) -> None:
        self.server = server
        self._config = RedisStream.model_validate(
            {"type": "redis-stream", "url": server.url, "streams": ["s"], "group": "g", "consumer": "me"}
        )
        self.start_afresh()

    def start_afresh(self) -> None:
        """Be a bridge that has just been started."""
        self.group = Group(
            "source", self._config, Positions("source", "g", Dramatiq(url=self.server.url), in_sink=False)
        )

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[RedisConnection]:
        """Connect, as a session does."""
        made = RedisConnection(self._config, timeout_s=5)
        await made.open()
        try:
            yield made
        finally:
            await made.close()

    async def inspect(self) -> list[str]:
        """Inspect on a new connection; return the names of the lines."""
        with structlog.testing.capture_logs() as lines:
            async with self.connection() as made:
                await self.group.inspect(made)
        return [line["event"] for line in lines]

    def read(self, client: redis.Redis, count: int) -> None:
        """Read new entries, and note them as a session does."""
        reply: Any = client.xreadgroup("g", "me", {"s": ">"}, count=count)
        entries = reply[0][1]
        assert len(entries) == count
        self.group.note_read("s", entries[-1][0], new=count)

    def restart(self) -> bool:
        """Kill Redis, and start it again; return whether it has forgotten how much the group has read."""
        with self.server.client() as client:
            before = answer(client.xinfo_groups("s"))[0]["entries-read"]
        self.server.kill()
        self.server.start()
        with self.server.client() as client:
            return bool(answer(client.xinfo_groups("s"))[0]["entries-read"] != before)


@pytest.fixture
async def inspected(new_redis: Callable[..., Redis]) -> Inspected:
    """A group that has read nothing yet, and is known to have read nothing."""
    made = Inspected(new_redis(appendonly=True))
    with made.server.client() as client:
        client.xgroup_create("s", "g", "0", mkstream=True)
    await made.inspect()
    return made


def _add(client: redis.Redis, count: int) -> None:
    for _ in range(count):
        client.xadd("s", {"data": "{}"})


def _keep(client: redis.Redis, count: int) -> None:
    client.xtrim("s", maxlen=count, approximate=False)


@pytest.mark.parametrize("inspects", [True, False], ids=["inspected", "not-inspected"])
@pytest.mark.parametrize("afresh", [True, False], ids=["afresh", "running"])
async def test_no_entry_of_an_untrimmed_stream_is_lost(inspected: Inspected, afresh: bool, inspects: bool) -> None:
    """20 entries are read, none is trimmed, Redis is killed: nothing is said, also by a bridge that starts then."""
    with inspected.server.client() as client:
        for _ in range(2):
            _add(client, 10)
            inspected.read(client, 10)
        if inspects:
            assert await inspected.inspect() == []
    inspected.restart()
    if afresh:
        inspected.start_afresh()
    assert await inspected.inspect() == []
    with inspected.server.client() as client:
        _add(client, 10)
        inspected.read(client, 4)
    assert await inspected.inspect() == []
    assert inspected.group.missed.events == 0


@pytest.mark.parametrize("unread", [0, 3])
async def test_no_entry_that_was_trimmed_after_it_was_read_is_lost(inspected: Inspected, unread: int) -> None:
    """A stream with a bound: that Redis has forgotten the count is said, once; entries that are lost later are counted."""
    with inspected.server.client() as client:
        _add(client, 20)
        inspected.read(client, 20 - unread)
        _keep(client, 5)
    said = ["source.trimming_unnoticed"] if inspected.restart() else []
    assert await inspected.inspect() == said
    assert await inspected.inspect() == []
    with inspected.server.client() as client:
        if unread:
            inspected.read(client, unread)
            assert await inspected.inspect() == []
        _add(client, 10)
        inspected.read(client, 2)
        _keep(client, 3)
    assert await inspected.inspect() == ["source.entries_trimmed"]
    assert inspected.group.missed.events == 10 - 2 - 3


def test_a_redis_that_is_killed_loses_no_entry(
    new_redis: Callable[..., Redis], redis_server: Redis, new_bridge: Bridges
) -> None:
    """The bridge, started again or not, reads on and calls no entry lost; where some are trimmed unread, it says so."""
    feed = StreamFeed(new_redis(appendonly=True))
    bridge = new_bridge(feed.config(redis_server)).ready()

    def publish(total: int) -> None:
        feed.publish([{"n": n} for n in range(total - 10, total)])
        with redis_server.client() as client:
            wait_until(lambda: client.llen("dramatiq:default") == total, 60, f"{total} messages")

    publish(10)
    publish(20)
    for total in (30, 40, 50):
        if total == 40:
            bridge.kill()
        feed.broker.kill()
        feed.broker.start()
        if total == 40:
            bridge.start()
        else:
            bridge.wait_for("source.connected", times=2)  # and it inspects, with nothing unread
        publish(total)
        assert not bridge.events("source.entries_trimmed")
        assert not bridge.events("source.trimming_unnoticed")
    bridge.kill()
    feed.publish([{"n": n} for n in range(50, 100)])
    with feed.broker.client() as client:
        client.xtrim(feed.name, maxlen=40, approximate=False)
    bridge.start().ready()
    bridge.wait_for("source.entries_trimmed")


async def test_a_reboot_forgets_nothing_that_was_inspected(inspected: Inspected) -> None:
    """Also of a bounded stream, by a bridge that has just started: each inspection is recorded in Redis's file."""
    with inspected.server.client() as client:
        for _ in range(2):
            _add(client, 10)
            inspected.read(client, 10)
            _keep(client, 5)
            assert await inspected.inspect() == []
    assert not inspected.restart()
    inspected.start_afresh()
    assert await inspected.inspect() == []
    with inspected.server.client() as client:
        _add(client, 10)
        _keep(client, 3)
    assert await inspected.inspect() == ["source.entries_trimmed"]
    assert inspected.group.missed.events == 7
