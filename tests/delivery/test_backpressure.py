"""Backpressure: sources pause while a queue or Redis is full, lose nothing, and go on."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Self

import pytest
import redis
import structlog

from bridge.config import Dramatiq
from bridge.delivery import backpressure
from bridge.delivery.backpressure import Backpressure
from bridge.model.batch import Written
from bridge.observe.logs import RepeatedLog
from bridge.sink import RedisSink
from bridge.sink.health import SinkHealth
from tests.support.batches import Sinks, batch
from tests.support.brokers import RabbitMQ, Redis
from tests.support.children import wait_until
from tests.support.feeds import AmqpFeed, StreamFeed
from tests.support.processes import Bridges, Worker, assert_queue_empty


@asynccontextmanager
async def pressing(
    server: Redis, *, processes: int = 1, **settings: Any
) -> AsyncIterator[tuple[Backpressure, RedisSink]]:
    """Run a Backpressure with these settings of `dramatiq:`, and give it with its sink."""
    async with Sinks() as make:
        sink = make(server, **settings)
        config = Dramatiq.model_validate({"url": server.url, **settings})
        pressure = Backpressure(config, sink, SinkHealth(), processes=processes)
        task = asyncio.create_task(pressure.run())
        try:
            yield pressure, sink
        finally:
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()


async def admitted(waiting: asyncio.Task[None]) -> None:
    """Wait until a source may write."""
    await asyncio.wait_for(asyncio.shield(waiting), 60)


async def admits_at_once(pressure: Backpressure) -> bool:
    """Ask for a source of its own whether it may write without a wait."""
    waiting = ask(pressure, "at-once", "default")
    await asyncio.sleep(0)
    at_once = waiting.done()
    waiting.cancel()
    return at_once


async def shut(pressure: Backpressure) -> None:
    """Wait until nobody may write any more."""
    while True:
        if not await admits_at_once(pressure):
            return
        await asyncio.sleep(0.05)


async def held(waiting: asyncio.Task[None], for_s: float = 1.2) -> None:
    """Check that a source may not write, in more than two looks."""
    await asyncio.sleep(for_s)
    assert not waiting.done()


def ask(pressure: Backpressure, source: str, *queues: str) -> asyncio.Task[None]:
    """Ask for a source whether it may write."""
    return asyncio.create_task(pressure.admit(source, queues))


def fill(client: redis.Redis, queue: str, count: int) -> None:
    """Make a queue so long."""
    client.delete(f"dramatiq:{queue}")
    if count:
        client.rpush(f"dramatiq:{queue}", *range(count))


async def test_a_full_queue_opens_at_four_fifths(redis_server: Redis) -> None:
    """Shut from the bound on, it stays shut until workers have taken a fifth of it; other queues are not concerned."""
    async with pressing(redis_server, max_queue_depth=10) as (pressure, sink):
        with redis_server.client() as client:
            await pressure.admit("s", ["default"])
            pressure.written(await sink.write(batch(*range(9))))
            assert await admits_at_once(pressure)
            pressure.written(await sink.write(batch(9, 10)))
            waiting = ask(pressure, "s", "default", "other")
            await admitted(ask(pressure, "t", "other"))
            fill(client, "default", 9)
            await held(waiting)
            fill(client, "default", 8)
            await admitted(waiting)


async def test_a_queue_at_its_bound_fills_no_log(redis_server: Redis) -> None:
    """Full, open and full again within the minute: two lines, and one when it is over, which tells how the queue is then."""
    with structlog.testing.capture_logs() as lines:
        async with pressing(redis_server, max_queue_depth=10) as (pressure, _):
            with redis_server.client() as client:
                for _ in range(2):
                    fill(client, "default", 10)
                    pressure.written(Written(0, 0, lengths={"default": 10}))
                    waiting = ask(pressure, "s", "default")
                    await held(waiting)
                    fill(client, "default", 0)
                    await admitted(waiting)
                RepeatedLog.flush_all()
    lines = [line for line in lines if line["event"].startswith("sink.")]  # other tests may have left lines
    assert [line["event"] for line in lines] == ["sink.pressure", "sink.pressure_ended", "sink.pressure_ended"]
    assert (lines[2]["source"], lines[2]["queue"]) == ("s", "default")
    assert lines[2]["repeated"] >= 1


async def test_a_queue_that_is_full_at_the_start_is_not_written_to(redis_server: Redis) -> None:
    """A bridge that crashes and starts again and again adds nothing to a queue that is full; one that is almost full has room."""
    with redis_server.client() as client:
        fill(client, "default", 10)
        fill(client, "almost", 9)
        async with pressing(redis_server, max_queue_depth=10) as (pressure, _):
            await admitted(ask(pressure, "s", "almost"))
            waiting = ask(pressure, "s", "default")
            await held(waiting)
            client.delete("dramatiq:default")
            await admitted(waiting)


async def test_each_queue_has_its_own_bound(redis_server: Redis) -> None:
    """`*` bounds the queues that are not named, without it they have none; delayed messages are counted by themselves."""
    with redis_server.client() as client:
        for queue in ("alarms", "alarms.DQ", "other", "other.DQ"):
            fill(client, queue, 20)
        fill(client, "fine", 4)
        for depths, shut in (
            ({"alarms": 10}, {"alarms", "alarms.DQ"}),
            ({"alarms": 10, "*": 15}, {"alarms", "alarms.DQ", "other", "other.DQ"}),
            ({"alarms": 30, "*": 10, "other": 5}, {"other", "other.DQ"}),
            (None, set()),
        ):
            async with pressing(redis_server, max_queue_depth=depths) as (pressure, _):
                queues = ("alarms", "alarms.DQ", "other", "other.DQ", "fine")
                asked = {queue: ask(pressure, queue, queue) for queue in queues}
                for queue in set(queues) - shut:
                    await admitted(asked[queue])
                assert {queue for queue, waiting in asked.items() if not waiting.done()} == shut
                for waiting in asked.values():
                    waiting.cancel()


async def test_without_bounds_nothing_is_asked(redis_server: Redis) -> None:
    """Without `max_queue_depth` and `max_memory` no event waits, and Redis gets no question."""
    with redis_server.client() as client:
        client.config_resetstat()
        async with pressing(redis_server, max_memory=None) as (pressure, sink):
            for _ in range(3):
                await pressure.admit("s", ["default"])
                pressure.written(await sink.write(batch(1, 2)))
        stats: Any = client.info("commandstats")
        assert {"cmdstat_llen", "cmdstat_info"}.isdisjoint(stats)


async def test_a_key_that_is_no_list_is_not_waited_for(redis_server: Redis) -> None:
    """The write finds it, and makes a dead letter of each event: waiting would stop the others too."""
    with redis_server.client() as client:
        client.set("dramatiq:default", "x")
    async with pressing(redis_server, max_queue_depth=10) as (pressure, _):
        await admitted(ask(pressure, "s", "default"))


async def test_a_source_that_is_stopped_waits_no_more(redis_server: Redis) -> None:
    """Cancelled while it waits, a source leaves nothing behind, and the others go on waiting; then Redis is left in peace."""
    with redis_server.client() as client:
        fill(client, "default", 10)
        async with pressing(redis_server, max_queue_depth=10) as (pressure, _):
            one, other = ask(pressure, "one", "default"), ask(pressure, "other", "default")
            await held(one, 0.3)
            one.cancel()
            await asyncio.wait([one])
            assert one.cancelled()
            await held(other)
            other.cancel()
            await asyncio.sleep(0.6)
            client.config_resetstat()
            await asyncio.sleep(0.7)
            stats: Any = client.info("commandstats")
            assert "cmdstat_llen" not in stats
            client.delete("dramatiq:default")
            await admitted(ask(pressure, "one", "default"))


async def test_redis_may_go_away_meanwhile(new_redis: Callable[..., Redis]) -> None:
    """What waits while Redis is away waits on, and goes on soon after Redis is back and has room."""
    server = new_redis()
    with server.client() as client:
        fill(client, "default", 10)
    async with pressing(server, max_queue_depth=10) as (pressure, _):
        waiting = ask(pressure, "s", "default")
        await held(waiting, 0.3)
        await asyncio.to_thread(server.stop)
        await held(waiting)
        await asyncio.to_thread(server.start)  # empty: it keeps nothing
        await admitted(waiting)


@contextmanager
def bounded(server: Redis, most: int, policy: str = "noeviction") -> Iterator[redis.Redis]:
    """Give the shared Redis a `maxmemory`, in bytes, and take it away again."""
    with server.client() as client:
        client.config_set("maxmemory-policy", policy)
        client.config_set("maxmemory", most)
        try:
            yield client
        finally:
            client.config_set("maxmemory", 0)
            client.config_set("maxmemory-policy", "noeviction")


def take(client: redis.Redis, share: float) -> None:
    """Bring Redis to this share of its `maxmemory`."""
    client.flushall()
    while True:
        info: Any = client.info("memory")
        missing = int(info["maxmemory"] * share - info["used_memory"])
        if missing <= 0:
            return
        client.rpush("other", b"x" * min(missing, 1 << 18))


async def test_before_redis_is_full_every_source_pauses(redis_server: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the share of `maxmemory` everybody waits, dead letters too; five points below it everybody goes on at once."""
    monkeypatch.setattr(backpressure, "_STEADY_S", 1000.0)
    with bounded(redis_server, 64 << 20) as client:
        async with pressing(redis_server, max_memory="80%") as (pressure, _):
            await admitted(ask(pressure, "s", "default"))
            take(client, 0.82)
            await shut(pressure)
            asked = [ask(pressure, "s", "default"), ask(pressure, "t")]
            for waiting in asked:
                await held(waiting, 0.3)
            take(client, 0.6)
            for waiting in asked:
                await admitted(waiting)


