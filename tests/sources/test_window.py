"""The window of a session: the events that are received and not acknowledged, bounded in number and bytes."""

from __future__ import annotations

import asyncio

import pytest

from bridge.config import Window
from bridge.errors import Disconnected
from bridge.model.batch import MAX_BATCH_BYTES, MAX_BATCH_EVENTS
from bridge.model.event import Event
from bridge.sources.contract import WindowedSession
from bridge.sources.window import InFlightWindow


def event(number: int = 0, size: int = 10, token: object = "t") -> Event:
    """Make an event of this size."""
    return Event("s", str(number), b"x" * size, 0, token=token, size=size)


def make_window(events: int = 10, size: int = 1000, *, redelivered: bool = True) -> tuple[InFlightWindow, list[None]]:
    """Return a window, and a list that grows whenever there is room again."""
    rooms: list[None] = []
    config = Window.model_validate({"events": events, "bytes": f"{size}B"})
    return InFlightWindow(config, lambda: rooms.append(None), redelivered=redelivered), rooms


def full(window: InFlightWindow) -> bool:
    """Return whether it is full now; a type checker would remember an earlier answer."""
    return window.full


async def test_waiting_events_are_taken_at_once_and_in_order() -> None:
    """A batch holds the events that have come by now, and never waits for more."""
    window, _ = make_window()
    sent = [event(number) for number in range(3)]
    for sent_event in sent:
        window.put([sent_event])
    assert await window.take() == sent
    later = asyncio.create_task(window.take())
    await asyncio.sleep(0)
    assert not later.done()
    window.put([sent[0]])
    assert await later == [sent[0]]


@pytest.mark.parametrize("redelivered", [True, False])
async def test_what_comes_after_the_failure(redelivered: bool) -> None:
    """What the broker redelivers is not handed over: of a stream it would move the position over what was dropped."""
    window, _ = make_window(redelivered=redelivered)
    window.put([event(1)])
    window.fail("over")
    window.put([event(2), event(3, token=None)])
    assert [taken.topic for taken in await window.take()] == (["3"] if redelivered else ["1", "2", "3"])
    with pytest.raises(Disconnected):
        await window.take()


async def test_one_batch_is_bounded() -> None:
    """However much has been received, one write does not keep Redis busy for long."""
    window, _ = make_window(65_535, 1 << 30)
    for number in range(window.max_batch + 1):
        window.put([event(number)])
    assert window.max_batch == MAX_BATCH_EVENTS
    assert len(await window.take()) == window.max_batch
    assert [taken.topic for taken in await window.take()] == [str(window.max_batch)]
    for number in range(3):
        window.put([event(number, MAX_BATCH_BYTES)])
    assert [len(await window.take()) for _ in range(3)] == [1, 1, 1]
    assert [make_window(events)[0].max_batch for events in (1, 399, 1000, 65_535)] == [100, 100, 250, MAX_BATCH_EVENTS]


async def test_the_window_is_full_by_events() -> None:
    """Taking is not acknowledging: room comes only when events are acknowledged, and is reported once."""
    window, rooms = make_window(events=2)
    window.put([event()])
    assert not full(window)
    window.put([event()])
    assert full(window)
    assert window.held == 2
    taken = await window.take()
    assert full(window)
    assert rooms == []
    window.acknowledged(taken[:1])
    assert (full(window), rooms) == (False, [None])
    window.acknowledged(taken[1:])
    assert rooms == [None]
    assert window.held == 0


async def test_the_window_is_full_by_bytes() -> None:
    """Large bodies fill it too; a body that is larger than the window passes alone."""
    window, rooms = make_window(size=100)
    window.put([event(size=60)])
    assert not full(window)
    window.put([event(size=500)])
    assert full(window)
    taken = await window.take()
    window.acknowledged(taken[:1])
    assert full(window)
    assert rooms == []
    window.acknowledged(taken[1:])
    assert (full(window), rooms) == (False, [None])


async def test_a_failed_session_drops_events_that_are_redelivered() -> None:
    """If the broker redelivers, events not taken so far are dropped: writing them would make duplicates."""
    window, _ = make_window(redelivered=True)
    window.put([event()])
    window.put([event(7, token=None)])
    window.fail("connection reset")
    assert window.failed
    # An event without a token (MQTT at QoS 0) comes once.
    assert [taken.topic for taken in await window.take()] == ["7"]
    with pytest.raises(Disconnected, match="connection reset"):
        await window.take()


async def test_a_failed_session_hands_over_events_that_would_be_lost() -> None:
    """If nothing is redelivered, all received events are handed over before the end is raised."""
    window, _ = make_window(redelivered=False)
    window.put([event(7)])
    window.fail("connection reset")
    window.fail("a later cause")
    assert [taken.topic for taken in await window.take()] == ["7"]
    for _ in range(2):
        with pytest.raises(Disconnected, match="connection reset"):
            await window.take()


async def test_a_waiting_take_ends_with_the_session() -> None:
    """Nobody waits for ever for a session that has failed or was closed."""
    for end, expected in (("fail", Disconnected), ("close", None)):
        window, _ = make_window()
        waiting = asyncio.create_task(window.take())
        await asyncio.sleep(0)
        window.fail("gone") if end == "fail" else window.close()
        if expected is None:
            assert await waiting == []
        else:
            with pytest.raises(Disconnected):
                await waiting


async def test_a_closed_window_is_emptied() -> None:
    """Stopping loses nothing: all received events are taken, and then comes the empty list."""
    window, _ = make_window()
    window.put([event(1)])
    window.close()
    assert not window.failed
    assert len(await window.take()) == 1
    assert await window.take() == []
    assert await window.take() == []


async def test_cancelling_a_take_loses_nothing() -> None:
    """An event that comes after a cancelled wait is there for the next one."""
    window, _ = make_window()
    waiting = asyncio.create_task(window.take())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    window.put([event(1)])
    assert len(await window.take()) == 1


def test_a_session_without_acknowledge_and_pause_cannot_be_made() -> None:
    """The base class has the answers that are always alike; a protocol that forgets its own part fails at once."""

    class Incomplete(WindowedSession):
        async def pause(self) -> None: ...

    with pytest.raises(TypeError, match="acknowledge"):
        Incomplete()  # type: ignore[abstract]
