"""Events that wait in the spool for a route with `decode`, `foreach`, `deduplicate` and `expires`: killed there with -9, and replayed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.support.batches import answer
from tests.support.brokers import Mosquitto, Redis
from tests.support.children import wait_until
from tests.support.feeds import MqttFeed, connect
from tests.support.processes import Bridges, queue_messages

LINES = {
    "name": "lines",
    "decode": "json",
    "foreach": "$payload.lines",
    "args": ['$f"{payload.n}/{item}"'],
    "deduplicate": {"key": '$f"{payload.n}/{item}"'},
    "expires": True,
}
TEXT = {"name": "text", "from": "feed", "actor": "record", "when": 'payload == "plain"', "args": ["$payload"]}


def _publish(feed: MqttFeed, bodies: Mapping[str, int | None]) -> None:
    """Publish each body with its expiry in seconds, None for none."""
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
    connect(client, feed.broker.port)
    for body, expiry in bodies.items():
        properties = Properties(PacketTypes.PUBLISH)
        if expiry is not None:
            properties.MessageExpiryInterval = expiry
        client.publish(feed.name, body, qos=1, properties=properties).wait_for_publish(60)
    client.disconnect()
    client.loop_stop()


def test_gates_hold_behind_a_spool(
    mosquitto: Mosquitto, new_redis: Callable[..., Redis], new_bridge: Bridges, tmp_path: Path
) -> None:
    """Its keys and its time are those of the replay, its bodies are decoded then: one that is no JSON damages that route alone."""
    sink, feed = new_redis(appendonly=True), MqttFeed(mosquitto)
    config = feed.config(sink, LINES, qos=0, decode="text")
    config |= {"spool": {"directory": str(tmp_path / "spool")}, "routes": [*config["routes"], TEXT]}
    bridge = new_bridge(config).ready()
    bridge.wait_for("source.connected")
    before = time.time()
    with sink.client() as client:
        _publish(feed, {'{"n": 1, "lines": ["a"]}': 600})
        wait_until(lambda: answer(client.llen("dramatiq:default")) == 1, 60, "the first message")
    sink.kill()
    _publish(feed, {
        '{"n": 1, "lines": ["a", "b", "b"]}': 600,
        '{"n": 1, "lines":["a"]}': 600,
        '{"n": 2, "lines": ["a"]}': 1,
        "plain": None,
    })  # fmt: skip
    wait_until(lambda: bridge.state()["spooled"] == 4, 60, "all events on the disk")
    bridge.kill()
    time.sleep(1.1)  # the time of the third event
    bridge.start().wait_for("sink.unavailable")
    sink.start()
    bridge.ready()
    with sink.client() as client:
        wait_until(lambda: answer(client.llen("dramatiq:default")) == 3, 60, "three messages")
        written = queue_messages(client, "default")
        wait_until(lambda: bridge.state()["spooled"] == 0, 60, "an empty spool")
        counts = bridge.state()
        bridge.kill()
        bridge.start().ready()
        _publish(feed, {'{"n": 1, "lines": ["b", "c"]}': 600})
        wait_until(lambda: answer(client.llen("dramatiq:default")) >= 4, 60, "the last message")
        assert [message["args"][0] for message in queue_messages(client, "default")] == ["1/a", "1/b", "plain", "1/c"]
        (letter,) = client.xrange("dramatiq-bridge:dead-letters")
    assert (letter[1][b"reason"], letter[1][b"route"]) == (b"decode", b"lines")
    classes = ("recovered", "enqueued", "deduplicated", "expired", "dead_lettered")
    assert [counts[name] for name in classes] == [4, 1, 1, 1, 1]
    assert 0 < written[1]["options"]["max_age"] <= 600_000 - 1_100
    assert time.time() - before < 600, "no other event has expired"
