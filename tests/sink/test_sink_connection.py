"""The sink and its server: replies cut at random, a failover, credentials, a cluster, every fault in turn."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Self

import pytest

from bridge.errors import SinkUnavailable
from bridge.model.batch import Batch, BatchSequence, Written
from tests.support.batches import Entry, Sinks, answer, batch, batch_of, copied, event, message, numbers, unavailable
from tests.support.brokers import Redis
from tests.support.children import free_port, wait_until
from tests.support.feeds import PubsubFeed
from tests.support.processes import Bridges, assert_no_orphans
from tests.support.redis_faults import FAULTS, loading, readonly


@pytest.fixture
async def make() -> AsyncIterator[Sinks]:
    """Make sinks that are closed at the end."""
    async with Sinks() as sinks:
        yield sinks


class Proxy:
    """Forwards connections to a Redis; `max_reply` draws after how many bytes of replies to a script a connection is cut."""

    def __init__(self, target: Redis) -> None:
        self.target = target
        self.max_reply: Callable[[], int] | None = None
        self.cuts = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target.port)
        remaining: int | None = None

        async def ask() -> None:
            nonlocal remaining
            while data := await reader.read(65_536):
                if remaining is None and self.max_reply is not None and b"EVAL" in data:
                    remaining = self.max_reply()
                far_writer.write(data)
                await far_writer.drain()

        async def answer() -> None:
            nonlocal remaining
            while data := await far_reader.read(65_536):
                writer.write(data[:remaining])
                await writer.drain()
                remaining = None if remaining is None else remaining - len(data)
                if remaining is not None and remaining < 0:
                    self.cuts += 1
                    return

        ways = [asyncio.create_task(ask()), asyncio.create_task(answer())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            writer.close()
            far_writer.close()


async def test_replies_cut_at_random_duplicate_nothing(
    redis_server: Redis, new_redis: Callable[..., Redis], new_bridge: Bridges
) -> None:
    """Connections end anywhere in a reply, again and again under load: each event is written once, even without identities."""
    feed, sink, total = PubsubFeed(redis_server), new_redis(), 5000
    async with Proxy(sink) as proxy:
        config = feed.config(sink, window={"events": 100, "bytes": "1MiB"})
        config["dramatiq"]["url"] = proxy.url
        bridge = new_bridge(config)
        await asyncio.to_thread(bridge.ready)
        await asyncio.to_thread(feed.publish, [{"n": 0}])
        await asyncio.to_thread(_wait_for_messages, sink, 1)
        proxy.max_reply = lambda: random.randrange(40)  # a reply has 15 to 20
        await asyncio.to_thread(feed.publish, [{"n": n} for n in range(1, total)])
        await asyncio.to_thread(_wait_for_messages, sink, total)
        bridge.terminate()
        assert await asyncio.to_thread(bridge.wait) == 0
        with sink.client() as client:
            assert numbers(client) == list(range(total)), "each exactly once, and in order"
            assert_no_orphans(client)
        assert proxy.cuts >= 30
    counts = bridge.wait_for("source.counts", source="feed")
    assert (counts["received"], counts["messages"], counts["deduplicated"]) == (total, total, 0)
    assert len(bridge.events("sink.unavailable")) <= 2 * proxy.cuts


async def test_after_a_failover_the_new_master_is_written(new_redis: Callable[..., Redis], make: Sinks) -> None:
    """A demoted master's READONLY ends the connection; the same address leads to the new one, and nothing is written twice."""
    old, new = new_redis({"repl-diskless-sync-delay": 0}), new_redis()
    with old.client() as client, new.client() as other:
        other.execute_command("REPLICAOF", "127.0.0.1", str(old.port))
        wait_until(lambda: answer(other.info("replication"))["master_link_status"] == "up", what="the replica")
        async with Proxy(old) as proxy:
            sink, sequence = make(old, url=proxy.url), BatchSequence()
            first = copied(batch(1), sequence)
            assert await sink.write(first) == Written(1, 0)
            # As if this reply were lost: the batch is sent again once the replica is the master.
            lost = copied(batch(2), sequence)
            assert await sink.write(lost) == Written(1, 0)
            wait_until(lambda: numbers(other) == [1, 2], what="the replication")
            other.execute_command("REPLICAOF", "NO", "ONE")
            client.execute_command("REPLICAOF", "127.0.0.1", str(new.port))
            third = copied(batch(3), sequence)
            assert "read only replica" in await unavailable(sink.write(third))
            proxy.target = new
            assert await sink.write(third) == Written(1, 0)
            assert await sink.write(copied(lost, sequence, lost.number)) == Written(0, duplicates=1)
            assert numbers(other) == [1, 2, 3]


async def test_a_demoted_masters_connection_is_closed(new_redis: Callable[..., Redis], make: Sinks) -> None:
    """After READONLY the name is resolved anew: it may lead to the new master by now."""
    server = new_redis()
    sink = make(server)
    await sink.ping()
    with server.client() as client:
        mine = {info["id"] for info in answer(client.client_list())} - {str(answer(client.client_id()))}
        assert len(mine) == 1
        with readonly(server):
            await unavailable(sink.write(batch(1)))
            wait_until(
                lambda: not mine & {info["id"] for info in answer(client.client_list())},
                what="the end of the connection",
            )


async def denied(sink: object, same: Batch) -> SinkUnavailable:
    """Check that a write raises SinkUnavailable with `denied`, and return the error."""
    with pytest.raises(SinkUnavailable) as caught:
        await sink.write(same)  # type: ignore[attr-defined]
    assert caught.value.denied
    return caught.value