async def test_memory_that_stays_just_below_the_share_is_enough_in_the_end(redis_server: Redis) -> None:
    """What else is in this Redis may keep it from falling five points: after 5 s below the share sources go on all the same."""
    with bounded(redis_server, 64 << 20) as client:
        take(client, 0.82)
        async with pressing(redis_server, max_memory="80%") as (pressure, _):
            waiting = ask(pressure, "s", "default")
            await held(waiting, 0.3)
            take(client, 0.77)
            await held(waiting, 2)
            await admitted(waiting)


async def test_a_redis_that_evicts_is_never_full(redis_server: Redis) -> None:
    """A cache is always full, and yet takes writes; nor is a Redis without `maxmemory`."""
    with bounded(redis_server, 64 << 20, "allkeys-lru") as client:
        take(client, 0.82)
        async with pressing(redis_server, max_memory="80%") as (pressure, _):
            await admitted(ask(pressure, "s", "default"))
        client.config_set("maxmemory", 0)
        async with pressing(redis_server, max_memory="1%") as (pressure, _):
            await admitted(ask(pressure, "s", "default"))


async def test_memory_is_looked_at_before_it_can_be_full(redis_server: Redis) -> None:
    """Writes count against what was free: a flood between two looks is held, whatever its speed, and only if need be."""
    with bounded(redis_server, 64 << 20) as client:
        async with pressing(redis_server, max_memory="80%") as (pressure, _):
            await pressure.admit("s", ["default"])
            pressure.written(Written(1, 0, size=20 << 20))
            await admitted(ask(pressure, "s", "default"))
            await asyncio.to_thread(take, client, 0.82)
            pressure.written(Written(1, 0, size=20 << 20))
            await held(ask(pressure, "s", "default"), 0.1)


