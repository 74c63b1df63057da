"""A batch is cut by the bytes that it becomes, and its rest follows; row by row, also when the rest meets a fault."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from bridge.delivery.poison import PoisonGuard
from bridge.delivery.policy import Delivery
from bridge.model.accounting import Counts
from bridge.model.batch import MAX_BATCH_BYTES, MAX_BATCH_DEAD_LETTERS, Batch, BatchSequence, Written
from bridge.model.event import Event, OnceByKey
from bridge.model.message import FREE_MESSAGE_BYTES, MAX_GROWTH
from tests.support.batches import Sinks
from tests.support.brokers import Redis
from tests.support.children import wait_until
from tests.support.feeds import PubsubFeed, StreamFeed
from tests.support.memory import MemoryAttempts, MemorySink, MemorySource, event, pipeline, until
from tests.support.processes import BridgeProcess, queue_messages
from tests.support.routing import event as routed_event
from tests.support.routing import router

#: Makes 60 KB of every event, 70 of which fill a batch.
GROWS: Final[list[dict[str, Any]]] = [{"actor": "record", "args": ["$payload.n", "y" * 60_000]}]
ODD: Final[list[dict[str, Any]]] = [{"actor": "record", "args": ["$payload.missing"]}]


def _large(n: int) -> Event:
    return routed_event("a/b", b'{"n": %d}' % n, token=n + 1)


def test_a_batch_ends_once_its_messages_fill_it() -> None:
    """At most 4 MiB, and what one event more makes; `Counts.received` says how many events that were."""
    batch = Batch([_large(n) for n in range(1000)])
    counts = router(GROWS).route(batch)
    assert MAX_BATCH_BYTES <= batch.size < MAX_BATCH_BYTES + 64_000
    assert counts == Counts(received=70, enqueued=70)
    assert [column.event_indexes for column in batch.queues.values()] == [list(range(70))]


def test_a_batch_ends_after_a_hundred_dead_letters() -> None:
    """A dead letter costs several times as much as a message: other sources do not wait for a thousand of them."""
    for routes, unmatched in ((ODD, "drop"), ([{"actor": "a", "topic": "x"}], "dead-letter")):
        batch = Batch([_large(n) for n in range(1000)])
        counts = router(routes, unmatched=unmatched).route(batch)
        assert counts == Counts(received=MAX_BATCH_DEAD_LETTERS, dead_lettered=MAX_BATCH_DEAD_LETTERS)
    batch = Batch([routed_event("a/b", b"x" * 300_000) for _ in range(1000)])
    assert router(ODD).route(batch).received == -(-MAX_BATCH_BYTES // 300_003)


def test_a_message_that_its_event_does_not_explain_is_a_dead_letter_and_the_next_event_flows() -> None:
    """A route that multiplies its input (`join` of a `split`) can't fill Redis."""
    routes = [{"actor": "record", "args": ["$join(payload.by, split(payload.n, ','))"]}]
    bomb = b'{"n": "%b", "by": "%b"}' % (b"," * 1000, b"x" * 1000)
    batch = Batch([routed_event("a/b", bomb), routed_event("a/b", b'{"n": "1,2", "by": ";"}')])
    counts = router(routes).route(batch)
    assert counts == Counts(received=2, enqueued=1, dead_lettered=1)
    ((index, letter),) = batch.dead_letters
    most = FREE_MESSAGE_BYTES + MAX_GROWTH * (len(bomb) + 3)
    assert (index, letter.reason) == (0, "too-large")
    assert f"of an event of {len(bomb) + 3} bytes a route makes {most} at most" in letter.detail


async def test_the_rest_of_a_full_batch_follows_in_order() -> None:
    """Each part is written, counted and acknowledged by itself, and no event is left out or comes twice."""
    source = MemorySource(redelivers=True)
    moved = pipeline(source, MemorySink(source), GROWS)
    task = asyncio.create_task(moved.run())
    await source.deliver(*(_large(n) for n in range(250)))
    await until(lambda: len(source.numbers("acknowledged")) == 250)
    await moved.stop(asyncio.get_running_loop().time() + 20)
    await task
    assert source.numbers("written") == source.numbers("acknowledged") == list(range(250))
    assert moved.counts == Counts(received=250, enqueued=250, messages=250)
    assert [kind for kind, n in source.log if n in (69, 70)] == ["written", "acknowledged", "written", "acknowledged"]


