"""The traces that events of each protocol bring, by its real broker, on both read paths."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.support.brokers import Redis
from tests.support.children import wait_until
from tests.support.feeds import AmqpFeed, Feed, MqttFeed, StreamFeed, connect
from tests.support.processes import Bridges, queue_messages

TRACE_ID: Final = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT: Final = f"00-{TRACE_ID}-b7ad6b7169203331-01"
#: Headers of events by their numbers, and the options that are right for them.
_Headers = list[tuple[str, str]]
EVENTS: Final[list[tuple[_Headers, dict[str, str]]]] = [
    ([("traceparent", TRACEPARENT), ("tracestate", "a=1,b=2"), ("other", "x")], {"traceparent": TRACEPARENT, "tracestate": "a=1,b=2"}),
    ([], {}),
    ([("Traceparent", TRACEPARENT)], {}),
    ([("traceparent", f"00-{'0' * 32}-b7ad6b7169203331-01")], {}),
    ([("traceparent", TRACEPARENT), ("tracestate", "A=1")], {"traceparent": TRACEPARENT}),
]  # fmt: skip
#: Of protocols in which a name may stand twice.
TWICE: Final[list[tuple[_Headers, dict[str, str]]]] = [
    ([("traceparent", TRACEPARENT), ("traceparent", TRACEPARENT.replace("b7", "c8"))], {}),
    (
        [("tracestate", "a=1"), ("traceparent", TRACEPARENT), ("tracestate", "b=2")],
        {"traceparent": TRACEPARENT, "tracestate": "a=1,b=2"},
    ),
]
INVALID: Final = 2  # of EVENTS


def publish(feed: Feed, n: int, headers: _Headers) -> None:
    """Publish an event with these headers."""
    if isinstance(feed, AmqpFeed):
        feed.publish([{"n": n}], headers=dict(headers))
    elif isinstance(feed, StreamFeed):
        flat = [part for pair in [("data", json.dumps({"n": n})), *headers] for part in pair]
        with feed.broker.client() as client:
            client.execute_command("XADD", feed.name, "*", *flat)
    elif isinstance(feed, MqttFeed):
        client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
        connect(client, feed.broker.port)
        properties = Properties(PacketTypes.PUBLISH)
        if headers:
            properties.UserProperty = headers
        client.publish(feed.name, json.dumps({"n": n}), qos=1, properties=properties).wait_for_publish(60)
        client.disconnect()
        client.loop_stop()
    else:
        feed.publish_numbers(n)


def options_by_number(sink: Redis, count: int) -> dict[int, dict[str, Any]]:
    """Wait for so many messages, and return the options of each, without the redis_message_id."""
    with sink.client() as client:
        wait_until(lambda: client.llen("dramatiq:default") == count, 30, f"{count} messages")
        found = queue_messages(client, "default")
    for message in found:
        del message["options"]["redis_message_id"]
    return {int(message["args"][0]): message["options"] for message in found}


def test_an_events_trace_goes_on_in_its_message(feed: Feed, redis_server: Redis, new_bridge: Bridges) -> None:
    """From AMQP headers, MQTT 5 user properties and stream fields; pub/sub has none. Malformed ones are counted."""
    has_headers = feed.kind != "redis-pubsub"
    events = [*EVENTS, *(TWICE if isinstance(feed, (MqttFeed, StreamFeed)) else [])]
    bridge = new_bridge({**feed.config(redis_server), "tracing": {"propagate": ["w3c"]}}).ready()
    for n, (headers, _) in enumerate(events):
        publish(feed, n, headers)
    found = options_by_number(redis_server, len(events))
    assert found == {n: right if has_headers else {} for n, (_, right) in enumerate(events)}
    state = bridge.state()
    assert state["invalid_traces"] == (INVALID + (len(events) > len(EVENTS)) if has_headers else 0)
    assert (state["received"], state["dead_lettered"]) == (len(events), 0)
    if has_headers:
        line = bridge.wait_for("trace.invalid", source="feed", cause="traceparent: an id is all zeros")
        assert "00000000" not in json.dumps(line), "the value is any publisher's"


@pytest.mark.parametrize("traced", [False, True])
def test_an_entry_without_a_chosen_field_brings_its_trace(
    traced: bool,
    stream: StreamFeed,
    redis_server: Redis,
    new_bridge: Bridges,
) -> None:
    """Its payload is made of all fields; of two traceparents none is used."""
    settings = {
        **stream.config(redis_server, {"args": ["$int(payload.n)"]}),
        "tracing": {"propagate": ["w3c"] if traced else []},
    }
    del settings["sources"]["feed"]["field"]
    new_bridge(settings).ready()
    with stream.broker.client() as client:
        client.execute_command("XADD", stream.name, "*", "n", "0", "traceparent", TRACEPARENT, "tracestate", "a=1")
        client.execute_command(
            "XADD", stream.name, "*", "traceparent", TRACEPARENT, "n", "1", "traceparent", TRACEPARENT
        )
    right = {"traceparent": TRACEPARENT, "tracestate": "a=1"} if traced else {}
    assert options_by_number(redis_server, 2) == {0: right, 1: {}}


def test_headers_of_unexpected_types_are_no_trace(rabbitmq: Any, redis_server: Redis, new_bridge: Bridges) -> None:
    """AMQP has more types than text: numbers, bytes, tables and lists of traces are malformed, and cost no message."""
    feed = AmqpFeed(rabbitmq)
    feed.prepare()
    # Null is no header.
    values: list[Any] = [1, bytearray(b"\xff"), {"traceparent": TRACEPARENT}, [TRACEPARENT], True, None, TRACEPARENT]
    bridge = new_bridge({**feed.config(redis_server), "tracing": {"propagate": ["w3c"]}}).ready()
    for n, value in enumerate(values):
        feed.publish([{"n": n}], headers={"traceparent": value})
    found = options_by_number(redis_server, len(values))
    assert [found[n] for n in range(len(values))] == [{}] * 6 + [{"traceparent": TRACEPARENT}]
    assert bridge.state()["invalid_traces"] == 5
