"""The memory that the bridge itself takes in Dramatiq's Redis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis

from bridge.model.event import OncePerRoute
from tests.support.batches import Entry, Sinks, batch_of, event, large_batch, message
from tests.support.brokers import Redis
from tests.support.children import wait_until

_EVENTS = 5_000


def _used_bytes(client: redis.Redis) -> int:
    client.eval("collectgarbage()", 0)  # Redis 8 counts Lua's heap too, with the arguments of the last scripts
    info: Any = client.info("memory")
    return int(info["used_memory"])


def _heap_bytes(client: redis.Redis) -> int:
    count: Any = client.eval("return collectgarbage('count')", 0)
    return int(count) * 1024


async def test_a_deduplication_key_takes_about_200_bytes_in_redis(new_redis: Callable[..., Redis]) -> None:
    """It takes so much at the length of a UUID, with its expiry and its share of Redis's tables."""
    server = new_redis()  # the shared one frees at any moment what an earlier test left in it
    once = OncePerRoute("signups:", 86_400_000)
    with server.client() as client:
        async with Sinks() as make:
            sink = make(server)
            await sink.write(batch_of([Entry(event(), [message()])]))  # loads the script, makes the batches' key
            before = _used_bytes(client)
            for first in range(0, _EVENTS, 500):
                entries = [
                    Entry(event(once, deduplication_key=b"%036d" % n), [message(n)]) for n in range(first, first + 500)
                ]
                made = batch_of(entries)
                made.column("default").routes += ["send_welcome_email"] * len(entries)
                await sink.write(made)
            client.delete("dramatiq:default", "dramatiq:default.msgs")
            # Redis gives back the buffers of connections a little later.
            wait_until(lambda: 100 < (_used_bytes(client) - before) / _EVENTS < 300, 10, "100 to 300 bytes a key")


async def test_a_large_batch_leaves_a_larger_heap_of_other_scripts_alone(new_redis: Callable[..., Redis]) -> None:
    """Lua collects all of its heap or nothing, which takes the longer the larger it is: a batch pays for its own part alone."""
    server = new_redis()
    with server.client() as client:
        async with Sinks() as make:
            sink = make(server)
            client.eval("collectgarbage('stop')", 0)
            await sink.write(large_batch(events=8))
            assert _heap_bytes(client) < 1 << 20  # the arguments are half of the heap, and gone
            client.eval("local kept = {} for i = 1, 8 do kept[i] = string.rep(tostring(i), 2 ^ 20) end", 0)
            before = _heap_bytes(client)
            assert before > 8 << 20
            await sink.write(large_batch(events=8, first=8))
            assert _heap_bytes(client) > before
