"""Names of MQTT and Redis: the broker decides about each, shown on real ones. For AMQP see `amqp/test_names.py`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from tests.support.brokers import Mosquitto, Redis
from tests.support.children import wait_until
from tests.support.feeds import connect
from tests.support.processes import Bridges, queue_messages

#: Topics that mosquitto takes; control characters it calls malformed.
TOPICS = (
    "ünï/topic",
    "\N{ROCKET}",
    " a / b ",
    "/",
    "a//b",
    "$app/x",
    "a|b;c=[d]{e}",
    "日本語",
    "\ufeff",
    "\u202e",
    "x" * 65_535,
)
#: Names of Redis are bytes, so it takes them all.
NAMES = ("ünï", "\N{ROCKET}", " ", "a\nb", "\r\n$3", "\0", "{x}", "*", "a:b|c[1]", "x" * 5_000)


def _config(sink: Redis, sources: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """One route for each source; the message has the source's name and the hash of the topic."""
    routes = [{"from": name, "actor": "record", "args": [name, "$sha256(topic)"]} for name in sources]
    return {"dramatiq": {"url": sink.url_of(0)}, "sources": dict(sources), "routes": routes}


def _arrive(sink: Redis, bridge: Any, expected: Mapping[str, str]) -> None:
    """Wait for an event of each source; each has the topic that belongs to its source."""
    with sink.client() as client:
        wait_until(lambda: client.llen("dramatiq:default") >= len(expected), 60, f"{len(expected)} messages")
        found = sorted(message["args"] for message in queue_messages(client, "default"))
    hashes = {name: hashlib.sha256(topic.encode()).hexdigest() for name, topic in expected.items()}
    assert found == sorted(map(list, hashes.items()))
    assert bridge.events("source.unavailable") == []


def test_mqtt_names(mosquitto: Mosquitto, redis_server: Redis, either_bridge: Bridges, unique: Any) -> None:
    """Topics, client ids and shared subscriptions of any name bring their events, on both paths."""
    prefix = unique("t")
    topics = {f"plain{n}": topic if len(topic) > 60_000 else f"{prefix}{topic}" for n, topic in enumerate(TOPICS)}
    shared = {f"shared{n}": f"{prefix}/s{n}/ünï/\N{ROCKET}" for n in range(3)}
    sources = {name: {"topics": [topic], "client_id": f"{prefix} {name}/#+ü"} for name, topic in topics.items()}
    for (name, topic), group in zip(shared.items(), ("grün", "a |b", "\N{ROCKET}"), strict=True):
        sources[name] = {"topics": [f"$share/{group}/{topic[:-1]}+"], "client_id": f"{prefix}\N{ROCKET}{name}" * 200}
    settings = {"type": "mqtt", "url": mosquitto.url}
    bridge = either_bridge(_config(redis_server, {name: {**settings, **own} for name, own in sources.items()}))
    for name in sources:
        bridge.wait_for("source.connected", source=name)
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
    connect(client, mosquitto.port)
    for topic in [*topics.values(), *shared.values()]:
        client.publish(topic, b"1", qos=1).wait_for_publish(30)
    client.disconnect()
    client.loop_stop()
    _arrive(redis_server, bridge, topics | shared)


def test_redis_names(redis_server: Redis, new_bridge: Bridges) -> None:
    """Channels, streams, groups, consumers and fields of any name bring their events."""
    url = {"url": redis_server.url_of(0)}
    channels = {f"channel{n}": name for n, name in enumerate(NAMES)}
    streams = {f"stream{n}": f"s{name}" for n, name in enumerate(NAMES)}
    sources: dict[str, dict[str, Any]] = {
        name: {"type": "redis-pubsub", **url, "channels": [channel]} for name, channel in channels.items()
    }
    for (source, stream), name in zip(streams.items(), NAMES, strict=True):
        group = {"group": name, "consumer": name, "field": name}
        sources[source] = {"type": "redis-stream", **url, "streams": [stream], **group}
    bridge = new_bridge(_config(redis_server, sources))
    for name in sources:
        bridge.wait_for("source.connected", source=name)
    with redis_server.client() as client:
        for name in NAMES:
            client.publish(name, b"1")
            client.xadd(f"s{name}", {name: json.dumps(1)})
    _arrive(redis_server, bridge, channels | streams)
