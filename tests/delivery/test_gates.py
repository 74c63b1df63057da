"""Messages that gates leave out, and events whose time is up: each event has one class, in the accounts, the tap and the log."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import structlog

from bridge.config import Config, Mqtt
from bridge.delivery.event_log import EventLog
from bridge.delivery.source_log import SourceLog
from bridge.delivery.tapped import TapLines
from bridge.delivery.tapped_part import Part
from bridge.model.accounting import Accounts, Outcome, RouteCounts
from bridge.model.batch import Batch
from bridge.model.event import Event
from bridge.model.taps import TapFilter
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
    gone = "deduplicate: a message with its key was written before"
    assert [lines[index]["routes"]["keyed"] for index in range(5)] == ["fits", gone, gone, "fits", gone]
    assert lines[2]["routes"]["beside"] == "fits"


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


async def test_a_tap_names_the_routes_of_which_a_message_was_written(redis_server: Redis, make: Sinks) -> None:
    """A route that made messages, all of which were left out, took nothing; one of which some were says how many."""
    each = {"name": "each", "actor": "a", "foreach": "$payload.l", "args": ["$item"], "deduplicate": {"key": "$item"}}
    loaded = Config.model_validate({
        "sources": {"s": MQTT}, "routes": [{"from": "s", **each}, {"from": "s", "name": "plain", "actor": "a"}],
    })  # fmt: skip
    made = Batch(
        [Event("s", "t", b'{"l": %b}' % elements, 1, 1, raw=({}, {})) for elements in (b"[1, 2]", b"[2, 3, 3]", b"[3]")]
    )
    make_router(loaded.sources["s"], compile_routes(loaded)[0]["s"]).route(made)
    made.written = await make(redis_server).write(made)
    part = Part(made, Outcome.WRITTEN, redelivers=True, table=compile_routes(loaded)[0]["s"])
    lines = [json.loads(TapLines(loaded).line(part, index, TapFilter(contents=True))) for index in range(3)]
    assert [line["routes"]["each"] for line in lines] == [
        {"verdict": "message"},
        {"verdict": "message", "deduplicated": 2},
        {"verdict": "deduplicated", "deduplicated": 1, "why": "deduplicate: a message with its key was written before"},
    ]
    assert [line["routes"]["plain"] for line in lines] == [{"verdict": "message"}] * 3


async def test_a_tap_names_no_route_of_an_event_that_was_written_before(redis_server: Redis, make: Sinks) -> None:
    """Where the source has the key, too."""
    source = {**MQTT, "deduplicate": {"key": "$payload.id"}}
    loaded = Config.model_validate({"sources": {"s": source}, "routes": [{"from": "s", "name": "r", "actor": "a"}]})
    made = Batch([Event("s", "t", b'{"id": 1}', 1, 1, raw=({}, {})) for _ in range(2)])
    make_router(loaded.sources["s"], compile_routes(loaded)[0]["s"]).route(made)
    made.written = await make(redis_server).write(made)
    part = Part(made, Outcome.WRITTEN, redelivers=True, table=compile_routes(loaded)[0]["s"])
    lines = [json.loads(TapLines(loaded).line(part, index, TapFilter(contents=True))) for index in range(2)]
    assert [(line["outcome"], line["routes"]["r"]["verdict"]) for line in lines] == [
        ("enqueued", "message"), ("deduplicated", "deduplicated"),
    ]  # fmt: skip


SOURCE_KEY = {**MQTT, "deduplicate": {"key": "$payload.id"}}


async def test_routes_of_which_an_event_was_written_before(redis_server: Redis, make: Sinks) -> None:
    """An event that is written again for the others only: accounts, tap and log name the routes, and what became of each."""
    each: dict[str, Any] = {"foreach": "$payload.l", "args": ["$item + payload.add"], "name": "each"}
    routes = [each, {"name": "new", "when": "payload.more"}, {"name": "failing", "args": ["$payload.good"]}]
    loaded = Config.model_validate(
        {"sources": {"s": SOURCE_KEY}, "routes": [{"from": "s", "actor": "a", **route} for route in routes]}
    )
    table, sink, accounts = compile_routes(loaded)[0]["s"], make(redis_server), Accounts(redelivers=True)
    found = []
    bodies = (
        b'{"id": 1, "l": [1, 2], "add": 1, "more": false, "good": 1}',  # all but one
        b'{"id": 1, "l": [1, 2], "add": 1, "more": true}',  # for the one; `failing` wrote it before, so it is no dead letter
        b'{"id": 2, "l": [1], "add": "x", "more": true}',  # two dead letters
        b'{"id": 2, "l": [1], "add": 1, "more": true, "good": 1}',  # for those two
        b'{"id": 3, "l": [], "more": false, "good": 1}',
        b'{"id": 3, "l": [1, 2, 3], "add": "x", "more": false}',  # one new dead letter, not that of `failing`
        b'{"id": 3, "l": [1, 2, 3], "add": 1, "more": false, "good": 1}',
        b'{"id": 3, "l": [1, 2, 3], "add": 1, "more": false, "good": 1}',  # nothing
    )
    for body in bodies:
        made = Batch([Event("s", "t", body, 1, len(body), raw=({}, {}))])
        counts = make_router(loaded.sources["s"], table).route(made)
        made.written = await sink.write(made)
        accounts.receive(1)
        accounts.record(made, counts, Outcome.WRITTEN)
        line = json.loads(TapLines(loaded).line(Part(made, Outcome.WRITTEN, True, table), 0, TapFilter(contents=True)))
        with structlog.testing.capture_logs() as lines:
            EventLog(loaded).written(made, Outcome.WRITTEN)
        assert len(lines[0]["messages"] or ()) == len(line["messages"])
        with structlog.testing.capture_logs() as lines:
            SourceLog("s", "s", Mqtt.model_validate({**SOURCE_KEY, "topics": ["t"]}), "x").written(made)
        verdicts = {name: route["verdict"] for name, route in line["routes"].items()}
        found.append(
            (
                line["outcome"],
                len(line["messages"]),
                verdicts,
                sorted((one["event"], one.get("route")) for one in lines),
            )
        )
    message, gone, letter = "message", "deduplicated", "dead-letter"
    dead, again = "event.dead_lettered", "message.duplicate"
    assert found == [
        ("enqueued", 3, {"each": message, "failing": message, "new": "when"}, []),
        ("enqueued", 1, {"each": gone, "new": message, "failing": gone}, [(again, "each"), (again, "failing")]),
        ("dead-lettered", 1, {"each": letter, "new": message, "failing": letter}, [(dead, "each"), (dead, "failing")]),
        ("enqueued", 2, {"each": message, "new": gone, "failing": message}, [(again, "new")]),
        ("enqueued", 1, {"failing": message, "each": "foreach", "new": "when"}, []),
        ("dead-lettered", 0, {"each": letter, "failing": gone, "new": "when"}, [(dead, "each"), (again, "failing")]),
        ("enqueued", 3, {"each": message, "failing": gone, "new": "when"}, [(again, "failing")]),
        ("deduplicated", 0, {"each": gone, "failing": gone, "new": "when"}, [("event.duplicate", None)]),
    ]
    counted = accounts.counts
    assert (counted.enqueued, counted.dead_lettered, counted.deduplicated, counted.settled) == (5, 2, 1, 8)
    assert counted.reasons == {"wrong-type": 2, "missing-field": 0}
    assert {name: route.deduplicated for name, route in counted.routes.items()} == {"each": 5, "new": 1, "failing": 2}