@pytest.mark.parametrize("redelivers", [True, False])
async def test_a_stop_finds_every_part_of_a_batch_that_is_not_written(redelivers: bool) -> None:
    """Also those that were not handed over: each event is returned or lost, and counted once."""
    source = MemorySource(redelivers=redelivers)
    sink = MemorySink(source)
    moved = pipeline(source, sink, GROWS)
    task = asyncio.create_task(moved.run())
    sink.away = True
    await source.deliver(
        *(routed_event("a/b", b'{"n": %d}' % n, token=n + 1 if redelivers else None) for n in range(250))
    )
    await until(lambda: sink.attempts)
    await moved.stop(asyncio.get_running_loop().time() + 0.2)
    await asyncio.wait_for(task, 60)
    assert source.log == []
    assert moved.counts == (Counts(received=250, returned=250) if redelivers else Counts(received=250, lost=250))


async def test_redelivered_events_are_cut_as_others_are() -> None:
    """With an event that is suspected too, which is routed by itself."""
    attempts = MemoryAttempts()
    guard = PoisonGuard("s", attempts, lambda one: 9 if b": 5}" in one.body else 0)
    source = [_large(n) for n in range(250)]
    for one in source[:100]:
        one.redelivered = True
    batch, total = Batch(source), Counts()
    sizes = []
    while batch.events:
        counts = await guard.route(batch, router(GROWS))
        total.add(counts)
        rest = batch.cut(counts.received)
        sizes.append(batch.size)
        batch = rest
    assert total == Counts(received=250, enqueued=250)
    assert max(sizes) < 2 * MAX_BATCH_BYTES
    assert attempts.counts == {}


def test_the_parts_of_a_batch_with_a_number_have_sequences_of_their_own() -> None:
    """Named by the place: after a crash only the very same part counts as written, and no other events pass for it."""
    whole = Batch([event(n) for n in range(10)], BatchSequence("one", last=7), number=7)
    rest = whole.cut(4)
    last = rest.cut(3)
    parts = [(part.sequence.name, part.number, len(part.events)) for part in (whole, rest, last)]
    assert parts == [("one:7<4", 1, 4), ("one:7>4:1<3", 1, 3), ("one:7>4:1>3", 1, 3)]
    other = Batch([event(n) for n in range(10)], BatchSequence("one", last=7), number=7)
    other.cut(5)
    assert other.sequence.name == "one:7<5"


async def test_parts_without_a_number_stay_in_their_sequence() -> None:
    """They are batches like any others."""
    whole = Batch([event(n) for n in range(10)])
    rest = whole.cut(4)
    assert rest.sequence is whole.sequence
    assert (whole.assign_number(), rest.assign_number()) == (1, 2)


def test_events_that_become_large_are_written_in_batches_of_4_mib(
    redis_server: Redis, new_redis: Callable[..., Redis], new_bridge: Callable[..., BridgeProcess]
) -> None:
    """400 entries of which a route makes 60 KB each: a Redis with 40 MB for them takes them, as its workers consume."""
    feed = StreamFeed(redis_server)
    feed.prepare()
    sink = new_redis({"maxmemory": "40mb", "maxmemory-policy": "noeviction"})
    bridge = new_bridge(feed.config(sink, GROWS[0])).ready()
    before = bridge.rss_bytes()
    feed.publish([{"n": n, "text": "x" * 2000} for n in range(400)])
    numbers: list[int] = []
    with sink.client() as client:
        while len(numbers) < 400:
            wait_until(lambda: client.llen("dramatiq:default"), 20, f"more than {len(numbers)} messages")
            ids: Any = client.lpop("dramatiq:default", 50)
            bodies: Any = client.hmget("dramatiq:default.msgs", ids)
            numbers += [json.loads(body)["args"][0] for body in bodies]
            client.hdel("dramatiq:default.msgs", *ids)
    assert numbers == list(range(400))
    assert bridge.rss_bytes() - before < 40 << 20
    assert not bridge.events("sink.unavailable")


