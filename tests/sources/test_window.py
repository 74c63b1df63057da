"""The window of a session: what is received and not settled, bounded in events and bytes."""

from __future__ import annotations

import asyncio

import pytest

from bridge.config import Window
from bridge.errors import Disconnected
from bridge.model.batch import MAX_BATCH_BYTES, MAX_BATCH_EVENTS
from bridge.model.event import Event
from bridge.sources.window import InFlightWindow


def event(number: int = 0, size: int = 10, token: object = "t") -> Event:
    """Make an event of this size."""
    return Event("s", str(number), b"x" * size, 0, token=token)


def inbox(events: int = 10, size: int = 1000, *, redelivered: bool = True) -> tuple[InFlightWindow, list[None]]:
    """Return an inbox, and a list that grows whenever there is room again."""
    rooms: list[None] = []
    window = Window.model_validate({"events": events, "bytes": f"{size}B"})
    return InFlightWindow(window, lambda: rooms.append(None), redelivered=redelivered), rooms


def full(box: InFlightWindow) -> bool:
    """Say whether it is full, now: a type checker would remember what it said before."""
    return box.full


async def test_what_is_there_is_taken_at_once_and_in_order() -> None:
    """A batch is what has been received by now, never a wait for more."""
    box, _ = inbox()
    sent = [event(number) for number in range(3)]
    for one in sent:
        box.put([one])
    assert await box.take() == sent
    later = asyncio.create_task(box.take())
    await asyncio.sleep(0)
    assert not later.done()
    box.put([sent[0]])
    assert await later == [sent[0]]


async def test_one_batch_is_bounded() -> None:
    """However much has been received, one write does not keep Redis busy for long."""
    box, _ = inbox(65_535, 1 << 30)
    for number in range(box.max_batch + 1):
        box.put([event(number)])
    assert box.max_batch == MAX_BATCH_EVENTS
    assert len(await box.take()) == box.max_batch
    assert [one.topic for one in await box.take()] == [str(box.max_batch)]
    for number in range(3):
        box.put([event(number, MAX_BATCH_BYTES)])
    assert [len(await box.take()) for _ in range(3)] == [1, 1, 1]
    assert [inbox(events)[0].max_batch for events in (1, 399, 1000, 65_535)] == [100, 100, 250, MAX_BATCH_EVENTS]


async def test_the_window_is_full_by_events() -> None:
    """Taking is not settling: room comes only when events are settled, and is said once."""
    box, rooms = inbox(events=2)
    box.put([event()])
    assert not full(box)
    box.put([event()])
    assert full(box)
    assert box.held == 2
    taken = await box.take()
    assert full(box)
    assert rooms == []
    box.acknowledged(taken[:1])
    assert (full(box), rooms) == (False, [None])
    box.acknowledged(taken[1:])
    assert rooms == [None]
    assert box.held == 0


async def test_the_window_is_full_by_bytes() -> None:
    """Large bodies fill it too; one that is larger than the window passes alone."""
    box, rooms = inbox(size=100)
    box.put([event(size=60)])
    assert not full(box)
    box.put([event(size=500)])
    assert full(box)
    taken = await box.take()
    box.acknowledged(taken[:1])
    assert full(box)
    assert rooms == []
    box.acknowledged(taken[1:])
    assert (full(box), rooms) == (False, [None])


async def test_a_failed_session_lets_go_what_comes_again() -> None:
    """Where the broker redelivers, what was not taken is dropped: writing it would make a duplicate."""
    box, _ = inbox(redelivered=True)
    box.put([event()])
    box.put([event(7, token=None)])
    box.fail("connection reset")
    assert box.failed
    # An event without a token (MQTT at QoS 0) comes once.
    assert [one.topic for one in await box.take()] == ["7"]
    with pytest.raises(Disconnected, match="connection reset"):
        await box.take()


async def test_a_failed_session_hands_over_what_would_be_lost() -> None:
    """Where nothing is redelivered, what was received is still handed over before the end is said."""
    box, _ = inbox(redelivered=False)
    box.put([event(7)])
    box.fail("connection reset")
    box.fail("a later cause")
    assert [one.topic for one in await box.take()] == ["7"]
    for _ in range(2):
        with pytest.raises(Disconnected, match="connection reset"):
            await box.take()


async def test_a_waiting_taker_hears_of_the_end() -> None:
    """Nobody waits for ever for a session that has failed or was closed."""
    for end, expected in (("fail", Disconnected), ("close", None)):
        box, _ = inbox()
        waiting = asyncio.create_task(box.take())
        await asyncio.sleep(0)
        box.fail("gone") if end == "fail" else box.close()
        if expected is None:
            assert await waiting == []
        else:
            with pytest.raises(Disconnected):
                await waiting


async def test_a_closed_inbox_is_drained() -> None:
    """Stopping loses nothing: what was received is taken, and then comes the empty list."""
    box, _ = inbox()
    box.put([event(1)])
    box.close()
    assert not box.failed
    assert len(await box.take()) == 1
    assert await box.take() == []
    assert await box.take() == []


async def test_cancelling_a_taker_loses_nothing() -> None:
    """An event that comes after a cancelled wait is there for the next one."""
    box, _ = inbox()
    waiting = asyncio.create_task(box.take())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    box.put([event(1)])
    assert len(await box.take()) == 1
