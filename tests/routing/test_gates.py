"""The gates of a route: a key of its own for each message, and the expiry of its event."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from bridge.config import Config
from bridge.config.manifest import Actor, Manifest
from bridge.errors import Diagnostic
from bridge.model.accounting import Counts
from bridge.model.batch import Batch
from bridge.model.column import gated_messages
from bridge.model.event import Event
from bridge.routing.compiler import check_routes, compile_routes
from bridge.routing.router import make
from tests.support.routing import MQTT, router


def now_ms() -> int:
    """Return the time."""
    return time.time_ns() // 1_000_000


def event(body: bytes = b"{}", topic: str = "orders/eu", age_ms: int = 0, **meta: object) -> Event:
    """Make an event that came so long ago."""
    return Event("s", topic, body, now_ms() - age_ms, raw=({"x-id": "h-1"}, meta), size=len(body))


def routed(*events: Event, source: dict[str, Any] | None = None, **route: Any) -> tuple[Batch, Counts]:
    """Route events through one route, called `r`."""
    made = Batch(list(events))
    return made, router([{"name": "r", "actor": "record", **route}], **(source or {})).route(made)


def keys(batch: Batch) -> list[bytes]:
    """Return the keys of a batch's messages."""
    return [message.gate.key for message in gated_messages(batch.queues.values())]


def max_ages(batch: Batch) -> list[int | None]:
    """Return the max_age of each message."""
    bodies = [json.loads(body) for column in batch.queues.values() for _, body in column.messages]
    return [body["options"].get("max_age") for body in bodies]


def mistakes(**route: Any) -> list[Diagnostic]:
    """Return the mistakes of a route."""
    config = {"sources": {"s": MQTT}, "routes": [{"from": "s", "actor": "a", **route}]}
    return check_routes(Config.model_validate(config))


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("$payload.id", b"A1"),
        ("$payload.n", b"7"),
        ('$headers["x-id"]', b"h-1"),
        ("$meta.message_id", b"m-1"),
        ("$topic", b"orders/eu"),
        ("$region", b"eu"),
        ('$f"{region}/{payload.id}"', b"eu/A1"),
    ],
)
def test_a_message_has_the_key_of_its_route(expression: str, expected: bytes) -> None:
    """The key is made of all that an event has; the topic, and a part of it, tell messages of a route apart."""
    made, _ = routed(
        event(b'{"id": "A1", "n": 7}', message_id="m-1"),
        topic="orders/{region}",
        deduplicate={"key": expression, "within": "1h"},
    )
    (message,) = gated_messages(made.queues.values())
    assert (message.gate.key, message.gate.rule.route, message.gate.rule.lifetime_ms) == (expected, "r", 3_600_000)


def test_a_long_key_is_hashed() -> None:
    """Redis keeps one for each message."""
    made, _ = routed(event(b'{"id": "%b"}' % (b"x" * 201)), deduplicate={"key": "$payload.id"})
    assert [key[:7] for key in keys(made)] == [b"sha256:"]


@pytest.mark.parametrize(
    ("key", "reason", "detail"),
    [
        ("$payload.id", "missing-field", "deduplicate.key: no field 'id' in `payload.id`"),
        ("$payload.null", "wrong-type", "deduplicate.key: a deduplication key is text or a number, not null"),
        ("$payload.yes", "wrong-type", "deduplicate.key: a deduplication key is text or a number, not true or false"),
        ("$payload.empty", "wrong-type", "deduplicate.key: a deduplication key is not empty"),
        ('$f"{payload.null}/1"', "wrong-type", 'deduplicate.key: a part of it is null in `f"{payload.null}/1"`'),
        ('$f"{payload.n + 1}/{payload.null}"', "wrong-type", "deduplicate.key: a part of it is null in"),
    ],
)
def test_without_a_key_the_event_is_a_dead_letter(key: str, reason: str, detail: str) -> None:
    """As where any other value of a route fails: nothing is lost, and nothing is written twice."""
    body = b'{"null": null, "yes": true, "empty": "", "n": 1}'
    made, counts = routed(event(body), deduplicate={"key": key})
    ((_, letter),) = made.dead_letters
    assert (letter.reason, letter.route, letter.detail[: len(detail)]) == (reason, "r", detail)
    assert (counts.dead_lettered, made.queues) == (1, {})


