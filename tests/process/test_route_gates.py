"""The gates of routes in a running bridge, with real brokers: killed, reloaded, and by the brokers' own expiries."""

from __future__ import annotations

import random
import signal
import threading
from typing import Any

import redis
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.support.batches import answer
from tests.support.brokers import Mosquitto, RabbitMQ, Redis
from tests.support.children import wait_until
from tests.support.feeds import AmqpFeed, MqttFeed, connect
from tests.support.processes import Bridges, queue_messages

EVENTS = 500
LINES: dict[str, Any] = {
    "name": "lines",
    "foreach": "$payload.lines",
    "args": ['$f"{payload.n}/{item}"'],
    "deduplicate": {"key": '$f"{payload.n}/{item}"', "within": "1h"},
}


def arguments(client: redis.Redis) -> list[str]:
    """Return the first argument of each message in the queue."""
    return [message["args"][0] for message in queue_messages(client, "default")]


def test_kill_9_writes_no_message_of_a_key_twice(rabbitmq: RabbitMQ, redis_server: Redis, new_bridge: Bridges) -> None:
    """Killed in the middle, started, and sent all events again: each element's message is in the queue exactly once."""
    feed = AmqpFeed(rabbitmq)
    feed.prepare()
    payloads = [{"n": n, "lines": ["a", "b", "a"]} for n in range(EVENTS)]
    config = feed.config(redis_server, LINES)
    bridge = new_bridge(config).ready()
    with redis_server.client() as client:
        publisher = threading.Thread(target=feed.publish, args=(payloads,))
        publisher.start()
        wanted = random.randrange(100, EVENTS)
        wait_until(lambda: answer(client.llen("dramatiq:default")) >= wanted, 60, "the middle")
        bridge.kill()
        publisher.join(60)
        bridge.start().ready()
        wait_until(lambda: answer(client.llen("dramatiq:default")) >= 2 * EVENTS, 60, "all messages")
        feed.publish([*payloads, {"n": "last", "lines": ["a"]}])
        wait_until(lambda: arguments(client)[-1] == "last/a", 60, "the last message")
        assert sorted(arguments(client)) == sorted([f"{n}/{line}" for n in range(EVENTS) for line in "ab"] + ["last/a"])

        bridge.configure(
            {**config, "routes": [{**config["routes"][0], "deduplicate": {**LINES["deduplicate"], "within": "2s"}}]}
        )
        bridge.signal(signal.SIGHUP)
        bridge.wait_for("bridge.reloaded")
        feed.publish([{"n": "new", "lines": ["a"]}, {"n": "last", "lines": ["a"]}])
        wait_until(lambda: arguments(client)[-1] == "new/a", 60, "the message after the reload")
        assert 0 <= answer(client.pttl("dramatiq-bridge:once:lines:new/a")) <= 2_000
        assert answer(client.pttl("dramatiq-bridge:once:lines:last/a")) > 2_000
    bridge.terminate()
    assert bridge.wait() == 0
    line = bridge.wait_for("message.duplicate")
    assert (line["route"], line["cause"]) == ("lines", "a message of the route with this key was written before")
    stopped = bridge.wait_for("bridge.stopped")
    assert stopped["deduplicated"] >= EVENTS
    assert stopped["received"] == stopped["enqueued"] + stopped["deduplicated"]


def test_a_broker_tells_how_long_an_event_lives(
    rabbitmq: RabbitMQ, mosquitto: Mosquitto, redis_server: Redis, new_bridge: Bridges
) -> None:
    """AMQP expiration and MQTT 5 message expiry become the message's max_age; RabbitMQ's expiration of 0 is an expired event."""
    amqp, mqtt = AmqpFeed(rabbitmq), MqttFeed(mosquitto)
    amqp.prepare()
    mqtt.prepare()
    sources = {"amqp": amqp.source, "mqtt": mqtt.source}
    routes = [
        {"name": name, "from": name, "actor": "record", "args": ["$payload.n"], "expires": True} for name in sources
    ]
    bridge = new_bridge({"dramatiq": {"url": redis_server.url_of(0)}, "sources": sources, "routes": routes}).ready()
    bridge.wait_for("source.connected", source="amqp")
    bridge.wait_for("source.connected", source="mqtt")
    amqp.publish([{"n": 0}], expiration=0)
    amqp.publish([{"n": 1}], expiration=600)
    amqp.publish([{"n": 2}])
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
    connect(client, mosquitto.port)
    properties = Properties(PacketTypes.PUBLISH)
    properties.MessageExpiryInterval = 300
    client.publish(mqtt.name, '{"n": 3}', qos=1, properties=properties).wait_for_publish(60)
    client.disconnect()
    client.loop_stop()
    with redis_server.client() as server:
        wait_until(lambda: answer(server.llen("dramatiq:default")) >= 3, 60, "three messages")
        messages = queue_messages(server, "default")
    ages = {message["args"][0]: message["options"].get("max_age") for message in messages}
    assert ages.keys() == {1, 2, 3}
    assert ages[2] is None
    assert 0 < 600_000 - ages[1] + 1 <= 60_000
    assert 0 < 300_000 - ages[3] + 1 <= 60_000
    bridge.terminate()
    assert bridge.wait() == 0
    stopped = bridge.wait_for("bridge.stopped")
    assert (stopped["received"], stopped["enqueued"], stopped["expired"]) == (4, 3, 1)
