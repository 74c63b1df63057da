"""A pipeline and its successor: nothing is lost between them, nothing counted twice, and routes change between two batches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from bridge.delivery.pipeline import SourcePipeline
from bridge.model.accounting import Counts
from bridge.model.batch import Batch, Written
from bridge.spool import SpoolDirectory
from tests.support.batches import Sinks, numbers
from tests.support.brokers import Redis
from tests.support.memory import MemorySession, MemorySink, MemorySource, context, event, pipeline, until
from tests.support.routing import router

OLD: Final[list[dict[str, Any]]] = [{"actor": "old", "args": ["$payload.n"]}]
NEW: Final[list[dict[str, Any]]] = [{"actor": "new", "args": ["$payload.n"]}]
BOTH: Final = [{**OLD[0], "name": "one"}, {**OLD[0], "name": "two", "when": "payload.n == 2"}]


@asynccontextmanager
async def _running(*moved: SourcePipeline) -> AsyncIterator[None]:
    running = [asyncio.create_task(each.run()) for each in moved]
    try:
        yield
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _soon(seconds: float = 0.1) -> float:
    return asyncio.get_running_loop().time() + seconds


async def _taken(session: MemorySession) -> None:
    await until(lambda: not session.window.waiting)


class _Late(MemorySession):
    """Its broker confirms a pause late, after the events that it has sent before."""

    def __init__(self, source: MemorySource, events: int) -> None:
        super().__init__(source, events)
        self.pausing = asyncio.Event()

    async def pause(self) -> None:
        """Only ask: the test confirms it."""
        self.pausing.set()


class _LateSource(MemorySource):
    @asynccontextmanager
    async def connect(self) -> AsyncIterator[MemorySession]:
        """See MemorySource."""
        self.session = session = _Late(self, 1000)
        try:
            yield session
        finally:
            session.fail("the connection was closed")


class _Unanswered:
    """A sink that takes the first write, and whose answer to it never comes."""

    def __init__(self, sink: Any) -> None:
        self._sink = sink
        self.taken = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sink, name)

    async def write(self, batch: Batch) -> Written:
        """See Sink."""
        written: Written = await self._sink.write(batch)
        if not self.taken:
            self.taken, batch.written = True, None
            await asyncio.Event().wait()
        return written


async def _retire(moved: SourcePipeline, within_s: float = 0.1) -> None:
    await asyncio.wait_for(moved.retire(_soon(within_s)), 60)


async def test_routes_change_between_two_batches() -> None:
    """Batches that were received before are made by the old routes, also those that wait; all later ones by the new."""
    source = MemorySource(redelivers=True)
    sink = MemorySink(source)
    sink.away = True
    moved = pipeline(source, sink, OLD)
    async with _running(moved):
        for n in range(3):
            session = await source.deliver(event(n, n + 1))
            await _taken(session)
        moved.reroute(router(NEW))
        for n in range(3, 6):
            await source.deliver(event(n, n + 1))
        sink.away = False
        await until(lambda: len(source.numbers("acknowledged")) == 6)
    assert sink.calls == [(0, "old"), (1, "old"), (2, "old"), (3, "new"), (4, "new"), (5, "new")]


async def test_redelivered_events_keep_the_routes_by_which_they_were_received() -> None:
    """They are routed late, by the guard against poison: not by newer routes than the batch behind them."""
    source = MemorySource(redelivers=True)
    sink = MemorySink(source)
    moved = pipeline(source, sink, OLD)
    async with _running(moved):
        await source.deliver(event(0, 1))
        await until(lambda: source.numbers("acknowledged") == [0])
        sink.away = True
        again = event(1, 2)
        again.redelivered = True
        session = await source.deliver(event(9, 9))
        await _taken(session)
        await source.deliver(again)
        await _taken(session)
        moved.reroute(router(NEW))
        sink.away = False
        await until(lambda: len(source.numbers("acknowledged")) == 3)
    assert sink.calls == [(0, "old"), (9, "old"), (1, "old")]


@pytest.mark.parametrize("redelivers", [False, True])
async def test_a_source_that_restarts_finishes_its_events_first(redelivers: bool) -> None:
    """They are written and acknowledged by the old session, and the counts go on."""
    source = MemorySource(redelivers=redelivers)
    sink = MemorySink(source)
    first = pipeline(source, sink, OLD)
    second = pipeline(source, sink, NEW, before=first)
    async with _running(first):
        await source.deliver(*(event(n, n + 1 if redelivers else None) for n in range(100)))
        await _retire(first, 20)
    second.succeed(first)
    source.session = None
    async with _running(second):
        await source.deliver(event(100, 1 if redelivers else None))
        await until(lambda: len(source.numbers("acknowledged")) == 101)
        assert second.counts == Counts(received=101, enqueued=101, messages=101)
        assert second.state().accounting_error == 0
    assert [actor for _, actor in sink.calls] == ["old"] * 100 + ["new"]


async def test_what_nobody_redelivers_goes_to_the_successor() -> None:
    """The sink is away: events that are being written, that wait, and that nobody has taken yet are written by the successor."""
    source = MemorySource(redelivers=False)
    sink = MemorySink(source)
    sink.away = True
    first = pipeline(source, sink, OLD)
    second = pipeline(source, sink, NEW, before=first)
    async with _running(first):
        for n in range(3):
            session = await source.deliver(event(n))
            await _taken(session)
        await source.deliver(event(3), event(4))
        await _retire(first)
    second.succeed(first)
    assert (second.state().in_flight, second.state().accounting_error) == (5, 0)
    source.session = None
    async with _running(second):
        await source.deliver(event(5))
        sink.away = False
        await until(lambda: len(source.numbers("written")) == 6)
        await until(lambda: second.counts == Counts(received=6, enqueued=6, messages=6))
    assert sink.calls == [*((n, "old") for n in range(5)), (5, "new")]


async def test_what_its_broker_redelivers_is_returned() -> None:
    """The sink is away: the broker gives these events to the successor's session, so nothing is written twice."""
    source = MemorySource(redelivers=True)
    sink = MemorySink(source)
    sink.away = True
    first = pipeline(source, sink, OLD)
    second = pipeline(source, sink, NEW, before=first)
    async with _running(first):
        await source.deliver(*(event(n, n + 1) for n in range(5)))
        await until(lambda: sink.attempts)
        await _retire(first)
    second.succeed(first)
    assert second.counts == Counts(received=5, returned=5)
    source.session, sink.away = None, False
    async with _running(second):
        await source.deliver(*(event(n, n + 1) for n in range(5)))
        await until(lambda: len(source.numbers("acknowledged")) == 5)
    assert source.numbers("written") == [0, 1, 2, 3, 4]


