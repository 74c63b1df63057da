"""Backpressure in floods: Redis is never full, so that Dramatiq's workers can acknowledge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import redis

from tests.support.batches import Sinks, large_batch
from tests.support.brokers import RabbitMQ, Redis
from tests.support.children import wait_until
from tests.support.feeds import AmqpFeed
from tests.support.processes import Bridges, Worker


def test_workers_can_acknowledge_in_a_flood(
    new_redis: Callable[..., Redis], rabbitmq: RabbitMQ, either_bridge: Bridges, new_worker: Callable[..., Worker]
) -> None:
    """A flood of twice Redis's memory: the bridge stops before it is full, workers drain it, all arrives, Redis refuses nothing."""
    sink = new_redis({"maxmemory": "32mb", "maxmemory-policy": "noeviction"})
    flood = AmqpFeed(rabbitmq)
    flood.prepare()
    config = flood.config(sink, {"options": {"filler": "$payload.text"}})
    config["dramatiq"]["max_memory"] = "80%"
    bridge = either_bridge(config).ready()
    flood.publish([{"n": n, "text": "x" * 20_000} for n in range(3200)])
    line = bridge.wait_for("sink.pressure")
    assert line["source"] == "feed"
    assert line["limit"] == (32 << 20) * 80 // 100 <= line["memory"]
    with sink.client() as client:
        assert _refused(client) == 0
        worker = new_worker(sink.url)
        calls = worker.wait_for(3200, 60)
        assert Counter(call["args"][0] for call in calls) == Counter(range(3200))
        wait_until(lambda: client.hlen("dramatiq:default.msgs") == 0, 10, "an empty queue")
        assert _refused(client) == 0
    assert bridge.wait_for("sink.pressure_ended")["memory"] < line["limit"]
    assert bridge.events("sink.unavailable") == []


def _refused(client: redis.Redis) -> int:
    """How often Redis has refused a command for its memory."""
    stats: Any = client.info("errorstats")
    return int(stats.get("errorstat_OOM", {"count": 0})["count"])


def test_a_flood_from_many_sources_exceeds_the_share_by_one_batch(
    new_redis: Callable[..., Redis], rabbitmq: RabbitMQ, new_bridge: Bridges, new_worker: Callable[..., Worker]
) -> None:
    """Eight sources flood Redis at once: they stop before it is full, workers drain it, all arrives, Redis refuses nothing."""
    sink = new_redis({"maxmemory": "32mb", "maxmemory-policy": "noeviction"})
    feeds = [AmqpFeed(rabbitmq) for _ in range(8)]
    for first, feed in enumerate(feeds):
        feed.prepare()
        feed.publish([{"n": first * 400 + n, "text": "x" * 20_000} for n in range(400)])
    config = feeds[0].config(sink)
    config["sources"] = {feed.name: feed.source for feed in feeds}
    config["routes"] = [
        {"from": feed.name, "actor": "record", "args": ["$payload.n"], "options": {"filler": "$payload.text"}}
        for feed in feeds
    ]
    config["dramatiq"]["max_memory"] = "80%"
    bridge = new_bridge(config).ready()
    bridge.wait_for("sink.pressure")
    with sink.client() as client:
        calls = new_worker(sink.url).wait_for(3200, 60)
        assert Counter(call["args"][0] for call in calls) == Counter(range(3200))
        assert _refused(client) == 0
    assert bridge.events("sink.unavailable") == []


async def test_a_large_batch_leaves_no_garbage_in_redis(new_redis: Callable[..., Redis]) -> None:
    """Redis's memory grows by the messages alone: Redis 8 counts Lua's heap too, where the script's arguments would stay."""
    server = new_redis()
    with server.client() as client:
        async with Sinks() as make:
            sink = make(server)
            for first in range(0, 192, 64):
                await sink.write(large_batch(first=first))
        info: Any = client.info("memory")
        assert info["used_memory_lua"] < 1 << 20