def test_null_is_text_elsewhere_in_a_route_with_a_key() -> None:
    """Only in the key null is an error: the same expression stands in args."""
    made, _ = routed(
        event(b'{"a": null, "b": 1}'),
        args=['$f"{payload.a}"', '$f"{payload.b}"'],
        deduplicate={"key": '$f"{payload.b}"'},
    )
    ((_, body),) = made.queues["default"].messages
    assert json.loads(body)["args"][1] == "1"
    assert keys(made) == [b"1"]


@pytest.mark.parametrize(
    ("key", "place", "message"),
    [
        ("$received_at", ("key",), "an event that comes again has another received_at"),
        ('$"fixed"', ("key",), "a deduplication key that all messages share would lose all but the first of them"),
        ("$source", ("key",), "a deduplication key that all messages share would lose all but the first of them"),
    ],
)
def test_a_key_that_tells_nothing_is_a_mistake(key: str, place: tuple[str, ...], message: str) -> None:
    """A key that is the same for all messages, or another each time, is found before any is lost."""
    (found,) = mistakes(deduplicate={"key": key})
    assert found.path == ("routes", 0, "deduplicate", *place)
    assert message in str(found)


@pytest.mark.parametrize(
    ("key", "is_right"),
    [("$payload.id", False), ("$topic", False), ("$item.id", True), ('$f"{payload.id}/{index}"', True)],
)
def test_a_key_that_all_elements_share_is_a_mistake(key: str, is_right: bool) -> None:
    """All messages of an event but the first would be left out, each time."""
    found = [str(one) for one in mistakes(foreach="$payload.lines", deduplicate={"key": key})]
    text = "all elements of an event have this key: only the message of the first is written; read item or index"
    assert found == ([] if is_right else [text])


def test_each_element_has_its_own_key() -> None:
    """The element is seen by the key as by any other value; an error names the element."""
    body = b'{"lines": [{"id": 1}, {"id": 2}, {"id": 1}]}'
    made, _ = routed(event(body), foreach="$payload.lines", deduplicate={"key": '$f"{item.id}"'})
    assert keys(made) == [b"1", b"2", b"1"]
    made, counts = routed(
        event(b'{"lines": [{"id": 1}, {"id": null}]}'), foreach="$payload.lines", deduplicate={"key": "$item.id"}
    )
    ((_, letter),) = made.dead_letters
    assert "deduplicate.key" in letter.detail
    assert "element 1 of foreach" in letter.detail
    assert (counts.dead_lettered, made.queues) == (1, {})


def test_a_route_without_gates_is_plain() -> None:
    """It has the one function that it always had."""
    routes: list[dict[str, Any]] = [
        {"actor": "a"},
        {"name": "b", "actor": "a", "deduplicate": {"key": "$topic"}},
        {"name": "c", "actor": "a", "expires": True},
    ]
    assert [route.is_plain for route in router(routes).table.routes] == [True, False, False]


@pytest.mark.parametrize(
    ("age_ms", "meta", "options", "expected"),
    [
        (0, {}, {}, None),
        (0, {}, {"max_age": "10s"}, 10_000),
        (1_000, {"expires_in": 60}, {}, 59_000),
        (1_000, {"expires_in": 60}, {"max_age": "10s"}, 10_000),
        (55_000, {"expires_in": 60}, {"max_age": "10s"}, 5_000),
        (1_000, {"expires_in": 60}, {"max_age": "$payload.age"}, 7_000),
        (57_000, {"expires_in": 60}, {"max_age": "$payload.age"}, 3_000),
        (0, {"expires_in": 60}, {"max_age": "0ms"}, 60_000),
        (0, {"expires_in": 1_000.5}, {}, 1_000_500),
        (0, {"expires_in": 2**32 - 1}, {}, 36_525 * 86_400_000),
        (-(10**9), {"expires_in": 60}, {}, 60_000),
    ],
)
def test_max_age_is_no_longer_than_the_event_lives(
    age_ms: int, meta: dict[str, Any], options: dict[str, Any], expected: int | None
) -> None:
    """The smaller of the two counts, from the moment of routing on: for Dramatiq max_age begins there."""
    begin_ms = now_ms()
    made, counts = routed(event(b'{"age": 7000}', age_ms=age_ms, **meta), expires=True, options=options)
    (found,) = max_ages(made)
    assert counts.enqueued == 1
    if expected is None or found is None:
        assert found is expected
    else:
        late_ms = now_ms() - begin_ms if age_ms >= 0 else 0
        assert expected - late_ms <= found <= expected


