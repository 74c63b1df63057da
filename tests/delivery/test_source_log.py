"""The lines of a source's connection: at once, then ever more rarely, and the last one tells how it stands."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import structlog

from bridge.config import Mqtt
from bridge.delivery.source_log import SourceLog
from bridge.model.batch import Batch, DeadLetter, Trimmed, Written
from bridge.observe import logs
from tests.support.batches import Entry, batch_of, event

MQTT = Mqtt.model_validate({"type": "mqtt", "url": "mqtt://localhost", "topics": ["t"]})
#: A minute of these tests, in seconds, and a time after which it is over.
MINUTE, OVER = 0.2, 0.5


@pytest.fixture(autouse=True)
def _short_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "REPEAT_INTERVALS_S", (0.0, MINUTE, MINUTE, MINUTE))


def told(lines: list[Any]) -> list[tuple[str, str | None, int]]:
    """Return of each line the event, the cause, and how many others it stands for."""
    return [(line["event"].removeprefix("source."), line.get("cause"), line.get("repeated") or 0) for line in lines]


async def test_each_loss_is_said_where_they_are_rare() -> None:
    """And the connection that follows it."""
    log = SourceLog("s", "s", MQTT, "at least once")
    with structlog.testing.capture_logs() as lines:
        for _ in range(2):
            log.connected(1, None)
            log.disconnected("reset", 0.1, was_connected=True)
            await asyncio.sleep(OVER)
        log.connected(1, None)
    assert told(lines) == [("connected", None, 0), ("disconnected", "reset", 0)] * 2 + [("connected", None, 0)]


async def test_a_flapping_connection_is_said_once_a_minute() -> None:
    """The line at the end of the minute says that it is connected, and how many losses were not said."""
    log = SourceLog("s", "s", MQTT, "at least once")
    with structlog.testing.capture_logs() as lines:
        log.connected(1, None)
        for _ in range(5):
            log.disconnected("reset", 0.1, was_connected=True)
            log.connected(1, None)
        await asyncio.sleep(OVER)
    assert told(lines) == [
        ("connected", None, 0),
        ("disconnected", "reset", 0),
        ("connected", None, 0),
        ("connected", "reset", 4),
    ]
    assert lines[-1]["guarantee"] == "at least once"


async def test_the_last_line_tells_that_it_is_away() -> None:
    """A loss that was not said at once is said at the end of the minute, and the next connection is said too."""
    log = SourceLog("s", "s", MQTT, "at least once")
    with structlog.testing.capture_logs() as lines:
        log.connected(1, None)
        for _ in range(2):
            log.disconnected("reset", 0.1, was_connected=True)
            log.connected(1, None)
        log.disconnected("reset", 0.1, was_connected=True)
        await asyncio.sleep(OVER)
        log.connected(1, None)
    assert told(lines)[3:] == [("disconnected", "reset", 1), ("connected", None, 0)]


async def test_an_outage_that_is_over_is_no_error_afterwards() -> None:
    """Attempts that failed before a connection was made are not told as if they failed now."""
    log = SourceLog("s", "s", MQTT, "at least once")
    with structlog.testing.capture_logs() as lines:
        for _ in range(4):
            log.disconnected("refused", 0.1, was_connected=False)
        log.connected(1, None)
        await asyncio.sleep(OVER)
    assert told(lines) == [("unavailable", "refused", 0), ("connected", None, 3)]
    assert [line["log_level"] for line in lines] == ["error", "info"]


async def test_a_promise_of_the_connection_goes_before_that_of_the_source() -> None:
    """A broker may have granted less than the file asks for."""
    log = SourceLog("s", "s", MQTT, "at least once")
    with structlog.testing.capture_logs() as lines:
        log.connected(1, "at most once")
        log.disconnected("reset", 0.1, was_connected=True)
        log.connected(1, None)
    assert [line.get("guarantee") for line in lines] == ["at most once", None, "at least once"]


async def test_dead_letters_of_a_batch_are_counted_by_kind() -> None:
    """One call for each kind, however many there are: bad events of one source must not hold the others up."""
    log = SourceLog("s", "s", MQTT, "at least once")
    made = batch_of([Entry(event(), [])])
    for number in range(1000):
        reason: Any = "decode" if number % 4 else "wrong-type"
        made.dead_letters.append((0, DeadLetter(made.events[0], reason, f"number {number}")))
    made.written = Written(0, duplicates=0)
    with structlog.testing.capture_logs() as lines:
        log.written(made)
        log.written(made)
        log.flush()
    assert sorted(told(lines)) == sorted(
        [("event.dead_lettered", f"number {newest}", count - 1) for newest, count in ((996, 250), (999, 750))] * 2
    )


def written(**counted: Any) -> Batch:
    """Return a batch of one event that was written, with this outcome; without one the event is a dead letter."""
    made = batch_of([Entry(event(), [])])
    if not counted:
        made.dead_letters.append((0, DeadLetter(made.events[0], "decode", "not JSON")))
    made.written = Written(0, **{"duplicates": 0, **counted})
    return made


@pytest.mark.parametrize(
    ("outcome", "name"),
    [
        ({}, "event.dead_lettered"),
        ({"duplicates": 1, "duplicate_indexes": [0]}, "event.duplicate"),
    ],
    ids=["dead letters", "duplicates"],
)
async def test_what_repeats_is_said_at_once_and_then_with_its_number(outcome: dict[str, Any], name: str) -> None:
    """As long as they come, once in an interval; and what was not said yet at the stop."""
    log = SourceLog("s", "s", MQTT, "at least once")
    with structlog.testing.capture_logs() as lines:
        for _ in range(7):
            log.written(written(**outcome))
        assert len(lines) == 1
        await asyncio.sleep(OVER)
        for _ in range(3):
            log.written(written(**outcome))
        log.flush()
    assert {line["event"] for line in lines} == {name}
    assert sum(1 + line.get("repeated", 0) for line in lines) == 10
    assert [line.get("repeated", 0) for line in lines[:2]] == [0, 5]


async def test_dead_letters_that_were_trimmed_are_said_by_the_bound_that_was_reached() -> None:
    """At once, then once in an interval with their number; to have been kept for their time is no warning."""
    log = SourceLog("s", "s", MQTT, "at least once")
    with structlog.testing.capture_logs() as lines:
        for trimmed in (Trimmed(max_size=3), Trimmed(max_size=2, max_age=1), Trimmed()):
            batch = Batch([event()])
            batch.written = Written(0, 0, trimmed=trimmed)
            log.written(batch)
        await asyncio.sleep(OVER)
    said = [(line["bound"], line["log_level"], line.get("repeated") or 0) for line in lines]
    assert said == [("max_size", "warning", 2), ("max_age", "info", 0), ("max_size", "warning", 1)]
    assert {line["event"] for line in lines} == {"dead_letters.trimmed"}