async def test_a_stop_after_a_retirement_that_was_given_up_counts_what_is_left() -> None:
    """A stop during a reload wins: without a successor the events that nobody redelivers are lost, and said to be."""
    source = MemorySource(redelivers=False)
    sink = MemorySink(source)
    sink.away = True
    moved = pipeline(source, sink)
    async with _running(moved):
        await source.deliver(*(event(n) for n in range(5)))
        await until(lambda: sink.attempts)
        retiring = asyncio.create_task(moved.retire(_soon(60)))
        await asyncio.sleep(0.05)
        retiring.cancel()
        await asyncio.gather(retiring, return_exceptions=True)
        await asyncio.wait_for(moved.stop(_soon()), 60)
    assert moved.counts == Counts(received=5, lost=5)


@pytest.mark.parametrize("cut_short", [False, True])
async def test_the_spool_goes_to_the_successor(tmp_path: Path, cut_short: bool) -> None:
    """It stays open; each event in it is written once, in order, also where the one before was about to write a batch of it."""
    source = MemorySource(redelivers=False, window=10)
    sink = MemorySink(source)
    sink.away = True
    first = pipeline(source, sink, OLD)
    second = pipeline(source, sink, NEW, before=first)
    spools = SpoolDirectory(tmp_path, 1 << 20)
    assert await spools.own()
    await first.open_spool(spools)
    async with _running(first):
        for n in range(0, 50, 5):
            session = await source.deliver(*(event(each) for each in range(n, n + 5)))
            await until(lambda: not session.window.waiting)  # noqa: B023 - asked at once
        await until(lambda: (first.state().spooled or 0) >= 45)
        if cut_short:
            attempts = sink.attempts
            await until(lambda: sink.attempts > attempts + 1)
        await _retire(first)
        assert first.state().accounting_error == 0
    second.succeed(first)
    assert second.state().accounting_error == 0
    source.session = None
    async with _running(second):
        await source.deliver(event(50))
        sink.away = False
        await until(lambda: second.counts.enqueued == 51)
        assert (second.state().spooled, second.state().accounting_error) == (0, 0)
        await asyncio.wait_for(second.stop(_soon(20)), 60)
    assert source.numbers("written") == list(range(51))
    await spools.close()


