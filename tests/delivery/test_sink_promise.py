"""What Redis takes from the promise is said at the start and when it changes; ready only where that can be."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from bridge.delivery import sink_promise
from bridge.delivery.sink_promise import SinkPromise
from bridge.model.batch import DeadLetter
from bridge.sink.memory import Evicts, Memory
from tests.support.batches import DEAD, Entry, Sinks, answer, batch_of, event
from tests.support.brokers import Redis
from tests.support.children import wait_until
from tests.support.feeds import PubsubFeed, StreamFeed
from tests.support.memory import MemorySink, MemorySource
from tests.support.processes import Bridges

NewRedis = Callable[..., Redis]


def evicting(new_redis: NewRedis, policy: str, maxmemory: str = "64mb") -> Redis:
    """Start a Redis with this policy."""
    return new_redis({"maxmemory": maxmemory, "maxmemory-policy": policy})


@pytest.mark.parametrize(("policy", "processes"), [("allkeys-lru", 1), ("allkeys-lfu", 1), ("allkeys-random", 2)])
def test_a_sink_that_evicts_messages_is_not_ready(
    policy: str, processes: int, redis_server: Redis, new_redis: NewRedis, new_bridge: Bridges
) -> None:
    """An error at the start says what to do; the bridge is ready once it was done."""
    sink = evicting(new_redis, policy)
    config = {**PubsubFeed(redis_server).config(sink), "processes": processes}
    bridge = new_bridge(config)
    said = bridge.wait_for("sink.evicts")
    assert (said["level"], said["policy"]) == ("error", policy)
    not_ready = bridge.wait_for("bridge.not_ready")
    assert f"deletes messages when it is full (maxmemory-policy {policy}): set noeviction there" in not_ready["cause"]
    bridge.wait_for("source.connected")
    assert not bridge.events("bridge.ready")
    with sink.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
    bridge.wait_for("bridge.ready")
    bridge.wait_for("sink.evicts_nothing")


def test_a_cache_may_be_wanted(redis_server: Redis, new_redis: NewRedis, new_bridge: Bridges) -> None:
    """With `allow_eviction: true` the bridge is ready, and says it all the same."""
    sink = evicting(new_redis, "allkeys-lru")
    config = PubsubFeed(redis_server).config(sink)
    config["dramatiq"]["allow_eviction"] = True
    bridge = new_bridge(config).ready()
    assert bridge.wait_for("sink.evicts")["level"] == "error"
    assert not bridge.events("bridge.not_ready")


def test_a_change_of_the_policy_is_said(redis_server: Redis, new_redis: NewRedis, new_bridge: Bridges) -> None:
    """The bridge that was ready is not any more, and becomes ready again."""
    sink = evicting(new_redis, "noeviction")
    bridge = new_bridge(PubsubFeed(redis_server).config(sink)).ready()
    assert not bridge.events("sink.evicts")
    with sink.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        bridge.wait_for("sink.evicts")
        bridge.wait_for("bridge.not_ready")
        client.config_set("maxmemory-policy", "noeviction")
    bridge.wait_for("bridge.ready", times=2)


@pytest.mark.parametrize("policy", ["volatile-lru", "volatile-ttl"])
def test_a_redis_that_evicts_only_keys_that_expire_is_guarded(
    policy: str, redis_server: Redis, new_redis: NewRedis, new_bridge: Bridges
) -> None:
    """Queues never expire: it refuses writes when they have filled it. Sources pause before that, and workers can write."""
    sink = evicting(new_redis, policy, "32mb")
    feed = StreamFeed(redis_server)
    bridge = new_bridge(feed.config(sink, {"args": ["$payload"]})).ready()
    said = bridge.wait_for("sink.evicts")
    assert said["level"] == "warning"
    assert "may be written again" in said["cause"]
    feed.publish([{"n": n, "text": "x" * 3_000} for n in range(12_000)])
    bridge.wait_for("sink.pressure")
    with sink.client() as client:

        def share() -> float:
            info: Any = client.info("memory")
            return float(info["used_memory"] / info["maxmemory"])

        assert 0.8 < share() < 1
        answer(client.zadd("a-workers-key", {"x": 1}))


def test_a_redis_that_keeps_nothing_is_said(redis_server: Redis, new_redis: NewRedis, new_bridge: Bridges) -> None:
    """Without an append-only file its end is a loss; with one there is nothing to say."""
    lines = []
    for kept in (False, True):
        bridge = new_bridge(PubsubFeed(redis_server).config(new_redis(appendonly=kept))).ready()
        bridge.terminate()
        assert bridge.wait() == 0
        lines.append([line["cause"] for line in bridge.events("sink.not_durable")])
    assert [len(causes) for causes in lines] == [1, 0]
    assert "appendonly no" in lines[0][0]


@pytest.mark.parametrize("max_memory", ["null", "90%"])
@pytest.mark.parametrize("refusal", ["renamed", "not permitted"])
def test_a_redis_that_shows_no_memory_is_written_to(
    refusal: str, max_memory: str, redis_server: Redis, new_redis: NewRedis, new_bridge: Bridges
) -> None:
    """Where INFO is refused the bridge is ready all the same, and says once what it can't know."""
    rights = "on >secret ~dramatiq* -@all +ping +eval +evalsha +type +get +set +hset +rpush +xadd +hmget +hincrby +hdel +expire"
    sink = new_redis({"rename-command": 'INFO ""'} if refusal == "renamed" else {f"user bridge {rights}": ""})
    feed = PubsubFeed(redis_server)
    config = feed.config(sink)
    config["dramatiq"]["max_memory"] = None if max_memory == "null" else max_memory
    if refusal != "renamed":
        config["dramatiq"] |= {"username": "bridge", "password": "secret"}
    bridge = new_bridge(config).ready()
    said = bridge.wait_for("sink.memory_unknown")
    assert "how full it is, whether it evicts, and whether it keeps anything on a disk is not known" in said["cause"]
    feed.publish([{"n": n} for n in range(5)])
    with sink.client() as client:
        wait_until(lambda: answer(client.llen("dramatiq:default")) == 5, 20, "the messages")
    assert len(bridge.events("sink.memory_unknown")) == 1