@pytest.mark.parametrize(
    ("own", "expected"), [({}, 60_000), ({"max_age": 10_000}, None), ({"max_age": 90_000}, 60_000)]
)
def test_the_max_age_of_the_actor_is_not_exceeded(own: dict[str, Any], expected: int | None) -> None:
    """A message's own would replace it: so where the manifest tells a shorter one, none is written."""
    config = {"sources": {"s": MQTT}, "routes": [{"from": "s", "actor": "a", "expires": True}]}
    loaded = Config.model_validate(config).with_manifest(Manifest(1, "2.2.1", ("app",), {"a": Actor("q", options=own)}))
    made = Batch([event(expires_in=60)])
    make(loaded.sources["s"], compile_routes(loaded)[0]["s"]).route(made)
    (found,) = [json.loads(body)["options"].get("max_age") for _, body in made.queues["q"].messages]
    assert found is None if expected is None else expected - 30_000 < found <= expected


def test_an_event_whose_time_is_up_is_expired() -> None:
    """It becomes no message, no dead letter, and no key; a route that takes no notice of the expiry writes it all the same."""
    gone, kept = event(age_ms=61_000, expires_in=60), event(expires_in=60)
    made = Batch([gone, kept, event(expires_in=0)])
    counts = router([{"name": "r", "actor": "record", "expires": True, "deduplicate": {"key": "$topic"}}]).route(made)
    assert counts == Counts(received=3, enqueued=1, expired=2)
    assert (made.expired, made.dead_letters, keys(made)) == ([0, 2], [], [b"orders/eu"])
    assert (counts.routes["r"].expired, counts.routes["r"].matched, counts.routes["r"].came) == (2, 1, 3)
    routes: list[dict[str, Any]] = [
        {"name": "r", "actor": "record", "expires": True},
        {"name": "always", "actor": "log", "when": "payload.n == 1"},
        {"name": "bad", "actor": "log", "args": ["$payload.missing"], "when": "payload.n == 2"},
    ]
    events = [event(b'{"n": %d}' % n, age_ms=61_000, expires_in=60) for n in range(3)]
    made = Batch(events)
    counts = router(routes).route(made)
    assert counts == Counts(received=3, enqueued=1, expired=1, dead_lettered=1)


def test_a_false_condition_comes_before_the_expiry() -> None:
    """An event that the route does not take was not too late for it."""
    _, counts = routed(event(expires_in=0), expires=True, when="topic == 'x'")
    assert counts == Counts(received=1, filtered=1)


def test_a_source_without_an_expiry_is_told_so() -> None:
    """A key that could never do anything is a mistake."""
    for source in (
        {"type": "redis-pubsub", "url": "redis://localhost", "channels": ["c"]},
        {**MQTT, "version": "3.1.1"},
    ):
        config = {"sources": {"s": source}, "routes": [{"from": "s", "actor": "a", "expires": True}]}
        (found,) = check_routes(Config.model_validate(config))
        assert found.path == ("routes", 0, "expires")
        assert str(found) == "no event of this source has an expiry; remove expires: MQTT 5 and AMQP have an expiry"


@pytest.mark.parametrize(
    "gate",
    [{"deduplicate": {"key": "$payload.big if index >= 0 else 0"}}, {"queue_by": {"key": "$payload.big", "queues": {"1": "q"}}}],
    ids=["deduplicate", "queue_by"],
)  # fmt: skip
def test_a_number_is_paid_for_by_the_time_that_its_text_takes(gate: dict[str, Any]) -> None:
    """To print one of 4,290 digits takes 0.3 ms: of 58 elements and more it would be 20 ms, and fifty do not pass."""
    for elements, fits in ((10, True), (50, False)):
        body = b'{"big": %b, "lines": [%b0]}' % (b"9" * 4290, b"0," * (elements - 1))
        made, counts = routed(event(body), foreach="$payload.lines", **gate)
        assert counts.enqueued == fits
        assert [letter.reason for _, letter in made.dead_letters] == ([] if fits else ["too-large"])
