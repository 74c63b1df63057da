"""Paused routes: who waits for them, and the lines about it."""

from __future__ import annotations

import asyncio

import structlog

from bridge.delivery.pauses import RoutePauses
from bridge.observe.logs import RepeatedLog
from tests.support.memory import until


async def test_a_source_that_waits_is_said_and_no_more_once_the_route_is_resumed() -> None:
    """A line that was left out for its repetition would name a route that is not paused any more."""
    pauses = RoutePauses()
    with structlog.testing.capture_logs() as lines:
        pauses.set({"r"})
        for _ in range(3):
            waiting = asyncio.create_task(pauses.wait("s", {"r"}))
            await until(lambda: pauses.holds("s"))
            pauses.wake()
            await waiting
            assert not pauses.holds("s")
        pauses.set(())
        RepeatedLog.flush_all()
    (line,) = [line for line in lines if line["event"] == "route.holds"]
    assert (line["source"], line["routes"]) == ("s", ["r"])


async def test_a_wait_that_is_cancelled_holds_nothing() -> None:
    """As at a stop."""
    pauses = RoutePauses()
    pauses.set({"r"})
    waiting = asyncio.create_task(pauses.wait("s", {"r"}))
    await until(lambda: pauses.holds("s"))
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert not pauses.holds("s")