async def test_dead_letters_go_where_redis_shows_no_memory(new_redis: NewRedis) -> None:
    """INFO is refused: dead letters beyond `max_age` go by themselves all the same."""
    server = new_redis({"rename-command": 'INFO ""'})
    async with Sinks() as make:
        sink = make(server, dead_letters={"max_age": "1m"})
        await sink.write(batch_of([Entry(event(), [], [DeadLetter(event(), "decode", "x")])]))
        with server.client() as client:
            _, letters, size = answer(client.hget(f"{DEAD}:books", "1")).split()
            client.hset(f"{DEAD}:books", "1", b"%d-0 %b %b" % ((time.time() - 62) * 1000, letters, size))
            promise = SinkPromise(sink, evicting_allowed=False, max_size=64 << 20, first=True)
            running = asyncio.create_task(promise.run())
            await asyncio.to_thread(wait_until, lambda: not client.exists(DEAD), 20, "no dead letters")
            running.cancel()


async def test_a_policy_that_was_seen_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis that evicts messages, and then refuses INFO, makes nobody ready."""
    monkeypatch.setattr(sink_promise, "_SOON_S", 0.01)
    sink = MemorySink(MemorySource(redelivers=True))
    shown: list[Memory | Exception] = [Memory(1, 0, "allkeys-lru", Evicts.MESSAGES), PermissionError("NOPERM")]

    async def memory() -> Memory:
        answered = shown.pop(0) if len(shown) > 1 else shown[0]
        if isinstance(answered, Exception):
            raise answered
        return answered

    monkeypatch.setattr(sink, "memory", memory)
    promise = SinkPromise(sink, evicting_allowed=False, max_size=64 << 20, first=True)
    running = asyncio.create_task(promise.run())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(promise.wait_tolerable(), 0.2)
    assert "allkeys-lru" in promise.unready
    running.cancel()


def test_a_bound_of_the_dead_letters_that_maxmemory_makes_smaller_is_said_once(
    new_redis: NewRedis, new_bridge: Bridges
) -> None:
    """A tenth of `maxmemory` is less than `max_size`: the line has both, and the remedy; more memory is no news."""
    sink = new_redis({"maxmemory": "40mb"})
    feed = StreamFeed(new_redis())
    bridge = new_bridge(feed.config(sink)).ready()
    said = bridge.wait_for("dead_letters.bounded")
    assert (said["max_size"], said["effective"]) == (64 << 20, 4 << 20)
    assert "raise maxmemory, or set max_size to this or less" in said["cause"]
    config = feed.config(sink)
    config["dead_letters"] = {"max_size": "4MiB"}
    small = new_bridge(config).ready()
    small.state()
    assert small.events("dead_letters.bounded") == []
    assert len(bridge.events("dead_letters.bounded")) == 1


def test_garbage_of_one_publisher_pauses_no_source(new_redis: NewRedis, new_bridge: Bridges) -> None:
    """850 dead letters of 255 KiB meet a `maxmemory` of 200 MB: the oldest go, counted and said, and good events flow."""
    sink, elsewhere = new_redis({"maxmemory": "200mb"}), new_redis()
    garbage, good = StreamFeed(elsewhere), StreamFeed(elsewhere)
    for feed in (garbage, good):
        feed.prepare()
    config = garbage.config(sink)
    config["sources"]["good"] = good.source
    config["routes"].append({"from": "good", "actor": "record", "args": ["$payload.n"]})
    bridge = new_bridge(config).ready()
    with elsewhere.client() as source, sink.client() as client:
        for n in range(850):
            source.xadd(garbage.name, {"data": b"x" * (255 << 10)})
            if n % 10 == 0:
                good.publish([{"n": n}])
        wait_until(lambda: bridge.state()["dead_lettered"] == 850, 60, "every dead letter")
        wait_until(lambda: answer(client.llen("dramatiq:default")) == 85, 20, "the good events")
        assert answer(client.info("memory"))["used_memory"] < 60 << 20
        kept = answer(client.xlen("dramatiq-bridge:dead-letters"))
    assert bridge.state()["trimmed"] == 850 - kept > 700
    assert bridge.wait_for("dead_letters.trimmed")["bound"] == "max_size"
    assert bridge.events("sink.pressure") == []
