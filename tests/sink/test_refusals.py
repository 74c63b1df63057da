"""Refusals of Redis keep no memory: each attempt's command, of megabytes, is gone before the next one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest

from bridge.errors import SinkUnavailable
from bridge.model.batch import Batch
from bridge.sink import RedisSink
from bridge.sink.health import SinkHealth
from tests.support.batches import Sinks, large_batch
from tests.support.brokers import Redis
from tests.support.garbage import uncollected
from tests.support.redis_faults import FAULTS, Fault, forbidden, loading, paused

#: Two thirds of them would not fit into the bound.
_ATTEMPTS = 12
_MAX_KEPT_BYTES = 1 << 20


@pytest.fixture
async def make() -> AsyncIterator[Sinks]:
    """Make sinks that are closed at the end."""
    async with Sinks() as sinks:
        yield sinks


async def write_again(sink: RedisSink, same: Batch) -> str:
    """Write a batch once more as a whole, and return the cause for which Redis does not take it."""
    same.unanswered = 0
    try:
        await sink.write(same)
    except SinkUnavailable as error:  # pytest.raises would keep it
        return error.cause
    pytest.fail("Redis took the write")


@pytest.mark.parametrize("fault", [*FAULTS, forbidden, paused])
async def test_a_refused_write_keeps_nothing(new_redis: Callable[..., Redis], make: Sinks, fault: Fault) -> None:
    """After a dozen attempts to write 4 MiB, by one connection or each by a new one, none of their bytes is kept."""
    server = new_redis({"enable-debug-command": "local"})
    sink, same = make(server, connect_timeout="300ms", timeout="300ms" if fault is not loading else "5s"), large_batch()
    await sink.ping()
    with fault(server) as words:
        await write_again(sink, same)
        with uncollected() as grown:
            for _ in range(_ATTEMPTS):
                cause = await write_again(sink, same)
            await asyncio.sleep(0.1)
            assert grown() < _MAX_KEPT_BYTES
        assert words.lower() in cause.lower()


async def test_a_cancelled_write_keeps_nothing(new_redis: Callable[..., Redis], make: Sinks) -> None:
    """Neither does the wait for its reply."""
    server = new_redis()
    sink, same = make(server), large_batch()
    await sink.ping()
    with paused(server), uncollected() as grown:
        for _ in range(_ATTEMPTS):
            writing = asyncio.create_task(sink.write(same))
            await asyncio.sleep(0.1)
            writing.cancel()
            with suppress(asyncio.CancelledError):
                await writing
        del writing
        await asyncio.sleep(0.1)
        assert grown() < _MAX_KEPT_BYTES


async def test_between_two_attempts_nothing_is_kept(new_redis: Callable[..., Redis], make: Sinks) -> None:
    """While a writer waits for its next attempt, the command and the error of the last one are gone."""
    server = new_redis()
    sink, same, health = make(server), large_batch(), SinkHealth()
    with server.client() as client, uncollected() as grown:
        client.config_set("min-replicas-to-write", "1")
        writing = asyncio.create_task(health.retry_until_available("plant", lambda: sink.write(same)))
        kept = []
        for _ in range(60):
            await asyncio.sleep(0.05)
            kept.append(grown())
        assert sorted(kept)[len(kept) // 2] < _MAX_KEPT_BYTES
        client.config_set("min-replicas-to-write", "0")
        assert (await writing).messages == len(same.events)


async def test_a_connection_that_is_closed_keeps_nothing(new_redis: Callable[..., Redis], make: Sinks) -> None:
    """Redis closes each connection in the middle of the command."""
    server = new_redis({"client-query-buffer-limit": "1mb"})
    sink, same = make(server), large_batch(events=3, message_bytes=4 << 19)
    await sink.ping()
    with uncollected() as grown:
        for _ in range(_ATTEMPTS):
            await write_again(sink, same)
        await asyncio.sleep(0.1)
        assert grown() < _MAX_KEPT_BYTES


@pytest.mark.parametrize("query", ["ping", "probe", "memory", "is_durable", "queue_length"])
async def test_a_refused_question_keeps_no_frame(new_redis: Callable[..., Redis], make: Sinks, query: str) -> None:
    """The sink's small commands are refused in the same way."""
    server = new_redis({"busy-reply-threshold": "50"})
    sink = make(server)
    arguments = ["default"] if query == "queue_length" else []
    ask: Callable[[], Awaitable[object]] = lambda: getattr(sink, query)(*arguments)  # noqa: E731
    await sink.ping()
    busy = next(fault for fault in FAULTS if fault.__name__ == "busy")
    with busy(server), uncollected():
        for _ in range(3):
            with suppress(SinkUnavailable):
                await ask()