async def test_a_paused_source_connects_only_once_it_is_resumed() -> None:
    """Its received events are finished and its connection closed; then it stays away, and comes back."""
    source = MemorySource(redelivers=True)
    moved = pipeline(source, MemorySink(source))
    async with _running(moved):
        await source.deliver(*(event(n, n + 1) for n in range(10)))
        await asyncio.wait_for(moved.pause(), 60)
        await until(lambda: source.session is not None and source.session.ended)
        assert source.numbers("acknowledged") == list(range(10))
        assert (moved.state().connected, moved.state().paused, moved.has_pending_work) == (False, True, False)
        source.session = None
        await asyncio.sleep(0.1)
        assert source.session is None
        moved.resume()
        await source.deliver(event(10, 11))
        await until(lambda: len(source.numbers("acknowledged")) == 11)
        await asyncio.wait_for(moved.stop(_soon(20)), 60)
        assert moved.drained


async def test_a_stop_of_a_paused_source_ends() -> None:
    """There is no connection to wait for."""
    source = MemorySource(redelivers=True)
    moved = pipeline(source, MemorySink(source))
    moved.paused = True
    running = asyncio.create_task(moved.run())
    await moved.wait_connected()  # nobody waits for a paused one
    assert source.session is None
    await asyncio.wait_for(moved.stop(_soon(60)), 60)
    await asyncio.wait_for(running, 60)


async def test_a_pause_and_a_resume_at_once_leave_it_connected() -> None:
    """Also where the paused session is not finished yet."""
    source = MemorySource(redelivers=True)
    sink = MemorySink(source)
    sink.away = True
    moved = pipeline(source, sink)
    async with _running(moved):
        session = await source.deliver(event(0, 1))
        await until(lambda: sink.attempts)
        await asyncio.wait_for(moved.pause(), 60)
        moved.resume()
        sink.away = False
        await until(lambda: source.session is not session)
        await source.deliver(event(1, 2))
        await until(lambda: source.numbers("acknowledged") == [0, 1])


async def test_a_paused_route_holds_its_source() -> None:
    """Batches before the first one with a message of it are written; it and all later ones wait, and none is lost."""
    source = MemorySource(redelivers=True)
    sink = MemorySink(source)
    into = context(sink)
    moved = pipeline(source, into, BOTH)
    into.pauses.set({"two"})
    async with _running(moved):
        for n in range(5):
            await _taken(await source.deliver(event(n, n + 1)))
        await until(lambda: into.pauses.holds("s"))
        assert source.numbers("written") == [0, 1]
        assert not moved.has_pending_work
        into.pauses.set(())
        await until(lambda: len(source.numbers("acknowledged")) == 5)
    assert source.numbers("written") == [0, 1, 2, 3, 4]
    assert len(sink.calls) == 6


@pytest.mark.parametrize("redelivers", [True, False])
async def test_a_stop_does_not_wait_for_a_paused_route(redelivers: bool) -> None:
    """The broker keeps the events that are held; those that it does not keep are written, since they would be lost."""
    source = MemorySource(redelivers=redelivers)
    sink = MemorySink(source)
    into = context(sink)
    moved = pipeline(source, into, BOTH)
    into.pauses.set({"two"})
    async with _running(moved):
        for n in range(5):
            await _taken(await source.deliver(event(n, n + 1 if redelivers else None)))
        await until(lambda: into.pauses.holds("s"))
        await asyncio.wait_for(moved.stop(_soon(3600)), 60)
    if redelivers:
        assert source.numbers("acknowledged") == [0, 1]
        assert moved.counts == Counts(received=5, enqueued=2, messages=2, returned=3)
    else:
        assert moved.counts == Counts(received=5, enqueued=5, messages=6)


async def test_a_stop_spools_what_a_paused_route_holds(tmp_path: Path) -> None:
    """With a spool nothing of an at-most-once source is lost, and nothing is written that a person has paused."""
    source = MemorySource(redelivers=False)
    sink = MemorySink(source)
    into = context(sink)
    moved = pipeline(source, into, BOTH)
    spools = SpoolDirectory(tmp_path, 1 << 20)
    assert await spools.own()
    await moved.open_spool(spools)
    into.pauses.set({"two"})
    async with _running(moved):
        for n in range(5):
            await _taken(await source.deliver(event(n)))
        await until(lambda: into.pauses.holds("s"))
        await asyncio.wait_for(moved.stop(_soon(3600)), 60)
    assert source.numbers("written") == [0, 1]
    assert moved.state().spooled == 3
    assert moved.counts == Counts(received=5, enqueued=2, messages=2)
    await spools.close()


