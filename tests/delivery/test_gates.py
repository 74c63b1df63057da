"""Messages that gates leave out, and events whose time is up: each event has one class, in the accounts, the tap and the log."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import structlog

from bridge.config import Config, Mqtt
from bridge.delivery.event_log import EventLog
from bridge.delivery.source_log import SourceLog
from bridge.delivery.tapped_part import Part
from bridge.model.accounting import Accounts, Outcome, RouteCounts
from bridge.model.batch import Batch
from bridge.model.event import Event
from bridge.routing.compiler import compile_routes
from bridge.routing.router import make as make_router
from tests.support.batches import Sinks
from tests.support.brokers import Redis
from tests.support.routing import MQTT

ROUTES: list[dict[str, Any]] = [
    {"name": "keyed", "actor": "a", "topic": "keyed/#", "deduplicate": {"key": "$payload.id"}},
    {"name": "beside", "actor": "a", "topic": "keyed/both", "args": ["$payload.id"]},
    {"name": "failing", "actor": "a", "topic": "keyed/failing", "args": ["$payload.missing"]},
    {"name": "timed", "actor": "a", "topic": "timed", "expires": True},
    {"name": "never", "actor": "a", "topic": "never", "when": "payload.id == 0"},
]
#: A topic, the id, and the event's class.
EVENTS = [
    ("keyed/one", 1, "enqueued"),
    ("keyed/one", 1, "deduplicated"),
    ("keyed/both", 1, "enqueued"),
    ("keyed/failing", 2, "dead-lettered"),
    ("keyed/failing", 2, "dead-lettered"),
    ("timed", 3, "expired"),
    ("never", 3, "filtered"),
    ("other", 3, "unmatched"),
    ("keyed/one", 3, "enqueued"),
]


@pytest.fixture
async def make() -> AsyncIterator[Sinks]:
    """Make sinks that are closed at the end."""
    async with Sinks() as sinks:
        yield sinks


def config(**more: Any) -> Config:
    """Return the configuration of these tests."""
    return Config.model_validate({
        "sources": {"s": MQTT}, "routes": [{"from": "s", **route} for route in ROUTES], **more,
    })  # fmt: skip


def routed(loaded: Config) -> tuple[Batch, Any]:
    """Return the events of these tests in a batch, and the counts of routing."""
    now_ms = time.time_ns() // 1_000_000
    events = [
        Event("s", topic, b'{"id": %d}' % number, now_ms, 1, raw=({}, {"expires_in": 0})) for topic, number, _ in EVENTS
    ]
    made = Batch(events)
    return made, make_router(loaded.sources["s"], compile_routes(loaded)[0]["s"]).route(made)


@pytest.mark.parametrize("is_split", [False, True], ids=["whole", "in parts"])
@pytest.mark.parametrize("is_known", [True, False], ids=["routed", "parts alone"])
async def test_each_event_has_one_class(redis_server: Redis, make: Sinks, is_split: bool, is_known: bool) -> None:
    """Whether the batch is written whole, in parts, or in parts of which the accounts know nothing but themselves."""
    loaded = config()
    made, counts = routed(loaded)
    if is_split:
        made.halves = made.split()
    made.written = await make(redis_server).write(made)
    accounts = Accounts(redelivers=True)
    accounts.receive(len(EVENTS))
    accounts.record(made, counts if is_known else None, Outcome.WRITTEN if is_known else Outcome.RETURNED)
    found = accounts.counts
    assert (found.enqueued, found.deduplicated, found.expired, found.dead_lettered) == (3, 1, 1, 2)
    assert found.filtered + found.unmatched == 2
    assert found.routes["keyed"].deduplicated == 3
    if is_known:
        assert (found.filtered, found.unmatched) == (1, 1)
        assert found.routes["timed"] == RouteCounts(expired=1)
        assert found.routes["keyed"] == RouteCounts(matched=6, deduplicated=3)
    assert found.settled == found.came == len(EVENTS)
    assert found.messages == 4


async def test_a_tap_shows_the_class_of_each_event(redis_server: Redis, make: Sinks) -> None:
    """The same as the accounts; and only the messages that were written."""
    loaded = config()
    made, _ = routed(loaded)
    made.written = await make(redis_server).write(made)
    part = Part(made, Outcome.WRITTEN, redelivers=True, table=compile_routes(loaded)[0]["s"])
    assert [part.class_of(index) for index in range(len(EVENTS))] == [expected for *_, expected in EVENTS]
    assert [len([*part.written_messages(index)]) for index in range(len(EVENTS))] == [1, 0, 1, 1, 0, 0, 0, 0, 1]


async def test_the_log_at_debug_has_the_same(redis_server: Redis, make: Sinks) -> None:
    """An event of which every message was left out is a duplicate; one whose time is up says so."""
    loaded = config()
    made, _ = routed(loaded)
    made.written = await make(redis_server).write(made)
    with structlog.testing.capture_logs() as lines:
        EventLog(loaded).written(made, Outcome.WRITTEN)
    assert [line["outcome"] for line in lines][3:6] == ["dead-lettered", "dead-lettered", "expired"]
    assert [bool(line["duplicate"]) for line in lines] == [index == 1 for index in range(len(EVENTS))]
    assert [len(line["messages"] or ()) for line in lines] == [1, 0, 1, 1, 0, 0, 0, 0, 1]
    assert lines[5]["routes"]["timed"] == "expires: the event's time is up"


@pytest.mark.parametrize(("redact", "shown"), [([], "2"), (["headers.x"], "2"), (["payload.id"], "***")])
async def test_the_log_has_no_key_of_a_redacted_field(
    redis_server: Redis, make: Sinks, redact: list[str], shown: str
) -> None:
    """One line for each route whose messages were left out, with their number; and none that calls the event a duplicate of itself."""
    loaded = config(dead_letters={"redact": redact})
    made, _ = routed(loaded)
    made.written = await make(redis_server).write(made)
    log = SourceLog("s", "s", Mqtt.model_validate({**MQTT, "topics": ["t"]}), "at least once")
    with structlog.testing.capture_logs() as lines:
        log.written(made)
    (line,) = [line for line in lines if line["event"].endswith(".duplicate")]
    assert (line["event"], line["route"], line["key"], line["repeated"]) == ("message.duplicate", "keyed", shown, 2)
