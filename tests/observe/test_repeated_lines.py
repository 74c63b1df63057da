"""Lines that repeat for hours: the longer a fault stays, the rarer they are, and nothing new is hidden."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import structlog

from bridge.config import Amqp
from bridge.delivery.source_log import SourceLog
from bridge.observe.logs import RepeatedLog
from bridge.sink.health import SinkHealth

AMQP = Amqp.model_validate({"type": "amqp", "url": "amqp://localhost", "queue": "q"})


class Clock:
    """The time of a test without an event loop, in seconds; a suppressed line waits for the next one."""

    def __init__(self) -> None:
        self.now = 1000.0

    def every(self, seconds: float, until: float) -> Iterator[float]:
        """Let the time pass in steps of `seconds`, and yield it from 0 to `until`."""
        began = self.now
        while self.now - began <= until:
            yield self.now - began
            self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock that the logs look at."""
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    return clock


def test_a_fault_that_stays_is_said_ever_more_rarely(clock: Clock) -> None:
    """At once, after 10 s, after another minute, and then every ten minutes, with the number of those between."""
    log, lines = RepeatedLog(), list[tuple[float, int]]()
    for passed in clock.every(5, until=2000):
        log.write("away", lambda _event, *, repeated, at=passed: lines.append((at, repeated)), "away")
    assert lines == [(0, 0), (10, 1), (70, 11), (670, 119), (1270, 119), (1870, 119)]


def test_a_fault_that_was_gone_for_ten_minutes_begins_anew(clock: Clock) -> None:
    """Whatever came before: the next one is said at once, and the second after 10 s."""
    log, lines = RepeatedLog(), list[float]()
    for _ in range(2):
        for passed in clock.every(5, until=70):
            log.write("away", lambda _event, *, repeated, at=passed: lines.append(at), "away")  # noqa: ARG005
        clock.now += 600
    assert lines == [0, 10, 70] * 2


def lost(log: SourceLog, cause: str, *, was_connected: bool = False) -> None:
    """Let a connection end, or not be made."""
    log.disconnected(cause, 1.0, was_connected=was_connected)


def test_causes_that_alternate_or_carry_numbers_do_not_fill_the_log(clock: Clock) -> None:
    """In an hour of attempts every 5 s each of two causes has eight lines, however they differ in ports and identifiers."""
    log = SourceLog("s", "s", AMQP, None)
    with structlog.testing.capture_logs() as lines:
        for passed in clock.every(5, until=3600):
            port, reference = 40_000 + int(passed), f"{int(passed):x}-7f"
            lost(log, f"refused by 10.0.0.1:{port}" if passed % 10 else f"no route, reference {reference}, try {port}")
    assert len(lines) == 2 * 8
    assert {line["cause"].split(" ")[0] for line in lines} == {"refused", "no"}


def test_a_new_cause_is_said_at_once(clock: Clock) -> None:
    """A fault that stays for an hour hides no other one."""
    log = SourceLog("s", "s", AMQP, None)
    with structlog.testing.capture_logs() as lines:
        for _ in clock.every(5, until=3600):
            lost(log, "refused")
        before = len(lines)
        lost(log, "NOT_ALLOWED - vhost x not found")
    assert [line["cause"] for line in lines[before:]] == ["NOT_ALLOWED - vhost x not found"]


def test_a_loss_after_a_recovery_is_said_within_a_minute(clock: Clock) -> None:
    """Also where the last outage was of the same kind, and long: the last line tells how the connection stands."""
    log = SourceLog("s", "s", AMQP, None)
    with structlog.testing.capture_logs() as lines:
        for _ in clock.every(5, until=3600):
            lost(log, "refused")
        log.connected(1, None)
        assert lines[-1]["event"] == "source.connected"
        # The number of the attempts that no line has told stands in the one that tells of their end.
        assert sum(1 + (line.get("repeated") or 0) for line in lines) == 721 + 1
        lines.clear()
        clock.now += 61
        lost(log, "refused")
        assert [line["event"] for line in lines] == ["source.unavailable"]


def test_a_sink_that_is_away_for_long_is_said_rarely_and_its_next_outage_at_once(clock: Clock) -> None:
    """As a source's connection."""
    health = SinkHealth()
    with structlog.testing.capture_logs() as lines:
        for _ in clock.every(2, until=3600):
            health.mark_unavailable("s", "refused by 127.0.0.1:6379", 2.0)
        assert len(lines) == 8
        health.mark_available("s")
        clock.now += 61
        health.mark_unavailable("s", "refused by 127.0.0.1:6379", 2.0)
    assert [line["event"] for line in lines[8:]] == ["sink.recovered", "sink.unavailable"]
