"""The router: size check, decoding, routing, and the counts of every event's fate."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bridge.model.accounting import Counts
from tests.support.batches import routed
from tests.support.routing import MQTT, event, router


def test_every_event_is_counted_once() -> None:
    """No event is missing: received = enqueued + filtered + unmatched + dead_lettered."""
    events = [
        event("a/x", b'{"c": 300}'),  # routed
        event("a/x", b'{"c": 200}'),  # filtered
        event("a/x", b"{}"),  # filtered: a missing field in `when`
        event("b/x"),  # unmatched
        event("b/x", b"\xff"),  # unmatched: not even decoded
        event("a/x", b"nonsense"),  # dead letter
        event("a/x", b'{"c": "hot"}'),  # dead letter
        event("a/log", b'{"c": 300}'),  # routed, by two routes
        event("a/log", b'{"c": "x"}'),  # a dead letter of one route, a message of the other: it counts as dead letter
    ]
    entries, counts = routed(router(), events)
    assert [entry.event for entry in entries] == events
    assert [(len(entry.messages), len(entry.dead_letters)) for entry in entries] == [
        (1, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 1), (0, 1), (2, 0), (1, 1),
    ]  # fmt: skip
    assert counts == Counts(received=9, enqueued=2, filtered=2, unmatched=2, dead_lettered=3)
    assert sum(counts.reasons.values()) == 3


def test_an_empty_batch_is_an_empty_batch() -> None:
    """Without events the router counts nothing and makes no message."""
    assert routed(router(), []) == ([], Counts())


@pytest.mark.parametrize(
    ("source", "kept"),
    [
        (MQTT, False),
        ({**MQTT, "unmatched": "dead-letter"}, True),
        ({"type": "redis-pubsub", "url": "redis://localhost", "channels": ["c"]}, False),
        ({"type": "amqp", "url": "amqp://localhost", "queue": "q"}, True),
        ({"type": "amqp", "url": "amqp://localhost", "queue": "q", "unmatched": "drop"}, False),
        ({"type": "redis-stream", "url": "redis://localhost", "streams": ["x"], "group": "g"}, True),
    ],
    ids=lambda value: str(value)[:40],
)
def test_an_event_that_fits_no_route_s_topic(source: dict[str, Any], kept: bool) -> None:
    """By default queues and streams dead-letter an event that fits no route's topic, broadcasts drop it; `unmatched` decides."""
    entries, counts = routed(router([{"actor": "a", "topic": "x"}], **source), [event("nowhere")])
    if kept:
        (letter,) = entries[0].dead_letters
        assert letter.reason == "unmatched"
        assert letter.detail == "no route's topic fits 'nowhere'"
        assert letter.route == ""
        assert counts == Counts(received=1, dead_lettered=1)
    else:
        assert entries[0].dead_letters == []
        assert counts == Counts(received=1, unmatched=1)
    assert entries[0].messages == []


def test_a_body_is_as_large_as_max_body() -> None:
    """A body of max_body bytes passes; one byte more makes a dead letter that gives both sizes, and is not decoded."""
    routes = [{"actor": "a"}]
    limited = router(routes, max_body="1KiB", decode="text")
    entries, _ = routed(limited, [event("t", b"x" * 1024), event("t", b"\xff" * 1025)])
    assert len(entries[0].messages) == 1
    (letter,) = entries[1].dead_letters
    assert (letter.reason, letter.detail) == ("too-large", "the body has 1025 bytes, max_body is 1024")


def test_an_event_with_a_defect_is_a_dead_letter() -> None:
    """A defect that the source found, such as a channel's name that is not UTF-8, is the dead letter's error."""
    entries, counts = routed(router(), [event("a/x", b'{"c": 300}', defect="the channel's name is not UTF-8")])
    (letter,) = entries[0].dead_letters
    assert (letter.reason, letter.detail) == ("decode", "the channel's name is not UTF-8")
    assert entries[0].messages == []
    assert counts.dead_lettered == 1


@pytest.mark.parametrize(
    ("decode", "body", "payload"),
    [("json", b"[1]", [1]), ("text", b"[1]", "[1]"), ("bytes", b"\x00", "AA=="), ("msgpack", b"\x91\x01", [1])],
)
def test_the_sources_decode_is_used(decode: str, body: bytes, payload: object) -> None:
    """The router decodes bodies as its source's `decode` says."""
    entries, _ = routed(router([{"actor": "a", "args": ["$payload"]}], decode=decode), [event("t", body)])
    assert json.loads(entries[0].messages[0].body)["args"] == [payload]


def test_a_stream_entry_without_a_field_is_an_object() -> None:
    """Without `field`, an entry of a stream is a JSON object of its fields; `decode` applies to a single field only."""
    stream = {"type": "redis-stream", "url": "redis://localhost", "streams": ["x"], "group": "g", "decode": "text"}
    for field, payload in ((None, {"a": "1"}), ("a", '{"a":"1"}')):
        reader = router([{"actor": "a", "args": ["$payload"]}], field=field, **stream)
        entries, _ = routed(reader, [event("x", b'{"a":"1"}')])
        assert json.loads(entries[0].messages[0].body)["args"] == [payload]


def test_no_odd_topic_stops_the_router() -> None:
    """Publishers choose topics: empty, long, with line breaks, with any letters."""
    topics = ["", "/", "a" * 65_535, "a\nb", "a\x00b", "grüße/😀", "a/" * 1000, "{x}", "$SYS/x", "#", "+"]
    entries, counts = routed(router([{"actor": "a", "args": ["$topic"]}]), [event(topic) for topic in topics])
    assert [json.loads(entry.messages[0].body)["args"] for entry in entries] == [[topic] for topic in topics]
    assert counts == Counts(received=len(topics), enqueued=len(topics))


def test_counts_add_up() -> None:
    """The counts of batches are summed field by field."""
    total = Counts(received=1, enqueued=1)
    total.add(Counts(received=2, filtered=1, unmatched=1, messages=4, deduplicated=5, returned=6, dead_lettered=7))
    assert total == Counts(
        received=3, enqueued=1, filtered=1, unmatched=1, dead_lettered=7, returned=6, messages=4, deduplicated=5
    )
