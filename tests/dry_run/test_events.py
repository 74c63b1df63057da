"""The events of a dry run are those that a source brings: the same headers, the same `meta`, of the same types."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from pamqp.commands import Basic

from bridge import config
from bridge.config.cases import EventCase
from bridge.dry_run.events import described_event
from bridge.errors import InvalidValue
from bridge.model.event import Details
from bridge.sources.amqp.properties import details as amqp_details
from bridge.sources.mqtt.properties import details as mqtt_details
from bridge.sources.redis_stream.entries import details as stream_details

NOW_MS: Final = 1_795_759_200_000
SOURCES: Final[dict[str, dict[str, Any]]] = {
    "amqp": {"type": "amqp", "url": "amqp://localhost/", "queue": "q"},
    "amqp-stream": {"type": "amqp", "url": "amqp://localhost/", "queue": "q", "stream": True},
    "auto": {"type": "amqp", "url": "amqp://localhost/", "queue": "q", "decode": "auto"},
    "mqtt": {"type": "mqtt", "url": "mqtt://localhost"},
    "mqtt-0": {"type": "mqtt", "url": "mqtt://localhost", "qos": 0},
    "mqtt-3": {"type": "mqtt", "url": "mqtt://localhost", "version": "3.1.1"},
    "pubsub": {"type": "redis-pubsub", "url": "redis://localhost", "channels": ["c"]},
    "stream": {"type": "redis-stream", "url": "redis://localhost", "streams": ["s"], "group": "g"},
    "field": {"type": "redis-stream", "url": "redis://localhost", "streams": ["s"], "group": "g", "field": "data"},
    "photo": {"type": "redis-stream", "url": "redis://localhost", "streams": ["s"], "group": "g", "binary": ["photo"]},
    "field-photo": {
        "type": "redis-stream",
        "url": "redis://localhost",
        "streams": ["s"],
        "group": "g",
        "field": "data",
        "binary": ["photo"],
    },
}
BASE64: Final = "the source lists it in `binary`, so it is always base64; write its bytes in base64"
BODY: Final[dict[str, Any]] = {"stream": {"payload": {"a": "1"}}}


@pytest.fixture
def sources(tmp_path: Path) -> Mapping[str, config.SourceModel]:
    """The sources above, loaded."""
    path = tmp_path / "bridge.yaml"
    path.write_text(json.dumps({"sources": SOURCES, "routes": [{"from": "amqp", "actor": "a"}]}))
    return config.load(path).sources


def _details(sources: Mapping[str, config.SourceModel], name: str, **event: Any) -> Details:
    topic = {} if name in {"pubsub", "stream", "field", "photo", "field-photo"} else {"topic": "t"}
    case = EventCase.model_validate({"from": name, **topic, **BODY.get(name, {}), **event})
    return described_event(case, sources[name], Path(), NOW_MS).details()


def _refusal(sources: Mapping[str, config.SourceModel], name: str, **event: Any) -> str:
    with pytest.raises(InvalidValue) as caught:
        _details(sources, name, **event)
    return "; ".join(f"{'.'.join(map(str, each.path))}: {each}" for each in caught.value.diagnostics)


@pytest.mark.parametrize(
    ("name", "brought"),
    [
        ("amqp", amqp_details(Basic.Properties(), "", False)),
        ("amqp-stream", amqp_details(Basic.Properties(headers={"x-stream-offset": 0}), "", False)),
        ("mqtt", mqtt_details(bytes([0x32, 0]))),
        ("mqtt-0", mqtt_details(bytes([0x30, 0]))),
        ("mqtt-3", mqtt_details(bytes([0x32]))),
        ("pubsub", ({}, {})),
        ("stream", stream_details(None, (), (b"1767225600000-0", [b"a", b"1"]))),
        ("field", stream_details(b"data", (), (b"1767225600000-0", [b"data", b"1"]))),
    ],
)
def test_an_event_without_properties_has_those_of_the_protocol(
    sources: Mapping[str, config.SourceModel], name: str, brought: Details
) -> None:
    """As the source's own reader gives them: `meta.retain == false` is true of an event that does not set it."""
    headers, meta = _details(sources, name)
    assert headers == brought[0]
    # An expression reads a name that is missing as null.
    assert {name: value for name, value in meta.items() if value is not None} == {
        name: value for name, value in brought[1].items() if value is not None
    }


def test_each_value_has_the_type_that_the_protocol_gives_it(sources: Mapping[str, config.SourceModel]) -> None:
    """A time becomes milliseconds, AMQP's expiration seconds as a fraction: as the source's own reader gives them."""
    time = datetime(2026, 11, 27, 6, tzinfo=UTC)
    properties = Basic.Properties(message_id="m", timestamp=time, expiration="60000", headers={"n": 5})
    brought = amqp_details(properties, "shop", True)
    meta = {"message_id": "m", "timestamp": "2026-11-27T06:00:00Z", "expires_in": 60, "exchange": "shop"}
    given = _details(sources, "amqp", headers={"n": 5}, meta={**meta, "redelivered": True})
    assert repr(given) == repr(brought)
    raw = bytes([0x33, 15, 2, 0, 0, 0, 60, 38, 0, 1]) + b"n" + bytes([0, 1]) + b"5" + bytes([3, 0, 1]) + b"x"
    brought = mqtt_details(raw)
    given = _details(sources, "mqtt", headers={"n": "5"}, meta={"retain": True, "expires_in": 60, "content_type": "x"})
    assert given[0] == brought[0]
    assert dict(given[1]) == {**brought[1], "reply_to": None, "correlation_id": None}


