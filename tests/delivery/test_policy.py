"""The core's policies, each by itself: write, spill, stale, full spool, stop, mixed batch, hanging disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from bridge.delivery.pipeline import SourcePipeline
from bridge.model.accounting import Counts
from bridge.spool import Spool, SpoolDirectory
from tests.support.memory import MemorySession, MemorySink, MemorySource, event, pipeline, until

ONCE, REDELIVERED = False, True


@asynccontextmanager
async def _running(moved: SourcePipeline) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(moved.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _taken(session: MemorySession) -> None:
    """Wait until the pipeline has taken everything that was delivered: what is delivered next is a batch of its own."""
    await until(lambda: not session.window.waiting)


async def _stop(moved: SourcePipeline, within_s: float = 0.2) -> None:
    await asyncio.wait_for(moved.stop(asyncio.get_running_loop().time() + within_s), 60)


async def _spool(moved: SourcePipeline, path: Path, max_bytes: int = 1 << 20) -> SpoolDirectory:
    spools = SpoolDirectory(path, max_bytes)
    assert await spools.own()
    await moved.open_spool(spools)
    return spools


def _spooled_bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*.spool"))


def _events(numbers: range, source: MemorySource) -> list[Any]:
    return [event(n, n + 1 if source.redelivers else None) for n in numbers]


@pytest.mark.parametrize("redelivers", [ONCE, REDELIVERED])
async def test_an_event_is_acknowledged_only_after_its_message_is_written(redelivers: bool) -> None:
    """Batch by batch, in the order received; and a stop finds nothing unfinished."""
    source = MemorySource(redelivers=redelivers)
    moved = pipeline(source, MemorySink(source))
    async with _running(moved):
        await source.deliver(*_events(range(3), source))
        await until(lambda: source.numbers("acknowledged") == [0, 1, 2])
        await source.deliver(*_events(range(3, 5), source))
        await until(lambda: source.numbers("acknowledged") == [0, 1, 2, 3, 4])
        await _stop(moved, within_s=20)
    assert source.log == [
        (kind, n) for batch in ((0, 1, 2), (3, 4)) for kind in ("written", "acknowledged") for n in batch
    ]
    assert moved.counts == Counts(received=5, enqueued=5, messages=5)
    assert moved.drained


@pytest.mark.parametrize("redelivers", [ONCE, REDELIVERED])
async def test_while_the_sink_is_away_the_spool_takes_over_and_the_order_stays(
    redelivers: bool, tmp_path: Path
) -> None:
    """Spooled events are acknowledged at once, and counted only once they are replayed."""
    source = MemorySource(redelivers=redelivers, window=2)
    sink = MemorySink(source)
    moved = pipeline(source, sink)
    spools = await _spool(moved, tmp_path)
    async with _running(moved):
        sink.away = True
        for start in (0, 2, 4):
            await source.deliver(*_events(range(start, start + 2), source))
            await until(lambda start=start: source.numbers("acknowledged") == list(range(start + 2)))  # type: ignore[misc]
        assert source.numbers("written") == []
        assert (moved.counts, moved.state().spooled, moved.state().in_flight) == (Counts(received=6), 6, 0)
        sink.away = False
        await until(lambda: moved.counts.settled == 6)
        assert source.numbers("written") == list(range(6))
        assert moved.counts == Counts(received=6, enqueued=6, messages=6)
        await _stop(moved, within_s=20)
    await spools.close()


async def test_a_stale_batch_is_returned() -> None:
    """Its session has ended and the broker redelivers it: it is not written, not acknowledged, and counted as returned."""
    source = MemorySource(redelivers=REDELIVERED)
    sink = MemorySink(source)
    moved = pipeline(source, sink)
    async with _running(moved):
        sink.away = True
        session = await source.deliver(*_events(range(3), source))
        await until(lambda: sink.attempts)
        session.fail("gone")
        await until(lambda: source.session is not session)
        sink.away = False
        await until(lambda: moved.counts.returned == 3)
        await source.deliver(*_events(range(3), source))
        await until(lambda: source.numbers("acknowledged") == [0, 1, 2])
        await _stop(moved, within_s=20)
    assert source.numbers("written") == [0, 1, 2]
    assert moved.counts == Counts(received=6, enqueued=3, messages=3, returned=3)


async def test_a_mixed_batch_whose_session_has_ended_is_written() -> None:
    """An event of it comes only once: returning the batch would lose it, so the others may come twice."""
    source = MemorySource(redelivers=REDELIVERED)
    sink = MemorySink(source)
    moved = pipeline(source, sink)
    async with _running(moved):
        sink.away = True
        session = await source.deliver(event(0, token=1), event(1))
        await until(lambda: sink.attempts)
        session.fail("gone")
        sink.away = False
        await until(lambda: source.numbers("written") == [0, 1])
        await _stop(moved, within_s=20)
    assert source.numbers("acknowledged") == []
    assert moved.counts == Counts(received=2, enqueued=2, messages=2)


async def test_a_full_spool_loses_events_that_come_once_and_frees_the_window(tmp_path: Path) -> None:
    """The newest are lost, each of them counted; a lost event is acknowledged, so that reading goes on."""
    source = MemorySource(redelivers=ONCE)
    sink = MemorySink(source)
    moved = pipeline(source, sink)
    spools = await _spool(moved, tmp_path, max_bytes=100)
    async with _running(moved):
        sink.away = True
        await source.deliver(event(0))
        await until(lambda: source.numbers("acknowledged") == [0])  # there is room for one
        session = await source.deliver(*(event(n) for n in range(1, 9)))
        await until(lambda: moved.counts.lost == 8)
        await until(lambda: session.held == 0)
        sink.away = False
        await until(lambda: source.numbers("written") == [0])
        await _stop(moved, within_s=20)
    assert moved.counts == Counts(received=9, enqueued=1, messages=1, lost=8)
    await spools.close()


async def test_a_full_spool_leaves_events_with_a_broker_that_redelivers_them(tmp_path: Path) -> None:
    """They are not acknowledged and not lost; once there is room again they are written."""
    source = MemorySource(redelivers=REDELIVERED, window=2)
    sink = MemorySink(source)
    moved = pipeline(source, sink)
    spools = await _spool(moved, tmp_path, max_bytes=150)
    async with _running(moved):
        sink.away = True
        await source.deliver(*_events(range(2), source))
        await until(lambda: source.numbers("acknowledged") == [0, 1])
        session = await source.deliver(*_events(range(2, 4), source))
        await asyncio.sleep(0.3)
        assert source.numbers("acknowledged") == [0, 1]
        assert session.held == 2
        sink.away = False
        await until(lambda: source.numbers("acknowledged") == [0, 1, 2, 3])
        assert source.numbers("written") == [0, 1, 2, 3]
        await _stop(moved, within_s=20)
    assert moved.counts == Counts(received=4, enqueued=4, messages=4)
    await spools.close()


@pytest.mark.parametrize(
    ("redelivers", "counts"), [(REDELIVERED, Counts(received=9, returned=9)), (ONCE, Counts(received=9, lost=9))]
)
async def test_a_stop_without_a_spool_returns_or_loses_unwritten_events(redelivers: bool, counts: Counts) -> None:
    """None is acknowledged: the broker redelivers those that it can, the others are counted as lost."""
    source = MemorySource(redelivers=redelivers)
    sink = MemorySink(source)
    moved = pipeline(source, sink)
    async with _running(moved) as task:
        sink.away = True
        # Three batches: one is being written, one waits for its turn, one was not handed over.
        for start in (0, 3, 6):
            await _taken(await source.deliver(*_events(range(start, start + 3), source)))
        await _stop(moved)
        await asyncio.wait_for(task, 60)
    assert source.log == []
    assert moved.counts == counts
    assert not moved.drained


async def test_a_stop_without_a_spool_decides_a_mixed_batch_per_event() -> None:
    """Of MQTT's QoS 1 events none is acknowledged, and they are returned; those of QoS 0 are lost."""
    source = MemorySource(redelivers=REDELIVERED)
    sink = MemorySink(source)
    moved = pipeline(source, sink)
    async with _running(moved):
        sink.away = True
        await source.deliver(event(0, token=1), event(1), event(2, token=2), event(3), event(4))
        await until(lambda: sink.attempts)
        await _stop(moved)
    assert source.log == []
    assert moved.counts == Counts(received=5, returned=2, lost=3)


