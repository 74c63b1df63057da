"""The identity: at every moment the events that came are those with a class, those in flight and those in the spool."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from pathlib import Path

import pytest

from bridge.delivery import pipeline as pipeline_module
from bridge.delivery.pipeline import SourcePipeline
from bridge.errors import SinkUnavailable
from bridge.model.accounting import Counts
from bridge.model.batch import Batch, Written
from bridge.spool import SpoolDirectory
from tests.support.memory import MemorySink, MemorySource, event, pipeline, until

ROUTES = [
    {"name": "even", "actor": "record", "args": ["$payload.n"], "when": "payload.n % 2 == 0"},
    {"name": "third", "actor": "log", "args": ["$payload.n"], "when": "payload.n % 3 == 0"},
    {"name": "fifth", "actor": "log", "args": ["$payload.missing"], "when": "payload.n % 5 == 0"},
]


class _Capricious(MemorySink):
    """Goes away, takes half a batch, finds duplicates, and takes its time."""

    def __init__(self, source: MemorySource, rng: random.Random) -> None:
        super().__init__(source)
        self._rng = rng

    async def write(self, batch: Batch) -> Written:
        await asyncio.sleep(self._rng.choice((0, 0, 0.001, 0.005)))
        if self.away or self._rng.random() < 0.1:
            raise SinkUnavailable("away")
        if batch.written is None and len(batch.events) > 1 and self._rng.random() < 0.2:
            batch.halves = batch.halves or batch.split()
            for part in batch.unsplit_parts():
                await self._take(part)
                if self._rng.random() < 0.3:
                    raise SinkUnavailable("away")
            batch.written = Written(0)
        return await self._take(batch)

    async def _take(self, part: Batch) -> Written:
        if part.written is None:
            again = [index for index in range(len(part.events)) if self._rng.random() < 0.05]
            part.written = Written(1, len(again), duplicate_indexes=again)
        return part.written


async def _watch(moved: SourcePipeline) -> None:
    while True:
        assert moved.state().accounting_error == 0
        await asyncio.sleep(0)


async def _live(rng: random.Random, source: MemorySource, sink: MemorySink, moved: SourcePipeline, first: int) -> int:
    """Let a pipeline run, with events and faults at random, and end somehow; return how many events came."""
    running = asyncio.create_task(moved.run())
    watching = asyncio.create_task(_watch(moved))
    sent = 0
    for _ in range(rng.randrange(5, 25)):
        step = rng.random()
        if step < 0.6:
            # A source connects again once its batches are handed over.
            sink.away &= source.session is not None
            many = rng.choice((1, 2, 7, 60))
            tokens = [rng.choice((None, 1)) if source.redelivers else None for _ in range(many)]
            await source.deliver(*(event(first + sent + n, tokens[n]) for n in range(many)))
            sent += many
        elif step < 0.7 and source.session is not None:
            source.session.fail("the test ends it")
            source.session = None
        elif step < 0.85:
            sink.away = not sink.away
        await asyncio.sleep(rng.choice((0, 0, 0.002, 0.01)))
    if rng.random() < 0.7:
        sink.away = rng.random() < 0.5
    await moved.stop(asyncio.get_running_loop().time() + rng.choice((0, 0.05, 0.3)))
    await running
    assert not watching.done(), watching.exception()
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
    return sent


@pytest.mark.parametrize("spooling", [False, True], ids=["no spool", "spool"])
@pytest.mark.parametrize("redelivers", [False, True], ids=["once", "redelivers"])
@pytest.mark.parametrize("seed", range(12))
async def test_the_events_that_came_are_accounted_for_at_every_moment(
    seed: int, redelivers: bool, spooling: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through disconnections, outages, half-written batches, stops that are cut short, and a second start with the spool."""
    # A busy disk is no fault here: what it has not confirmed at a stop counts as returned, and may come from it too.
    monkeypatch.setattr(pipeline_module, "_DISK_S", 60.0)
    monkeypatch.setattr(pipeline_module, "_LATE_S", 60.0)
    rng = random.Random(seed)
    left = 0
    for life in range(2):
        source = MemorySource(redelivers=redelivers, window=100)
        sink = _Capricious(source, rng)
        moved = pipeline(source, sink, ROUTES)
        spools = SpoolDirectory(tmp_path, 1 << 20) if spooling else None
        if spools is not None:
            assert await spools.own()
            await moved.open_spool(spools)
        assert moved.counts.recovered == left
        sent = await _live(rng, source, sink, moved, first=1000 * life)
        state = moved.state()
        assert state.counts.received == sent
        assert (state.accounting_error, state.in_flight) == (0, 0)
        left = state.spooled or 0
        if spools is not None:
            await spools.close()


async def test_events_in_flight_are_seen_where_they_are() -> None:
    """Three in the hands of the sink, two behind them, four more in the window of a session."""
    source = MemorySource(redelivers=True)
    sink = MemorySink(source)
    sink.away = True
    moved = pipeline(source, sink)
    running = asyncio.create_task(moved.run())
    for count in (3, 2, 1, 3):
        session = await source.deliver(*(event(n, 1) for n in range(count)))
        await until(lambda session=session: session.waiting == 0 or moved.state().in_flight > 5)  # type: ignore[misc]
    assert (moved.state().in_flight, moved.state().perishable, moved.state().held) == (9, 0, 9)
    assert moved.counts == Counts(received=9)
    await moved.stop(asyncio.get_running_loop().time())
    await running
    assert moved.counts == Counts(received=9, returned=9)


async def test_a_connection_that_ends_while_its_events_wait_is_seen_at_once() -> None:
    """The pipeline connects again only once the batch is handed over; whoever looks in sees the loss, and its cause, before."""
    source = MemorySource(redelivers=True)
    sink = MemorySink(source)
    sink.away = True
    moved = pipeline(source, sink)
    running = asyncio.create_task(moved.run())
    for count in (3, 2, 1):
        session = await source.deliver(*(event(n, 1) for n in range(count)))
        await until(lambda session=session: session.waiting == 0)  # type: ignore[misc]
    assert moved.state().connected
    session.fail("the broker has died")
    state = moved.state()
    assert (state.connected, state.cause) == (False, "the broker has died")
    assert state.idle_s is not None
    await moved.stop(asyncio.get_running_loop().time())
    await running
