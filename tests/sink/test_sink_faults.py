"""Faults of Redis: no batch is written in part or twice, and the same batch succeeds once the fault has ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import redis

from bridge.model.batch import Batch, BatchSequence, DeadLetter, Written
from bridge.model.event import OnceByXack
from bridge.sink.redis_sink import SCRIPT
from bridge.sink.script_arguments import FenceArguments
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
    """Make sinks that are closed at the end."""
    async with Sinks() as sinks:
        yield sinks


@pytest.mark.parametrize("once", [False, True], ids=["plain", "identities"])
@pytest.mark.parametrize("connected", [False, True], ids=["first", "later"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_is_waited_out(
    new_redis: Callable[..., Redis], make: Sinks, fault: Fault, connected: bool, once: bool
) -> None:
    """Nothing is written while Redis refuses or is unavailable; the error tells the cause; afterwards the same batch is written."""
    server = new_redis({"enable-debug-command": "local"})
    # Short only where nothing answers: what a slow machine has not done by then would be another fault.
    patience = "1s" if fault is silent else "10s"
    sink = make(server, connect_timeout=patience, timeout=patience)
    if connected:
        await sink.write(batch(0))
    same = batch(1, 2, 3, once=once)
    same.events.append(event())
    same.dead_letters.append((3, DeadLetter(event(), "decode", "x")))
    with fault(server) as words:
        for _ in range(2):
            assert words.lower() in (await unavailable(sink.write(same))).lower()
    with server.client() as client:
        # A server that was paused has received the write, and runs it when it continues; later attempts write nothing.
        if fault not in {stopped, silent}:
            assert client.llen("dramatiq:default") == connected
            assert not client.exists(DEAD, "dramatiq-bridge:seen:1")
        assert (await sink.write(same)).messages == 3
        assert numbers(client) == [0] * (connected and fault is not stopped) + [1, 2, 3]
        assert client.xlen(DEAD) == 1


@pytest.mark.parametrize("ready", [False, True])
@pytest.mark.parametrize(
    "command", ["evalsha|eval", "set", "xadd", "hset", "hmget", "hdel", "expire", "rpush", "xack", "type"]
)
async def test_a_missing_permission_loses_nothing(
    redis_server: Redis, make: Sinks, command: str, *, ready: bool
) -> None:
    """A user who may not run one of the commands, or not any more, writes no part of a batch, however often it is tried."""
    with redis_server.client() as client:
        answer(client.xgroup_create("audit", "g", "0", mkstream=True))
        entry_id = answer(client.xadd("audit", {"n": 1}))
        client.xreadgroup("g", "me", {"audit": ">"})
        client.execute_command("ACL", "SETUSER", "bridge", "reset", "on", ">p", "~*", "+@all")
        sink = make(redis_server, username="bridge", password="p")
        if ready:
            await sink.probe()
        client.execute_command("ACL", "SETUSER", "bridge", *(f"-{name}" for name in command.split("|")))
        entry = event(OnceByXack("audit", "g", ":audit:g:", 60_000, "audit g"), deduplication_key=entry_id)
        same = batch_of([Entry(entry, [message(1)], [DeadLetter(entry, "decode", "x")]), Entry(event(), [message(2)])])
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
    """Set the key of a queue to a value of another type."""
    client.set(f"dramatiq:{queue}", "something else")


async def test_only_a_refused_event_is_a_dead_letter(redis_server: Redis, make: Sinks) -> None:
    """The one event whose queue can't be written becomes a dead letter; all others are written, in their order."""
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


@pytest.mark.parametrize("once", [False, True])
async def test_an_outage_between_two_halves_duplicates_nothing(
    new_redis: Callable[..., Redis], make: Sinks, once: bool
) -> None:
    """Redis fails after the first half was written; however long the outage lasts, that half is not written again."""
    server = new_redis()
    sink, whole = make(server), batch(0, 1, 2, once=once)
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
        # As after many hours: Redis has forgotten the sequences and the identities.
        for key in client.scan_iter("dramatiq-bridge:*"):
            client.delete(key)
        client.config_set("maxmemory", "0")
        assert await sink.write(whole) == Written(3, 0, refused=1)
        assert numbers(client) == [0, 1, 2]
        assert client.xlen(DEAD) == 1


def mixed(sequence: BatchSequence, number: int | None = None) -> Batch:
    """Make a batch of eight messages, of which 2 and 7 are for a queue that Redis refuses."""
    entries = [Entry(event(body=b"%d" % n), [message(n, "odd" if n in {2, 7} else "default")]) for n in range(8)]
    return batch_of(entries, sequence, number)


@pytest.mark.parametrize("written", range(5))
async def test_a_crash_between_halves_writes_nothing_twice(redis_server: Redis, make: Sinks, written: int) -> None:
    """However many parts of a refused batch were written when the process died, the next attempt writes only the others."""
    sink, sequence = make(redis_server), BatchSequence()
    with redis_server.client() as client:
        spoil(client, "odd")
        await sink.write(copied(batch(100), sequence))
        whole = mixed(sequence)
        halves = whole.split()
        for number, fenced in ((2, whole), *((1, half) for half in halves[: 1 + written // 3])):
            fence = FenceArguments("dramatiq", fenced).command("EVAL", SCRIPT)
            assert await sink.connections.execute(fence) == b"halved %d %d" % (number, number)
        quarters = [quarter for half in halves for quarter in half.split()]
        for quarter in quarters[:written]:
            await sink.write(quarter)
        again = mixed(BatchSequence(sequence.name, sequence.last), whole.number)
        assert (await make(redis_server).write(again)).messages == 6
        assert numbers(client) == [100, 0, 1, 3, 4, 5, 6]
        assert [fields[b"body"] for _, fields in answer(client.xrange(DEAD))] == [b"2", b"7"]


async def test_a_refused_batch_that_is_tried_again_late_is_written_already(redis_server: Redis, make: Sinks) -> None:
    """Halves take no numbers of the batch's sequence; a batch for which Redis replies LATE was written, with all its halves."""
    sink, sequence = make(redis_server), BatchSequence()
    with redis_server.client() as client:
        spoil(client, "odd")
        whole = mixed(sequence)
        assert await sink.write(whole) == Written(6, 0, refused=2)
        assert sequence.last == whole.number == 1
        assert await sink.write(copied(batch(100), sequence)) == Written(1, 0)
        again = mixed(BatchSequence(sequence.name, sequence.last), whole.number)
        assert await make(redis_server).write(again) == Written(0, duplicates=8)
        assert numbers(client) == [0, 1, 3, 4, 5, 6, 100]
        assert client.xlen(DEAD) == 2


async def test_dead_letters_that_cannot_be_written_cost_no_message(redis_server: Redis, make: Sinks) -> None:
    """While the dead letters' key holds another type, the sink is unavailable and tells why; no good message becomes a dead letter."""
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
    """The reply to a cancelled write is not taken for the next one's."""
    sink = make(redis_server)
    await sink.ping()
    for number in range(20):
        task = asyncio.create_task(sink.write(batch(number)))
        for _ in range(number % 5):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await sink.write(batch(100, 101, 102)) == Written(3, 0)
