"""Batches that Redis cannot take for their size are written in parts: each event once, and none becomes a dead letter."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import pytest
import redis

from bridge.errors import SinkUnavailable
from bridge.model.batch import Batch, BatchSequence, Written
from bridge.model.event import already_parsed
from bridge.sink import RedisSink
from bridge.sink.script_arguments import FenceArguments
from bridge.spool import SpoolDirectory
from tests.faults.proxy import Proxy
from tests.support.batches import DEAD, Entry, Sinks, answer, batch_of, copied, event, large_batch, message, numbers
from tests.support.brokers import Redis
from tests.support.children import wait_until
from tests.support.processes import assert_no_orphans
from tests.support.redis_faults import out_of_memory, paused


@pytest.fixture
async def make() -> AsyncIterator[Sinks]:
    """Make sinks that are closed at the end."""
    async with Sinks() as sinks:
        yield sinks


async def persistently(sink: RedisSink, same: Batch, attempts: int = 100) -> Written:
    """Write a batch as the bridge does, again after each failure."""
    for _ in range(attempts):
        try:
            return await sink.write(same)
        except SinkUnavailable as error:
            cause = error.cause
            await asyncio.sleep(0.02)
    pytest.fail(f"not written in {attempts} attempts: {cause}")


def used_memory(client: redis.Redis) -> int:
    """Return the bytes that Redis compares with its maxmemory, nearly."""
    return int(answer(client.info("memory"))["used_memory"])


async def test_a_batch_that_does_not_fit_into_redis_is_written_in_parts(
    new_redis: Callable[..., Redis], make: Sinks
) -> None:
    """There is room for 3 MiB and the batch has 4: Redis takes parts, and the others once workers have made room."""
    server = new_redis()
    sink, whole = make(server), large_batch()
    await sink.write(batch_of([Entry(event(), [message(100, "other")])]))
    with server.client() as client:
        maxmemory, consumed = used_memory(client) + (3 << 20), list[int]()
        client.config_set("maxmemory", maxmemory)
        with pytest.raises(SinkUnavailable, match="OOM"):
            await sink.write(whole)
        while whole.written is None:
            client.config_set("maxmemory", 0)  # it refuses MULTI too
            consumed += numbers(client)
            client.delete("dramatiq:default", "dramatiq:default.msgs")
            client.config_set("maxmemory", maxmemory)
            with suppress(SinkUnavailable):
                await sink.write(whole)
        assert consumed, "nothing was written before there was room for all of it"
        assert whole.written == Written(64, 0)
        client.config_set("maxmemory", 0)
        assert consumed + numbers(client) == list(range(64))
        assert not client.exists(DEAD)


async def test_a_redis_that_is_full_splits_nothing(new_redis: Callable[..., Redis], make: Sinks) -> None:
    """Where Redis takes no write at all, a large batch stays whole, and so does a small one, however often they are tried."""
    server = new_redis()
    sink, batches = make(server), [large_batch(), large_batch(3, 10_000, first=64)]
    with server.client() as client:
        with out_of_memory(server):
            for same in batches * 3:
                with pytest.raises(SinkUnavailable, match="OOM"):
                    await sink.write(same)
        for same in batches:
            await sink.write(same)
            assert same.halves is None
        assert numbers(client) == list(range(67))
        assert not client.exists(DEAD)


async def test_a_message_larger_than_redis_takes_costs_no_other(new_redis: Callable[..., Redis], make: Sinks) -> None:
    """`proto-max-bulk-len`: the one event becomes a dead letter, since Redis will never take it; the others are written."""
    server = new_redis({"proto-max-bulk-len": "1mb"})
    sink, whole = make(server), large_batch(8, 50_000)
    whole.extend(large_batch(1, 3 << 20, first=8))
    with server.client() as client:
        assert await persistently(sink, whole) == Written(8, 0, refused=1)
        assert numbers(client) == list(range(8))
        ((_, fields),) = answer(client.xrange(DEAD))
        assert fields[b"reason"] == b"refused-by-redis"


async def test_a_message_for_which_redis_closes_the_connection_costs_no_other(
    new_redis: Callable[..., Redis], make: Sinks
) -> None:
    """`client-query-buffer-limit`: the events before it are written; it waits until the limit is raised, and is no dead letter."""
    server = new_redis({"client-query-buffer-limit": "1mb"})
    sink, whole = make(server), large_batch(8, 50_000)
    whole.extend(large_batch(1, 3 << 20, first=8))
    with server.client() as client:
        for _ in range(12):
            with pytest.raises(SinkUnavailable):
                await sink.write(whole)
        assert numbers(client) == list(range(8))
        client.config_set("client-query-buffer-limit", "1gb")
        assert await persistently(sink, whole) == Written(9, 0)
        assert numbers(client) == list(range(9))
        assert not client.exists(DEAD)


@pytest.mark.parametrize("most_bytes", [300_000, 1 << 20])
async def test_a_batch_for_which_the_connection_is_closed_is_written_in_parts(
    redis_server: Redis, make: Sinks, most_bytes: int
) -> None:
    """Something between here and Redis, or Redis itself, closes a connection that has sent too much, without a reply."""
    with Proxy(redis_server.port) as proxy, redis_server.client() as client:
        proxy.most_bytes = most_bytes
        sink, whole = make(redis_server, url=f"redis://127.0.0.1:{proxy.port}"), large_batch()
        assert (await persistently(sink, whole)).messages == 64
        assert numbers(client) == list(range(64))
        assert not client.exists(DEAD)


async def test_a_batch_that_takes_too_long_is_written_in_parts(redis_server: Redis, make: Sinks) -> None:
    """The link takes 2 MiB a second and an answer may take 0.5 s: 4 MiB never pass at once, and all of them do in parts."""
    with Proxy(redis_server.port) as proxy, redis_server.client() as client:
        proxy.bytes_per_s = 2 << 20
        sink = make(redis_server, url=f"redis://127.0.0.1:{proxy.port}", timeout="500ms")
        whole = large_batch()
        assert (await persistently(sink, whole)).messages == 64
        assert numbers(client) == list(range(64))
        assert_no_orphans(client)


async def test_a_small_batch_or_a_single_event_is_never_split(redis_server: Redis, make: Sinks) -> None:
    """However often no answer comes; it is written once there is one."""
    sink, batches = make(redis_server, timeout="100ms"), [large_batch(1, 200_000), large_batch(3, 10_000, first=1)]
    with redis_server.client() as client:
        with paused(redis_server):
            for same in batches * 4:
                with pytest.raises(SinkUnavailable, match="timed out"):
                    await sink.write(same)
        for same in batches:
            await persistently(sink, same)
            assert (same.unanswered, same.halves) == (0, None)
        assert sorted(numbers(client)) == list(range(4))


async def test_a_redis_that_is_back_takes_the_whole(new_redis: Callable[..., Redis], make: Sinks) -> None:
    """A batch whose reply was lost as Redis went away is not split for that."""
    server = new_redis(appendonly=True)
    sink, whole = make(server, timeout="300ms", connect_timeout="300ms"), large_batch()
    await sink.ping()
    server.pause()
    for _ in range(4):
        with pytest.raises(SinkUnavailable):
            await sink.write(whole)
    server.resume()
    await persistently(sink, whole)
    assert whole.halves is None
    with server.client() as client:
        assert numbers(client) == list(range(64))


async def _unanswered_twice(sink: RedisSink, whole: Batch, fail: Callable[[], None]) -> None:
    """Let two attempts at a batch be sent on connections that answer nothing any more after `fail`."""
    await asyncio.gather(sink.ping(), sink.ping())  # two connections
    fail()
    for _ in range(2):
        with pytest.raises(SinkUnavailable):
            await sink.write(whole)
    assert whole.unanswered == 2


def _calls(client: redis.Redis) -> int:
    stats = answer(client.info("commandstats"))
    return sum(int(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"]) for name in ("evalsha", "eval"))


async def test_a_whole_that_arrives_late_writes_nothing(redis_server: Redis, make: Sinks) -> None:
    """Both attempts at the whole reach Redis after its parts were written, from connections that were closed long ago."""
    whole = large_batch(10, 20_000)
    with Proxy(redis_server.port) as proxy, redis_server.client() as client:
        sink = make(redis_server, url=f"redis://127.0.0.1:{proxy.port}", timeout="500ms")
        await sink.write(batch_of([Entry(event(), [message(100, "other")])]))  # Redis knows the script
        await _unanswered_twice(sink, whole, proxy.freeze)
        assert await sink.write(whole) == Written(10, 0)
        assert whole.halves is not None
        before = _calls(client)
        proxy.thaw()
        await asyncio.to_thread(wait_until, lambda: _calls(client) >= before + 2, 20, "both attempts")
        assert numbers(client) == list(range(10))
        assert_no_orphans(client)


async def test_a_whole_that_was_written_is_not_split(new_redis: Callable[..., Redis], make: Sinks) -> None:
    """Redis has run it, and only the replies were lost: that is found before anything is written in parts."""
    server = new_redis()
    sink, whole = make(server, timeout="500ms", connect_timeout="500ms"), large_batch(10, 20_000)
    await sink.write(batch_of([Entry(event(), [message(100, "other")])]))
    await _unanswered_twice(sink, whole, server.pause)
    server.resume()
    assert await persistently(sink, whole) == Written(10, 0)
    assert whole.halves is None
    with server.client() as client:
        assert numbers(client) == list(range(10))


async def _die_between_parts(sink: RedisSink, whole: Batch, written: int) -> None:
    """Fence a batch and write so many of its parts, as a process does that then dies."""
    assert (await sink._run(FenceArguments("dramatiq", whole))).startswith(b"halved")
    for part in whole.split()[:written]:
        await sink.write(part)


@pytest.mark.parametrize("written", range(3))
async def test_a_crash_between_the_parts_writes_nothing_twice(redis_server: Redis, make: Sinks, written: int) -> None:
    """However many parts were written when the process died, the next one writes only the others."""
    sequence = BatchSequence()
    whole = large_batch(10, 20_000, sequence)
    await _die_between_parts(make(redis_server), whole, written)
    again = copied(whole, BatchSequence(sequence.name, sequence.last), whole.number)
    sink = make(redis_server)
    await sink.write(again)
    later = copied(large_batch(1, 10, first=10), again.sequence)
    await sink.write(later)
    with redis_server.client() as client:
        assert numbers(client) == list(range(11))
        assert await sink.write(copied(whole, again.sequence, whole.number)) == Written(0, duplicates=10)
        assert numbers(client) == list(range(11))


@pytest.mark.parametrize("written", range(4))
async def test_a_crash_between_the_parts_of_a_merged_batch_writes_nothing_twice(
    redis_server: Redis, make: Sinks, tmp_path: Path, written: int
) -> None:
    """What the spool had merged is replayed record by record after a crash: none is lost, none is written twice."""
    sequence = BatchSequence()
    await make(redis_server).write(large_batch(1, 10, sequence))
    records = [large_batch(4, 20_000, sequence, first=1 + 4 * n) for n in range(3)]
    for record in records:
        record.assign_number()
    whole = await merged(records, tmp_path)
    assert [len(part.events) for part in whole.split()] == [4, 4, 4]
    await _die_between_parts(make(redis_server), whole, written)
    sink, last = make(redis_server), BatchSequence(sequence.name, sequence.last)
    for record in records:
        await sink.write(copied(record, last, record.number))
    with redis_server.client() as client:
        assert numbers(client) == list(range(13))
        assert_no_orphans(client)


async def merged(records: list[Batch], directory: Path) -> Batch:
    """Return the batch that the spool makes of these, with their messages."""
    whole = batch_of([])
    for record in records:
        whole.extend(record)
    spools = SpoolDirectory(directory, 1 << 20)
    assert await spools.own()
    spool = await spools.open("plant", already_parsed)
    assert spool is not None
    await spool.append(records, durable=False)
    async for spooled in spool.replay():
        found = spooled.batch
        break
    await spools.close()
    found.queues = whole.queues
    return found