def test_a_spooled_batch_that_becomes_large_is_written_in_parts_once(
    redis_server: Redis, new_redis: Callable[..., Redis], new_bridge: Callable[..., BridgeProcess], tmp_path: Path
) -> None:
    """Also where the bridge is killed between the parts: the next start writes only those that are missing."""
    feed = PubsubFeed(redis_server)
    sink = new_redis({"min-replicas-to-write": 1}, appendonly=True)
    bridge = new_bridge({**feed.config(sink, GROWS[0]), "spool": {"directory": str(tmp_path)}})
    bridge.wait_for("source.connected")
    feed.publish([{"n": n} for n in range(250)])
    wait_until(lambda: bridge.state().get("spooled") == 250, 20, "250 spooled events")
    bridge.kill()
    with sink.client() as client:
        client.config_set("min-replicas-to-write", 0)
        bridge.start()
        wait_until(lambda: client.llen("dramatiq:default"), 20, "the first part")
        bridge.kill()
        bridge.start()
        wait_until(lambda: client.llen("dramatiq:default") >= 250, 20, "every part")
        bridge.terminate()
        assert bridge.wait() == 0
        assert [message["args"][0] for message in queue_messages(client, "default")] == list(range(250))


def test_a_dead_letter_keeps_no_batch_alive() -> None:
    """Not until a collection, which comes late: an error kept in a variable keeps the frame of the router, and that the batch."""
    for routes, body in (
        ([{"actor": "record", "args": ["$payload.missing"]}], b"{}"),
        (
            [{"actor": "record", "args": ["$join(payload.by, split(payload.n, ','))"]}],
            b'{"n": "%b", "by": "%b"}' % (b"," * 999, b"x" * 999),
        ),
        (ODD, b"no JSON"),
    ):
        gc.collect()
        gc.disable()
        try:
            batch = Batch([routed_event("a/b", body)])
            events = batch.events
            assert router(routes).route(batch).dead_lettered == 1
            del batch
            assert sys.getrefcount(events) == 2
        finally:
            gc.enable()


def test_a_merged_batch_that_became_large_is_taken_apart_into_the_spooled_ones() -> None:
    """Each is written by its own number, which alone shows after a crash whether it was written; a large one is cut."""
    sequence = BatchSequence("one", last=9)
    merged = Batch([_large(n) for n in range(300)], sequence, number=9, merged=((7, 10), (8, 90), (9, 200)))
    delivery = Delivery(None, merged)
    routes = router(GROWS)
    parts = []
    for part in delivery.chain():
        while part.counts is None:
            part.set_routed(routes.route(part.batch))
        parts.append((part.batch.sequence.name, part.batch.number, part.counts.received))
    assert parts[:3] == [("one", 7, 10), ("one:8<70", 1, 70), ("one:8>70", 1, 20)]
    assert parts[3:] == [("one:9<70", 1, 70), ("one:9>70:1<70", 1, 70), ("one:9>70:1>70", 1, 60)]


async def test_a_queue_of_another_type_costs_its_batch_no_split(redis_server: Redis) -> None:
    """Its messages become dead letters at once, those for other queues are written, and no key is left for each event."""
    async with Sinks() as sinks:
        sink = sinks(redis_server)
        with redis_server.client() as client:
            client.flushall()
            client.set("dramatiq:odd", "not a list")
            client.set("dramatiq:odd2.msgs", "not a hash")
        routes = [
            {"actor": "a", "queue": "odd", "args": ["$payload.n"], "when": "payload.n % 2 == 1"},
            {"actor": "b", "queue": "default", "args": ["$payload.n"], "when": "payload.n % 3 == 0"},
            {"actor": "c", "queue": "odd2", "args": ["$payload.n"], "when": "payload.n == 6"},
        ]
        batch = Batch([_large(n) for n in range(600)])
        router(routes).route(batch)
        written = await sink.write(batch)
    assert (written.messages, written.refused, batch.halves) == (99, 301, None)
    with redis_server.client() as client:
        assert client.llen("dramatiq:default") == 99
        assert client.xlen("dramatiq-bridge:dead-letters") == 301
        assert len(client.keys("dramatiq-bridge:batch:*")) == 1