async def test_several_processes_share_the_memory_that_is_free(redis_server: Redis) -> None:
    """Between two checks each takes its part of it, so that together they do not exceed it."""
    with bounded(redis_server, 64 << 20):
        for processes, at_once in ((1, True), (4, False)):
            async with pressing(redis_server, processes=processes, max_memory="80%") as (pressure, _):
                await admitted(ask(pressure, "s", "default"))
                pressure.written(Written(1, 0, size=5 << 20))
                assert await admits_at_once(pressure) is at_once


def test_what_the_user_may_not_ask_is_said(
    new_redis: Callable[..., Redis], stream: StreamFeed, new_bridge: Bridges
) -> None:
    """Without the right to INFO there is no bound of memory, said once; without LLEN a bounded queue waits until it is granted."""
    sink = new_redis(
        {
            "user bridge": "on >secret ~dramatiq* -@all +ping +eval +evalsha +type +get +set +hset +rpush +xadd +hmget +hincrby +hdel +expire"
        }
    )
    config = stream.config(sink)
    config["dramatiq"] |= {"username": "bridge", "password": "secret", "max_memory": "1%"}
    bridge = new_bridge(config).ready()
    stream.publish([{"n": n} for n in range(10)])
    with sink.client() as client:
        wait_until(lambda: client.llen("dramatiq:default") == 10, 20, "the messages")
        assert "INFO" in bridge.wait_for("sink.memory_unknown", level="warning")["cause"].upper()
        config["dramatiq"]["max_queue_depth"] = 20
        bridge.configure(config)
        bridge.restart()
        stream.publish([{"n": n} for n in range(10, 20)])
        assert "NOPERM" in bridge.wait_for("sink.unavailable")["cause"]
        assert client.llen("dramatiq:default") == 10
        client.execute_command("ACL", "SETUSER", "bridge", "+llen")
        bridge.wait_for("sink.recovered")
        wait_until(lambda: client.llen("dramatiq:default") == 20, 20, "the others")
    assert len(bridge.events("sink.memory_unknown")) == 1


class Depths(threading.Thread):
    """Watches how long a queue is while the body of a `with` runs; `most` is the longest."""

    def __init__(self, server: Redis, queue: str) -> None:
        super().__init__(daemon=True)
        self.most = 0
        self._server = server
        self._key = f"dramatiq:{queue}"
        self._end = threading.Event()

    def run(self) -> None:
        """See Thread."""
        with self._server.client() as client:
            while not self._end.wait(0.005):
                length: Any = client.llen(self._key)
                self.most = max(self.most, length)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self.join(10)


