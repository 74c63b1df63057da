"""Attempts at events are counted in Redis; the counts never fill it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bridge.sink.attempts import RedisAttempts
from tests.support.batches import Sinks, answer, unavailable
from tests.support.brokers import Redis

KEY = "dramatiq-bridge:attempts:s"


def fingerprints(start: int, count: int) -> list[bytes]:
    """Return what identifies so many events, in the size that the bridge gives it."""
    return [b"%012d" % n for n in range(start, start + count)]


async def test_attempts_that_are_never_forgotten_stay_bounded(redis_server: Redis) -> None:
    """Of crash after crash whose events never come again, some 10 MB of counts are kept; then counting begins anew."""
    async with Sinks() as make:
        attempts = RedisAttempts(make(redis_server).connections, "dramatiq")
        with redis_server.client() as client:
            most = 0
            for start in range(0, 120_000, 1000):
                assert await attempts.begin("s", fingerprints(start, 1000), below=5) == [0] * 1000
                most = max(most, answer(client.hlen(KEY)))
            assert 100_000 <= most <= 100_001
            assert answer(client.hlen(KEY)) == 20_001
            assert answer(client.memory_usage(KEY, samples=0)) < 12 << 20
            assert await attempts.begin("s", fingerprints(119_000, 1000), below=5) == [1] * 1000
            assert 86_000 < answer(client.ttl(KEY)) <= 86_400


async def test_attempts_that_are_forgotten_leave_nothing(redis_server: Redis) -> None:
    """However often that is asked for: no key remains, and those of others are kept."""
    async with Sinks() as make:
        attempts = RedisAttempts(make(redis_server).connections, "dramatiq")
        with redis_server.client() as client:
            await attempts.begin("s", fingerprints(0, 3), below=5)
            for _ in range(2):
                await attempts.forget("s", fingerprints(0, 2))
            assert await attempts.begin("s", fingerprints(2, 1), below=5) == [1]
            await attempts.forget("s", fingerprints(2, 1))
            assert not client.exists(KEY)


async def test_attempts_that_could_not_expire_are_not_counted(new_redis: Callable[..., Redis]) -> None:
    """A user who may not run EXPIRE any more counts nothing, however often it is tried: no event becomes poison for it."""
    server = new_redis({"user bridge": "on >secret ~* +@all -expire"})
    async with Sinks() as make:
        attempts = RedisAttempts(make(server, username="bridge", password="secret").connections, "dramatiq")
        for _ in range(3):
            assert "NOPERM" in await unavailable(attempts.begin("s", fingerprints(0, 3), below=5))
        with server.client() as client:
            assert not client.exists(KEY)


@pytest.mark.parametrize("field", ["", "000000000001"], ids=["the others", "an event"])
async def test_counts_of_another_form_begin_anew(redis_server: Redis, field: str) -> None:
    """A newer version may have left them: no source waits for them, and the next attempts are counted."""
    async with Sinks() as make:
        attempts = RedisAttempts(make(redis_server).connections, "dramatiq")
        with redis_server.client() as client:
            client.hset(KEY, mapping={field: '{"attempts": 2}'})
            assert await attempts.begin("s", fingerprints(0, 3), below=5) == [0, 0, 0]
            assert await attempts.begin("s", fingerprints(1, 1), below=5) == [1]
            await attempts.forget("s", fingerprints(0, 3))
            assert not client.exists(KEY)