async def test_a_stop_does_not_wait_for_room_in_a_spool_that_a_paused_route_fills(tmp_path: Path) -> None:
    """There will be none: the events beyond it are lost, and counted."""
    source = MemorySource(redelivers=False)
    sink = MemorySink(source)
    into = context(sink)
    moved = pipeline(source, into, BOTH)
    spools = SpoolDirectory(tmp_path, 100)
    assert await spools.own()
    await moved.open_spool(spools)
    sink.away = True
    async with _running(moved):
        await source.deliver(event(2))
        await until(lambda: moved.state().spooled == 1)  # there is room for one
        into.pauses.set({"two"})
        await until(lambda: into.pauses.holds("s"))  # not before the sink is back: a write that has begun is not held
        sink.away = False
        await source.deliver(event(3))
        await asyncio.wait_for(moved.stop(_soon(3600)), 60)
    assert moved.counts == Counts(received=2, lost=1)
    assert moved.state().spooled == 1
    await spools.close()


async def test_a_restart_does_not_wait_for_a_paused_route() -> None:
    """What it holds goes to the successor, where it still holds."""
    source = MemorySource(redelivers=False)
    sink = MemorySink(source)
    into = context(sink)
    first = pipeline(source, into, BOTH)
    second = pipeline(source, into, BOTH, before=first)
    into.pauses.set({"two"})
    async with _running(first):
        for n in range(5):
            await _taken(await source.deliver(event(n)))
        await until(lambda: into.pauses.holds("s"))
        await asyncio.wait_for(first.retire(_soon(3600)), 60)
    second.succeed(first)
    source.session = None
    async with _running(second):
        await until(lambda: into.pauses.holds("s"))
        assert source.numbers("written") == [0, 1]
        into.pauses.set(())
        await until(lambda: second.counts == Counts(received=5, enqueued=5, messages=6))
    assert source.numbers("written") == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("replayed", [False, True])
async def test_a_restart_receives_what_was_sent_before_though_a_route_is_paused(tmp_path: Path, replayed: bool) -> None:
    """The spool takes what the route holds, so that there is room; the end of the session is waited for."""
    source = _LateSource(redelivers=False)
    sink = MemorySink(source)
    into = context(sink)
    first = pipeline(source, into, BOTH)
    second = pipeline(source, into, BOTH, before=first)
    spools = SpoolDirectory(tmp_path, 1 << 20)
    assert await spools.own()
    await first.open_spool(spools)
    sink.away = replayed
    async with _running(first):
        if replayed:
            session = await source.deliver(event(2))
            await until(lambda: first.state().spooled == 1)
        into.pauses.set({"two"})
        if not replayed:
            session = await source.deliver(event(2))
        await until(lambda: into.pauses.holds("s"))  # not before the sink is back: a write that has begun is not held
        sink.away = False
        retiring = asyncio.create_task(first.retire(_soon(60)))
        assert isinstance(session, _Late)
        await session.pausing.wait()
        await asyncio.sleep(0.1)
        session.window.put([event(3), event(4)])
        session.window.close()
        await asyncio.wait_for(retiring, 60)
    second.succeed(first)
    assert second.counts.received == 3
    assert second.state().accounting_error == 0
    into.pauses.set(())
    source.session = None
    async with _running(second):
        await until(lambda: second.counts == Counts(received=3, enqueued=3, messages=4))
    assert source.numbers("written") == [2, 3, 4]
    await spools.close()


async def test_a_write_without_an_answer_is_not_repeated_by_the_successor(redis_server: Redis, tmp_path: Path) -> None:
    """Its batch goes to the spool, and others behind it; it keeps its number, by which Redis knows it."""
    source = MemorySource(redelivers=False)
    async with Sinks() as make:
        sink: Any = _Unanswered(make(redis_server))
        first = pipeline(source, context(sink), OLD)
        second = pipeline(source, context(sink), OLD, before=first)
        spools = SpoolDirectory(tmp_path, 1 << 20)
        assert await spools.own()
        await first.open_spool(spools)
        async with _running(first):
            session = await source.deliver(event(0))
            await until(lambda: sink.taken)
            for n in range(1, 3):
                await source.deliver(event(n))
                await _taken(session)
            await _retire(first, 20)
            assert first.state().spooled == 3
        second.succeed(first)
        source.session = None
        async with _running(second):
            await until(lambda: second.counts == Counts(received=3, enqueued=3, messages=3))
        with redis_server.client() as client:
            assert numbers(client) == [0, 1, 2]
        await spools.close()