async def test_a_stop_with_a_spool_keeps_a_mixed_batch_for_the_next_start(tmp_path: Path) -> None:
    """An event of it comes only once: so all of it is spooled, and the next start replays it."""
    source = MemorySource(redelivers=REDELIVERED)
    sink = MemorySink(source)
    moved = pipeline(source, sink)
    spools = await _spool(moved, tmp_path)
    async with _running(moved):
        sink.away = True
        await source.deliver(event(0, token=1), event(1))
        await until(lambda: sink.attempts)
        await _stop(moved)
    assert (moved.counts, moved.state().spooled, moved.state().in_flight) == (Counts(received=2), 2, 0)
    await spools.close()
    sink.away = False
    following = pipeline(source, sink)
    spools = await _spool(following, tmp_path)
    async with _running(following):
        await until(lambda: following.counts.enqueued == 2)
        await _stop(following, within_s=20)
    await spools.close()
    assert source.numbers("written") == [0, 1]
    assert following.counts == Counts(recovered=2, enqueued=2, messages=2)


async def test_a_stop_with_a_spool_leaves_with_the_broker_what_it_redelivers(tmp_path: Path) -> None:
    """Nothing that a broker keeps goes to the disk at a stop."""
    source = MemorySource(redelivers=REDELIVERED)
    sink = MemorySink(source)
    moved = pipeline(source, sink)
    spools = await _spool(moved, tmp_path)
    async with _running(moved):
        sink.away = True
        await source.deliver(*_events(range(3), source))
        await until(lambda: sink.attempts)
        await _stop(moved)
    await spools.close()
    assert source.log == []
    assert moved.counts == Counts(received=3, returned=3)
    assert not _spooled_bytes(tmp_path)