@pytest.mark.parametrize("password", [None, "s3cret"], ids=["none", "wrong"])
async def test_a_password_that_is_refused_is_waited_out(
    new_redis: Callable[..., Redis], make: Sinks, password: str | None
) -> None:
    """The sink writes as soon as the password is right; the error tells the cause, and never the password."""
    server = new_redis(password="theirs")
    sink, same = make(server, url=f"redis://127.0.0.1:{server.port}", password=password), batch(1)
    with pytest.raises(SinkUnavailable, match="password"):
        await sink.ping()
    for _ in range(3):
        cause = (await denied(sink, same)).cause
        assert "password" in cause
        assert "s3cret" not in cause
    with server.client() as client:
        client.config_set("requirepass", password or "")
        assert await sink.write(same) == Written(1, 0)
        assert numbers(client) == [1]


async def test_a_missing_permission_is_denied(redis_server: Redis, make: Sinks) -> None:
    """An error that only an administrator can end is marked as `denied`."""
    with redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", "bridge", "reset", "on", ">p", "~*", "+@all", "-evalsha", "-eval")
        sink, same = make(redis_server, username="bridge", password="p"), batch(1)
        try:
            assert "NOPERM" in (await denied(sink, same)).cause
            client.execute_command("ACL", "SETUSER", "bridge", "+@all", "-rpush")
            assert "NOPERM" in (await denied(sink, same)).cause
            client.execute_command("ACL", "SETUSER", "bridge", "+@all")
            assert await sink.write(same) == Written(1, 0)
        finally:
            client.execute_command("ACL", "DELUSER", "bridge")


async def test_a_server_that_answers_with_an_error_is_unavailable(
    new_redis: Callable[..., Redis], make: Sinks, new_bridge: Bridges
) -> None:
    """A bridge that starts while Redis loads its data waits for it."""
    server = new_redis({"enable-debug-command": "local"})
    sink = make(server)
    with loading(server):
        with pytest.raises(SinkUnavailable, match="LOADING"):
            await sink.ping()
        bridge = new_bridge(PubsubFeed(server).config(server))
        assert "LOADING" in (await asyncio.to_thread(bridge.wait_for, "sink.unavailable"))["cause"]
    await asyncio.to_thread(bridge.ready)
    await sink.ping()


async def test_a_flushed_script_is_loaded_again(redis_server: Redis, make: Sinks) -> None:
    """SCRIPT FLUSH, or a failover, costs one round trip and no message."""
    sink = make(redis_server)
    with redis_server.client() as client:
        for number in range(3):
            assert await sink.write(batch(number)) == Written(1, 0)
            client.script_flush()
        assert numbers(client) == [0, 1, 2]


async def test_a_cluster_that_is_not_complete_is_waited_out(new_redis: Callable[..., Redis], make: Sinks) -> None:
    """After CLUSTERDOWN and TRYAGAIN, as while slots are moved, the same batch is written once the slot is served."""
    buses = free_port(), free_port()
    server, other = (new_redis({"cluster-enabled": "yes", "cluster-port": bus}) for bus in buses)
    sink, sequence = make(server, namespace="{dramatiq}"), BatchSequence()
    with server.client() as client, other.client() as second:
        first = copied(batch(1), sequence)
        assert "CLUSTERDOWN" in await unavailable(sink.write(first))
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        wait_until(lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok", what="the cluster")
        assert await sink.write(first) == Written(1, 0)
        client.execute_command("CLUSTER", "MEET", "127.0.0.1", str(other.port), str(buses[1]))
        theirs = second.execute_command("CLUSTER", "MYID")
        slot = client.execute_command("CLUSTER", "KEYSLOT", "{dramatiq}")
        wait_until(lambda: theirs.decode() in str(client.execute_command("CLUSTER NODES")), what="the other node")
        client.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", theirs)
        moving = batch_of([Entry(event(), [message(2), message(3, "other")])], sequence)
        assert "TRYAGAIN" in await unavailable(sink.write(moving))
        client.execute_command("CLUSTER", "SETSLOT", slot, "STABLE")
        assert await sink.write(moving) == Written(2, 0)
        assert numbers(client, namespace="{dramatiq}") == [1, 2]


def _wait_for_messages(sink: Redis, count: int) -> None:
    with sink.client() as client:
        wait_until(lambda: int(answer(client.llen("dramatiq:default"))) >= count, 60, f"{count} messages")


def test_a_bridge_waits_out_every_fault(
    new_redis: Callable[..., Redis], redis_server: Redis, new_bridge: Bridges
) -> None:
    """One fault after the other under load: the cause is logged at most three times each, and each event is written once."""
    feed = PubsubFeed(redis_server)
    sink = new_redis({"enable-debug-command": "local"}, appendonly=True)
    config = feed.config(sink)
    config["dramatiq"] |= {"timeout": "2s", "connect_timeout": "2s"}
    bridge = new_bridge(config).ready()
    published = 0
    with sink.client() as client:
        for fault in sorted(FAULTS, key=lambda fault: fault is not loading):
            before = len(bridge.events("sink.unavailable"))
            with fault(sink) as words:
                numbers_ = range(published, published + 300)
                publisher = threading.Thread(target=feed.publish, args=([{"n": n} for n in numbers_],))
                publisher.start()

                def logged(before: int = before, words: str = words) -> bool:
                    lines = bridge.events("sink.unavailable")[before:]
                    return any(words.lower() in line["cause"].lower() for line in lines)

                wait_until(logged, 20, f"{words} in the log")
                publisher.join(30)
            published += 300
            _wait_for_messages(sink, published)
            causes = Counter(line["cause"] for line in bridge.events("sink.unavailable")[before:])
            assert max(causes.values()) <= 3, causes
        assert numbers(client) == list(range(published))
        assert_no_orphans(client)
