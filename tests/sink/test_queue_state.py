"""The messages of a queue, as Dramatiq itself leaves them in Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import dramatiq
import pytest
from dramatiq.brokers.redis import RedisBroker

from bridge.errors import SinkUnavailable
from bridge.model.state import QueueState
from tests.support.batches import Sinks
from tests.support.brokers import Redis


def _fill(server: Redis) -> None:
    """Send six messages: one is dead, one is in the hands of a worker, four wait; two more are delayed."""
    broker = RedisBroker(url=server.url)
    broker.declare_queue("alarms")
    for delay in [None] * 6 + [3_600_000] * 2:
        broker.enqueue(dramatiq.Message("alarms", "record", (), {}, {}), delay=delay)
    consumer = broker.consume("alarms", prefetch=2, timeout=5000)
    taken = next(consumer)
    assert taken is not None
    consumer.nack(taken)
    # The consumer has fetched two at once: the other one waits in its hands.


async def test_the_four_numbers_are_those_of_dramatiq(redis_server: Redis) -> None:
    """A worker takes a message out of the list and keeps it in the hash; a queue that nobody has used is empty."""
    with redis_server.client() as client:
        client.flushall()
    await asyncio.to_thread(_fill, redis_server)
    async with Sinks() as make:
        sink = make(redis_server)
        assert await sink.queue_state("alarms") == QueueState(waiting=4, delayed=2, in_flight=1, dead=1)
        assert await sink.queue_state("other") == QueueState()


async def test_a_key_of_another_type_counts_nothing(redis_server: Redis) -> None:
    """The write finds that out, and says so."""
    with redis_server.client() as client:
        client.flushall()
        client.set("dramatiq:odd", "not a list")
    async with Sinks() as make:
        assert await make(redis_server).queue_state("odd") == QueueState()


async def test_a_user_who_may_not_ask_hears_so(new_redis: Callable[..., Redis]) -> None:
    """HLEN and ZCARD are for nothing else: without them the bridge works, and the queues are not known."""
    server = new_redis()
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "default", "-hlen")
        async with Sinks() as make:
            sink = make(server)
            with pytest.raises(PermissionError, match=r"need \+llen \+hlen \+zcard"):
                await sink.queue_state("alarms")
            client.execute_command("ACL", "SETUSER", "default", "+hlen")
            assert await sink.queue_state("alarms") == QueueState()
    await asyncio.to_thread(server.stop)
    async with Sinks() as make:
        with pytest.raises(SinkUnavailable):
            await make(server).queue_state("alarms")