@pytest.mark.parametrize(
    ("name", "event", "says"),
    [
        ("mqtt", {"headers": {"n": 5}}, 'headers.n: takes text, not a number; quote it: "5"'),
        ("mqtt-3", {"headers": {"n": "5"}}, "headers: MQTT 3.1.1 has no user properties"),
        ("mqtt-3", {"meta": {"reply_to": "a"}}, "meta.reply_to: meta of this source has no 'reply_to'"),
        ("mqtt", {"meta": {"message_id": "a"}}, "meta.message_id: meta of this source has no 'message_id'; it has qos"),
        ("field-photo", {"headers": {"photo": "!!"}}, f"headers.photo: {BASE64}"),
        ("photo", {"payload": {"photo": "!!"}}, f"payload.photo: {BASE64}"),
        ("photo", {"payload": {"photo": "aGk"}}, f"payload.photo: {BASE64}"),
        ("photo", {"body": '{"photo": "h\u00e4"}'}, f"body.photo: {BASE64}"),
        (
            "amqp",
            {"meta": {"timestamp": 1795885000}},
            "meta.timestamp: takes whole milliseconds since 1970, and 1795885000 of them",
        ),
        ("mqtt", {"meta": {"qos": 2}}, "meta.qos: takes 0 or 1"),
        ("mqtt-0", {"meta": {"qos": 1}}, "meta.qos: takes 0, by the settings of its source"),
        ("mqtt", {"meta": {"qos": True}}, "meta.qos: takes 0 or 1"),
        ("mqtt", {"meta": {"retain": "true"}}, "meta.retain: takes true or false, not text"),
        ("mqtt", {"meta": {"retain": None}}, "meta.retain: takes true or false, not null"),
        ("mqtt", {"meta": {"expires_in": 1.5}}, "meta.expires_in: takes whole seconds"),
        ("pubsub", {"headers": {"a": "b"}}, "headers: Redis pub/sub has no headers"),
        ("pubsub", {"meta": {"retain": True}}, "meta.retain: meta of this source has no 'retain'; it is empty"),
        ("stream", {"headers": {"a": "b"}}, "headers: without `field`, all fields of an entry are its payload"),
        ("field", {"headers": {"a": 1}}, "headers.a: takes text, not a number"),
        ("field", {"meta": {"content_type": "a"}}, "meta.content_type: meta of this source has no 'content_type'"),
        ("field", {"meta": {"entry_id": "5"}}, "meta.entry_id: takes the id of an entry; as in 1795759200000-0"),
        ("amqp", {"meta": {"message_id": 123}}, 'meta.message_id: takes text, not a number; quote it: "123"'),
        ("amqp", {"meta": {"timestamp": 1_795_759_200_001}}, "meta.timestamp: takes a time in whole seconds"),
        ("amqp", {"meta": {"qos": 1, "entry_id": "5-1"}}, "meta.qos: meta of this source has no 'qos'"),
        ("amqp", {"meta": {"expires_in": -1}}, "meta.expires_in: takes seconds from 0"),
        ("mqtt", {"topic": ""}, "topic: an event of MQTT has a topic"),
        ("mqtt", {"topic": "r/+"}, "topic: no event has a topic with the wildcard +"),
        ("mqtt", {"topic": "b/#"}, "topic: no event has a topic with the wildcard #"),
        ("mqtt", {"topic": "r/\0"}, "topic: takes text without the character NUL"),
        ("mqtt", {"topic": "$share/g/a/1"}, "topic: no event has a topic that begins with $share/"),
        ("amqp", {"topic": "x" * 256}, "topic: a routing key has at most 255 bytes"),
        ("stream", {"payload": {"n": 5}}, 'payload.n: a field of an entry is text, not a number; quote it: "5"'),
        ("stream", {"payload": [1]}, "payload: the payload is a mapping of the entry's fields, not a list"),
        (
            "auto",
            {"payload": {}, "meta": {"content_type": "text/a"}},
            "payload: by the event's content_type the payload",
        ),
    ],
    ids=lambda value: str(value)[:60],
)
def test_an_event_that_no_broker_brings_is_refused(
    sources: Mapping[str, config.SourceModel], name: str, event: dict[str, Any], says: str
) -> None:
    """At its place: a test of such an event would be green, and prove nothing."""
    assert says in _refusal(sources, name, **event)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"body": '{"n": 5}'}, "body.n: a field of an entry is text, not a number"),
        ({"body": "5"}, "body: the payload is a mapping of the entry's fields, not a number"),
        ({"body": "n: 5"}, "body: the body is the JSON mapping of the entry's fields, and this is no JSON"),
        ({"payload_base64": "eyJuIjogNX0="}, "payload_base64.n: a field of an entry is text"),
        ({"body": "{}"}, "body: an entry has at least one field"),
        ({}, ": an entry has at least one field"),
    ],
)
def test_the_body_of_an_entry_is_its_fields(
    sources: Mapping[str, config.SourceModel], body: dict[str, str], says: str
) -> None:
    """However it is written: each field of a stream's entry is text."""
    case = EventCase.model_validate({"from": "stream", **body})
    with pytest.raises(InvalidValue) as caught:
        described_event(case, sources["stream"], Path(), NOW_MS)
    (mistake,) = caught.value.diagnostics
    assert says in f"{'.'.join(map(str, mistake.path))}: {mistake}"


def test_an_event_of_the_only_channel_needs_no_topic(sources: Mapping[str, config.SourceModel]) -> None:
    """Where a source has one channel or stream, the event is of it."""
    for name, topic in (("pubsub", "c"), ("field", "s")):
        case = EventCase.model_validate({"from": name, "payload": 1})
        assert described_event(case, sources[name], Path(), NOW_MS).topic == topic
