"""The end of a pipeline where something goes wrong in it: each event is still counted once, and the stop has an end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import structlog

from bridge.config import Mqtt
from bridge.delivery.pipeline import SourcePipeline
from bridge.delivery.policy import Delivery
from bridge.model.accounting import Counts, Outcome
from bridge.model.batch import Batch, Written
from bridge.model.event import Event
from tests.support.memory import MemorySession, MemorySink, MemorySource, event, pipeline, until
from tests.support.routing import router


def _soon(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


async def _start_and_hold(
    source: MemorySource, *events: Event
) -> tuple[SourcePipeline, asyncio.Task[None], MemorySession]:
    """Run a pipeline whose sink is away; return it, and the session that has brought `events`, once it tries to write."""
    sink = MemorySink(source)
    sink.away = True
    moved = pipeline(source, sink)
    running = asyncio.create_task(moved.run())
    session = await source.deliver(*events)
    await until(lambda: sink.attempts)
    return moved, running, session


class _SlowToClose(MemorySource):
    """Closing takes half a second, and a cancellation ends it before the session has failed."""

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[MemorySession]:
        self.session = session = MemorySession(self, 400)
        yield session
        await asyncio.sleep(0.5)
        session.fail("the connection was closed")


async def test_events_that_come_again_are_not_lost_where_closing_is_cut_short() -> None:
    """A session that could not be closed still holds events: those that the broker redelivers are counted then."""
    source = _SlowToClose(redelivers=True)
    moved, running, _ = await _start_and_hold(source, *(event(n, n + 1) for n in range(400)))
    await moved.stop(_soon(0.1))
    await running
    assert moved.counts.lost == 0
    assert moved.counts.returned == moved.counts.received > 0


async def test_a_stop_ends_also_if_a_pause_swallows_its_cancellation() -> None:
    """A library may swallow the one cancellation of a timeout: the steps after it have timeouts of their own."""
    moved, running, session = await _start_and_hold(MemorySource(redelivers=True), event(1, 1))

    async def pause() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    session.pause = pause  # type: ignore[method-assign]
    await asyncio.wait_for(moved.stop(_soon(0.1)), 60)
    await running
    assert moved.counts == Counts(received=1, returned=1)


async def test_two_stops_at_once_count_each_event_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after the failure of another source: its stop goes on while the process stops everything once more."""
    moved, running, _ = await _start_and_hold(MemorySource(redelivers=False), event(1))

    async def slowly(_delivery: Delivery) -> Outcome:
        await asyncio.sleep(0.2)
        return Outcome.LOST

    monkeypatch.setattr(moved._policy, "spill_at_stop", slowly)
    await asyncio.gather(moved.stop(_soon(0)), moved.stop(_soon(0)))
    await running
    assert moved.counts == Counts(received=1, lost=1)


async def test_a_write_is_counted_by_the_word_of_its_sink(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sink returns what it has written; it need not note that in the batch as well."""
    source = MemorySource(redelivers=True)
    sink = MemorySink(source)

    async def write(batch: Batch) -> Written:
        return Written(len(batch.events), duplicates=0)

    monkeypatch.setattr(sink, "write", write)
    moved = pipeline(source, sink)
    running = asyncio.create_task(moved.run())
    await source.deliver(event(1, 1))
    await until(lambda: moved.progress)
    await moved.stop(_soon(20))
    await running
    assert moved.counts == Counts(received=1, enqueued=1, messages=1)


async def test_the_lines_of_an_orphaned_session_have_a_name_of_its_own() -> None:
    """So that nobody takes its connection for that of the source."""
    source = MemorySource(redelivers=True)
    like: Any = pipeline(source, MemorySink(source))
    config = Mqtt.model_validate({"type": "mqtt", "url": "mqtt://h"})
    moved = SourcePipeline("s (bridge-1)", source, config, router(), like._context)
    with structlog.testing.capture_logs() as lines:
        running = asyncio.create_task(moved.run())
        await moved.wait_connected()
        moved.log_state()
        await moved.stop(_soon(20))
        await running
    assert [(line["event"], line["source"]) for line in lines] == [
        ("source.connected", "s (bridge-1)"),
        ("source.state", "s (bridge-1)"),
    ]


async def test_a_stop_that_is_cut_short_leaves_the_rest_to_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another task of the process has failed while the disk was slow: nothing is counted as lost that the disk may take."""
    moved, running, _ = await _start_and_hold(MemorySource(redelivers=False), event(1))
    begun = asyncio.Event()

    async def never(_delivery: Delivery) -> Outcome:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def spooled(_delivery: Delivery) -> Outcome:
        return Outcome.SPOOLED

    monkeypatch.setattr(moved._policy, "spill_at_stop", never)
    stopping = asyncio.create_task(moved.stop(_soon(0)))
    await begun.wait()
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    assert (moved.counts.settled, moved.state().in_flight) == (0, 1)
    monkeypatch.setattr(moved._policy, "spill_at_stop", spooled)
    await moved.stop(_soon(0))
    await running
    assert (moved.counts.settled, moved.state().in_flight) == (0, 0)