class _HangingSpool:
    """A disk that takes an append and never confirms it."""

    holds = False
    events = 0

    async def append(self, *_: object, **__: object) -> None:
        await asyncio.Event().wait()

    async def replay(self) -> AsyncIterator[object]:
        await asyncio.Event().wait()
        yield None


@pytest.mark.parametrize(
    ("token", "counts"), [(None, Counts(received=12, lost=12)), (1, Counts(received=12, returned=4, lost=8))]
)
async def test_a_stop_does_not_wait_for_a_disk_that_hangs(token: int | None, counts: Counts) -> None:
    """Everything without a confirmed append is counted: as returned where the broker redelivers it, otherwise as lost.

    So are events that the session still held.
    """
    source = MemorySource(redelivers=token is not None)
    sink = MemorySink(source)
    moved = pipeline(source, sink)
    moved._policy.spool = cast("Spool", _HangingSpool())
    async with _running(moved) as task:
        sink.away = True
        for start in (0, 3, 6):
            await _taken(await source.deliver(event(start, token), event(start + 1), event(start + 2)))
        await source.deliver(event(9, token), event(10), event(11))
        await _stop(moved)
        await asyncio.wait_for(task, 60)
    assert source.log == []
    assert moved.counts == counts


@pytest.mark.parametrize("redelivers", [ONCE, REDELIVERED])
async def test_events_of_a_session_that_ended_before_they_were_routed_are_counted(redelivers: bool) -> None:
    """Events without a token that a cancelled session still held are lost, each of them, whatever their source does."""
    source = MemorySource(redelivers=redelivers)
    sink = MemorySink(source)
    moved = pipeline(source, sink)
    async with _running(moved):
        sink.away = True
        for start in (0, 2, 4):
            await _taken(await source.deliver(*(event(n) for n in range(start, start + 2))))
        await source.deliver(event(6), event(7))
        await _stop(moved)
    assert moved.counts == Counts(received=8, lost=8)


async def test_a_pipeline_whose_process_failed_still_accounts_for_its_events() -> None:
    """A failing task cancels the pipeline without a stop: the stop that follows counts the unfinished events once."""
    source = MemorySource(redelivers=ONCE)
    sink = MemorySink(source)
    moved = pipeline(source, sink)
    async with _running(moved) as task:
        sink.away = True
        await source.deliver(*_events(range(3), source))
        await until(lambda: sink.attempts)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await _stop(moved, within_s=0)
        await _stop(moved, within_s=0)
    assert moved.counts == Counts(received=3, lost=3)


async def test_a_stop_before_the_start_starts_nothing() -> None:
    """A pipeline that was stopped before it ran does not connect."""
    source = MemorySource(redelivers=REDELIVERED)
    moved = pipeline(source, MemorySink(source))
    await _stop(moved)
    await asyncio.wait_for(moved.run(), 60)
    assert source.session is None


async def test_an_event_whose_body_was_skipped_is_spooled_like_any_other(tmp_path: Path) -> None:
    """It becomes a dead letter with its true size, and the events of its record are as they were."""
    source = MemorySource(redelivers=ONCE)
    sink = MemorySink(source)
    moved = pipeline(source, sink)
    spools = await _spool(moved, tmp_path)
    async with _running(moved):
        sink.away = True
        large = event(2)
        large.skip(5_000_000)
        await source.deliver(event(0), event(1), large, event(3))
        await until(lambda: source.numbers("acknowledged") == [0, 1, 2, 3])
        sink.away = False
        await until(lambda: moved.counts.settled == 4)
        await _stop(moved, within_s=20)
    assert moved.counts == Counts(received=4, enqueued=3, messages=3, dead_lettered=1)
    await spools.close()