def test_a_source_pauses_at_a_queues_length_exceeded_by_one_batch_at_most(
    redis_server: Redis, rabbitmq: RabbitMQ, either_bridge: Bridges, new_worker: Callable[..., Worker]
) -> None:
    """A queue never exceeds its bound by more than a batch; who feeds it waits, others go on; workers drain it and all arrives."""
    orders, audit = AmqpFeed(rabbitmq), StreamFeed(redis_server)
    for feed in (orders, audit):
        feed.prepare()
    config = orders.config(redis_server, {"from": "orders", "queue": "bounded"})
    config["sources"] = {"orders": orders.source, "audit": audit.source}
    config["routes"].append({"from": "audit", "actor": "record", "args": ["$payload.n"], "queue": "other"})
    config["dramatiq"]["max_queue_depth"] = {"bounded": 500}
    bridge = either_bridge(config).ready()
    with redis_server.client() as client, Depths(redis_server, "bounded") as depths:
        orders.publish([{"n": n} for n in range(3000)])
        line = bridge.wait_for("sink.pressure")
        assert (line["source"], line["queue"], line["limit"], line["level"]) == ("orders", "bounded", 500, "warning")
        assert line["depth"] >= 500
        audit.publish([{"n": n} for n in range(2000)])
        wait_until(lambda: client.llen("dramatiq:other") == 2000, 20, "the other source's messages")
        before = client.llen("dramatiq:bounded")
        worker = new_worker(redis_server.url, ["bounded"], threads=8)
        calls = worker.wait_for(3000, 60)
        assert Counter(call["args"][0] for call in calls) == Counter(range(3000))
        wait_until(lambda: client.hlen("dramatiq:bounded.msgs") == 0, 10, "an empty queue")
        assert_queue_empty(client, "bounded")
        assert before == line["depth"], "nothing was written while it was full"
    assert 500 <= depths.most <= 1500
    assert bridge.wait_for("sink.pressure_ended")["depth"] <= 400
    assert {line["source"] for line in bridge.events("sink.pressure")} == {"orders"}
    assert len(bridge.events("sink.pressure")) <= 10


def test_a_connection_that_ends_meanwhile_makes_no_duplicates(
    redis_server: Redis, rabbitmq: RabbitMQ, either_bridge: Bridges, new_worker: Callable[..., Worker]
) -> None:
    """Events that the broker delivers again while their first delivery waits for room are written once."""
    feed = AmqpFeed(rabbitmq)
    feed.prepare()
    config = feed.config(redis_server)
    config["dramatiq"]["max_queue_depth"] = 100
    bridge = either_bridge(config).ready()
    feed.publish([{"n": n} for n in range(2000)])
    bridge.wait_for("sink.pressure")
    with redis_server.client() as client:
        written: Any = client.llen("dramatiq:default")
    wait_until(lambda: feed.unacknowledged() == 2000 - written, what="the broker has read what was acknowledged")
    rabbitmq.ctl("close_all_connections", "for a test")
    calls = new_worker(redis_server.url).wait_for(2000, 60)
    bridge.terminate()
    assert bridge.wait() == 0
    assert Counter(call["args"][0] for call in calls) == Counter(range(2000))
    assert bridge.wait_for("bridge.stopped")["messages"] == 2000


def test_a_bridge_that_waits_can_be_stopped(redis_server: Redis, rabbitmq: RabbitMQ, either_bridge: Bridges) -> None:
    """SIGTERM while a queue is full ends within the drain's deadline; what was not written is the broker's again, all of it."""
    feed = AmqpFeed(rabbitmq)
    feed.prepare()
    config = feed.config(redis_server)
    config["dramatiq"]["max_queue_depth"] = 100
    config["drain_timeout"] = "1s"
    bridge = either_bridge(config).ready()
    feed.publish([{"n": n} for n in range(2000)])
    bridge.wait_for("sink.pressure")
    bridge.terminate()
    assert bridge.wait() == 0
    with redis_server.client() as client:
        written: Any = client.llen("dramatiq:default")
        assert 100 <= written <= 1100
        wait_until(lambda: feed.unacknowledged() == 2000 - written, 20, "the rest at the broker")
        client.delete("dramatiq:default", "dramatiq:default.msgs")
        config["dramatiq"]["max_queue_depth"] = None
        bridge.configure(config)
        bridge.start().ready()
        wait_until(lambda: client.llen("dramatiq:default") == 2000 - written, 20, "the rest")
