"""The sink's health: each writer's own view of it, and the loop that retries until the sink is available."""

from __future__ import annotations

import asyncio

import pytest
import structlog

from bridge.errors import SinkUnavailable
from bridge.observe import logs
from bridge.sink.health import SinkHealth


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Record the waits between attempts, in seconds, and skip them."""
    recorded: list[float] = []
    sleep = asyncio.sleep

    async def record(seconds: float) -> None:
        recorded.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", record)
    return recorded


class Attempt:
    """Raises SinkUnavailable `failures` times, and then returns how often it was awaited."""

    def __init__(self, health: SinkHealth, failures: int, *, denied: bool = False) -> None:
        self.available: list[bool] = []
        self._health = health
        self._failures = failures
        self._denied = denied

    async def __call__(self) -> int:
        self.available.append(self._health.is_available("plant"))
        if len(self.available) <= self._failures:
            raise SinkUnavailable("away", denied=self._denied)
        return len(self.available)


async def test_a_write_is_retried_until_the_sink_is_available(waits: list[float]) -> None:
    """The waits double up to 2 s; the writer is unavailable meanwhile and available afterwards."""
    health = SinkHealth()
    attempt = Attempt(health, failures=20)
    with structlog.testing.capture_logs() as lines:
        assert await health.retry_until_available("plant", attempt) == 21
    assert attempt.available == [True] + [False] * 20
    assert health.is_available("plant")
    assert len(waits) == 20
    assert waits[0] <= 0.05
    assert all(1.0 <= wait <= 2.0 for wait in waits[6:])
    assert [(line["event"], line.get("cause")) for line in lines] == [
        ("sink.unavailable", "away"),
        ("sink.recovered", None),
    ]
    assert lines[0]["retry_in"] == round(waits[0], 2)


async def test_a_denied_write_is_not_retried_soon(waits: list[float]) -> None:
    """Permissions change only once somebody changes them: 5 s between the attempts."""
    health = SinkHealth()
    await health.retry_until_available("plant", Attempt(health, failures=2, denied=True))
    assert waits == [5.0, 5.0]


async def test_a_writer_can_give_up(waits: list[float]) -> None:
    """`give_up` is asked after each failure; the error is raised without a wait, and the writer stays unavailable."""
    health = SinkHealth()
    attempt = Attempt(health, failures=5)
    with pytest.raises(SinkUnavailable, match="away"):
        await health.retry_until_available("plant", attempt, give_up=lambda: len(attempt.available) == 3)
    assert len(waits) == 2
    assert not health.is_available("plant")


async def test_another_error_ends_the_retries(waits: list[float]) -> None:
    """A bug is not waited out."""
    health = SinkHealth()

    async def attempt() -> None:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        await health.retry_until_available("plant", attempt)
    assert not waits


async def test_each_writer_has_its_own_availability() -> None:
    """One writer's failure may concern only its own key; that of the nameless writer concerns all."""
    health = SinkHealth()
    health.mark_unavailable("plant", "NOPERM", 1.0)
    assert not health.is_available("plant")
    assert health.is_available("audit")
    health.mark_unavailable("", "connect", 1.0)
    assert not health.is_available("audit")
    health.mark_available("plant")
    assert not health.is_available("plant")
    with structlog.testing.capture_logs() as lines:
        health.mark_available("")
    assert health.is_available("plant")
    assert [line["event"] for line in lines] == ["sink.recovered"]


async def test_a_sink_that_flaps_is_said_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """The failures that were not said come once the minute is over, and not as if the sink were away: it has recovered."""
    monkeypatch.setattr(logs, "REPEAT_INTERVALS_S", (0.0, 0.2, 0.2, 0.2))
    health = SinkHealth()
    with structlog.testing.capture_logs() as lines:
        for _ in range(5):
            health.mark_unavailable("plant", "reset", 1.0)
            health.mark_available("plant")
        await asyncio.sleep(0.5)
        for _ in range(3):
            health.mark_unavailable("plant", "reset", 1.0)
        health.mark_available("plant")
        await asyncio.sleep(0.5)
    assert [(line["event"], line.get("cause"), line.get("repeated", 0)) for line in lines] == [
        ("sink.unavailable", "reset", 0),
        ("sink.recovered", None, 0),
        ("sink.recovered", "reset", 4),
        ("sink.unavailable", "reset", 0),
        ("sink.recovered", None, 2),
    ]


async def test_a_writer_waits_for_its_own_recovery() -> None:
    """`wait_until_available` returns once the writer's own write has succeeded, and not with another's."""
    health = SinkHealth()
    await asyncio.wait_for(health.wait_until_available("plant"), 60)
    health.mark_unavailable("plant", "away", 1.0)
    health.mark_unavailable("audit", "away", 1.0)
    waiting = asyncio.create_task(health.wait_until_available("plant"))
    await asyncio.sleep(0)
    health.mark_available("audit")
    for _ in range(3):
        await asyncio.sleep(0)
    assert not waiting.done()
    health.mark_available("plant")
    await asyncio.wait_for(waiting, 60)