def test_a_batch_ends_once_routing_it_has_taken_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large bodies may take tens of milliseconds each: the other sources' turn comes between them."""
    monkeypatch.setattr("bridge.routing.router._MAX_ROUTING_S", 0.0)
    large = routed_event("a/b", b'{"n": 1, "text": "%b"}' % (b"x" * 5000))
    routes = router([{"actor": "record", "args": ["$payload.n"]}])
    batch = Batch([_large(0), _large(1), large, large, _large(2)])
    assert routes.route(batch).received == 1  # the topic is new, so the clock was asked
    assert routes.route(batch).received == 3
    assert routes.route(batch.cut(3)).received == 1
    assert routes.route(Batch([_large(n) for n in range(10)])).received == 10


async def test_a_numbered_batch_that_was_written_whole_is_not_written_again_in_parts(redis_server: Redis) -> None:
    """An earlier process, whose routes made less of it, has written it; also where its number is not the last one any more."""
    routes = router(GROWS)

    def batch(number: int) -> Batch:
        return Batch([_large(n) for n in range(200)], BatchSequence("cut", last=number), number=number)

    async with Sinks() as sinks:
        sink = sinks(redis_server)
        for number in (3, 4):
            whole = batch(number)
            router([{"actor": "record", "args": ["$payload.n"]}]).route(whole)
            assert (await sink.write(whole)).messages == 200
        for number in (3, 4, 5):
            messages = duplicates = 0
            for part in Delivery(None, batch(number)).chain():
                part.set_routed(routes.route(part.batch))
                written = await sink.write(part.batch)
                messages, duplicates = messages + written.messages, duplicates + written.duplicates
            assert (messages, duplicates) == ((200, 0) if number == 5 else (0, 200))
    with redis_server.client() as client:
        assert client.llen("dramatiq:default") == 600


async def test_the_result_of_a_merged_batch_fits_its_last_part(redis_server: Redis) -> None:
    """After a crash the last of the merged batches is replayed alone: its number's result is that of all of them."""
    once = OnceByKey("dup:", 60_000, "log")

    def events(start: int, stop: int) -> list[Event]:
        return [routed_event("a/b", b"{}", write_once=once, deduplication_key=b"%d" % n) for n in range(start, stop)]

    async with Sinks() as sinks:
        sink = sinks(redis_server)
        routes = router([{"actor": "record"}])
        first = Batch(events(0, 10), BatchSequence("other"))
        merged = Batch(events(5, 20), BatchSequence("one", last=6), number=6, merged=((5, 13), (6, 2)))
        for batch in (first, merged):
            routes.route(batch)
            await sink.write(batch)
        alone = Batch(events(18, 20), BatchSequence("one", last=6), number=6)
        routes.route(alone)
        written = await sink.write(alone)
    assert written.duplicates == 2
    assert len(set(written.duplicate_indexes)) == 2


async def test_each_part_that_is_written_is_progress() -> None:
    """A large batch over a narrow link takes longer than the watchdog waits, and moves all the time."""
    source = MemorySource(redelivers=True)
    sink = MemorySink(source)
    moved = pipeline(source, sink, GROWS)
    seen = set()
    write = sink.write

    async def noted(batch: Batch) -> Written:
        seen.add(moved.progress)
        return await write(batch)

    sink.write = noted  # type: ignore[method-assign]
    task = asyncio.create_task(moved.run())
    events = [_large(n) for n in range(250)]
    for one in events:
        one.redelivered = True
    await source.deliver(*events)
    await until(lambda: len(source.numbers("acknowledged")) == 250)
    await moved.stop(asyncio.get_running_loop().time() + 20)
    await task
    assert len(seen) == 4
