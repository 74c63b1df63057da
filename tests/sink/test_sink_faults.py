"""Faults of Redis: nothing is written by halves, nothing twice, and the same batch succeeds when the fault has ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import redis

from bridge.model.batch import Batch, BatchSequence, DeadLetter, Written
from bridge.model.event import Gate
from tests.support.batches import (
    DEAD,
    Entry,
    Sinks,
    answer,
    batch,
    batch_of,
    copied,
    event,
    message,
    numbers,
    unavailable,
)
from tests.support.brokers import Redis
from tests.support.redis_faults import FAULTS, Fault, silent, stopped


@pytest.fixture
async def make() -> AsyncIterator[Sinks]:
    """Make sinks that are closed in the end."""
    async with Sinks() as sinks:
        yield sinks


@pytest.mark.parametrize("gates", [False, True], ids=["plain", "identities"])
@pytest.mark.parametrize("connected", [False, True], ids=["first", "later"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_is_waited_out(
    new_redis: Callable[..., Redis], make: Sinks, fault: Fault, connected: bool, gates: bool
) -> None:
    """Nothing is written while Redis refuses or is away, the cause is told, and the same batch is written afterwards."""
    server = new_redis({"enable-debug-command": "local"})
    sink = make(server, connect_timeout="1s", timeout="1s")
    if connected:
        await sink.write(batch(0))
    same = batch(1, 2, 3, gates=gates)
    same.events.append(event())
    same.dead_letters.append((3, DeadLetter(event(), "decode", "x")))
    with fault(server) as words:
        for _ in range(2):
            assert words.lower() in (await unavailable(sink.write(same))).lower()
    with server.client() as client:
        # A server that stood still had the write before it, and does it when it goes on: what counts is once.
        if fault not in {stopped, silent}:
            assert client.llen("dramatiq:default") == connected
            assert not client.exists(DEAD, "dramatiq-bridge:seen:1")
        assert (await sink.write(same)).messages == 3
        assert numbers(client) == [0] * (connected and fault is not stopped) + [1, 2, 3]
        assert client.xlen(DEAD) == 1


@pytest.mark.parametrize("command", ["evalsha|eval", "set", "xadd", "hset", "rpush", "xack", "type"])
async def test_a_missing_permission_loses_nothing(redis_server: Redis, make: Sinks, command: str) -> None:
    """A user who may not run one of the commands writes nothing by halves, and nothing again and again."""
    with redis_server.client() as client:
        answer(client.xgroup_create("audit", "g", "0", mkstream=True))
        entry_id = answer(client.xadd("audit", {"n": 1}))
        client.xreadgroup("g", "me", {"audit": ">"})
        denied = [f"-{one}" for one in command.split("|")]
        client.execute_command("ACL", "SETUSER", "bridge", "reset", "on", ">p", "~*", "+@all", *denied)
        sink = make(redis_server, username="bridge", password="p")
        one = event(Gate("ack", "audit", group="g"), deduplication_key=entry_id)
        same = batch_of([Entry(one, [message(1)], [DeadLetter(one, "decode", "x")]), Entry(event(), [message(2)])])
        try:
            for _ in range(3):
                assert await unavailable(sink.write(same))
            assert list(client.scan_iter("dramatiq:*")) == []
            assert not client.exists(DEAD)
            assert answer(client.xpending("audit", "g"))["pending"] == 1
            client.execute_command("ACL", "SETUSER", "bridge", "+@all")
            assert await sink.write(same) == Written(2, 0)
            assert sorted(numbers(client)) == [1, 2]
        finally:
            client.execute_command("ACL", "DELUSER", "bridge")


def spoil(client: redis.Redis, queue: str) -> None:
    """Let something else hold the key of a queue."""
    client.set(f"dramatiq:{queue}", "something else")


async def test_only_what_redis_refuses_is_a_dead_letter(redis_server: Redis, make: Sinks) -> None:
    """The one event whose queue cannot be written is found; all others pass, in their order."""
    entries = [Entry(event(body=b"%d" % n), [message(n, "odd" if n == 5 else "default")]) for n in range(9)]
    with redis_server.client() as client:
        spoil(client, "odd")
        whole = batch_of(entries)
        sink = make(redis_server)
        assert await sink.write(whole) == Written(8, 0, refused=1)
        assert await sink.write(whole) == Written(8, 0, refused=1)
        assert numbers(client) == [0, 1, 2, 3, 4, 6, 7, 8]
        ((_, fields),) = answer(client.xrange(DEAD))
        assert (fields[b"reason"], fields[b"body"]) == (b"refused-by-redis", b"5")


@pytest.mark.parametrize("gates", [False, True])
async def test_an_outage_between_two_halves_duplicates_nothing(
    new_redis: Callable[..., Redis], make: Sinks, gates: bool
) -> None:
    """Redis fails after the first half was written; however long that lasts, the half is not written again."""
    server = new_redis()
    sink, whole = make(server, connect_timeout="1s"), batch(0, 1, 2, gates=gates)
    whole.events.append(event())
    whole.add(3, [message(3, "odd")])
    first, second = whole.split()
    whole.halves = first, second
    with server.client() as client:
        spoil(client, "odd")
        await sink.write(first)
        client.config_set("maxmemory", "1")
        assert "maxmemory" in await unavailable(sink.write(whole))
        assert client.llen("dramatiq:default") == 2
        # As after an hour: Redis has forgotten the tokens and the identities.
        for key in client.scan_iter("dramatiq-bridge:*"):
            client.delete(key)
        client.config_set("maxmemory", "0")
        assert await sink.write(whole) == Written(3, 0, refused=1)
        assert numbers(client) == [0, 1, 2]
        assert client.xlen(DEAD) == 1


def mixed(writer: BatchSequence, number: int | None = None) -> Batch:
    """Make eight messages of which 2 and 7 are for a queue that is spoilt."""
    entries = [Entry(event(body=b"%d" % n), [message(n, "odd" if n in {2, 7} else "default")]) for n in range(8)]
    return batch_of(entries, writer, number)


@pytest.mark.parametrize("written", range(5))
async def test_a_crash_between_halves_writes_nothing_twice(redis_server: Redis, make: Sinks, written: int) -> None:
    """However far the halves of a refused batch had come when the process died, its next attempt writes only the rest."""
    sink, writer = make(redis_server), BatchSequence()
    with redis_server.client() as client:
        spoil(client, "odd")
        await sink.write(copied(batch(100), writer))
        whole = mixed(writer)
        quarters = [quarter for half in whole.split() for quarter in half.split()]
        for quarter in quarters[:written]:
            await sink.write(quarter)
        again = mixed(BatchSequence(writer.name, writer.last), whole.number)
        assert (await make(redis_server).write(again)).messages == 6
        assert numbers(client) == [100, 0, 1, 3, 4, 5, 6]
        assert [fields[b"body"] for _, fields in answer(client.xrange(DEAD))] == [b"2", b"7"]


async def test_a_refused_batch_that_is_tried_again_late_is_written_already(redis_server: Redis, make: Sinks) -> None:
    """The halves leave the numbers of their writer alone: what Redis says is late has been written, every half of it."""
    sink, writer = make(redis_server), BatchSequence()
    with redis_server.client() as client:
        spoil(client, "odd")
        whole = mixed(writer)
        assert await sink.write(whole) == Written(6, 0, refused=2)
        assert writer.last == whole.number == 1
        assert await sink.write(copied(batch(100), writer)) == Written(1, 0)
        again = mixed(BatchSequence(writer.name, writer.last), whole.number)
        assert await make(redis_server).write(again) == Written(0, duplicates=8)
        assert numbers(client) == [0, 1, 3, 4, 5, 6, 100]
        assert client.xlen(DEAD) == 2


async def test_dead_letters_that_cannot_be_written_cost_no_message(redis_server: Redis, make: Sinks) -> None:
    """Where something else holds the dead letters' key, the sink waits and says so; no good message becomes one."""
    sink, good = make(redis_server), batch(1, 2)
    good.events.append(event())
    good.dead_letters.append((2, DeadLetter(event(), "decode", "x")))
    with redis_server.client() as client:
        client.set(DEAD, "something else")
        for _ in range(2):
            cause = await unavailable(sink.write(good))
            assert f"{DEAD} holds a string, not a stream" in cause
        assert list(client.scan_iter("dramatiq:*")) == []
        client.delete(DEAD)
        assert await sink.write(good) == Written(2, 0)
        assert numbers(client) == [1, 2]
        assert client.xlen(DEAD) == 1


async def test_cancelling_a_write_harms_no_other(redis_server: Redis, make: Sinks) -> None:
    """The reply of a write that was given up is not taken for the next one's."""
    sink = make(redis_server)
    await sink.ping()
    for number in range(20):
        task = asyncio.create_task(sink.write(batch(number)))
        for _ in range(number % 5):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await sink.write(batch(100, 101, 102)) == Written(3, 0)
