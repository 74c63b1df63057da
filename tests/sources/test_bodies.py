"""Bodies of programs that many have, over real brokers: nothing of them is lost, and none stands in the way of another."""

from __future__ import annotations

import asyncio
import base64
import json
import zlib
from collections.abc import Callable
from typing import Any

import aio_pika
import pytest

from tests.support.brokers import Mosquitto, RabbitMQ, Redis
from tests.support.children import wait_until
from tests.support.feeds import AmqpFeed, MqttFeed, mqtt_publish
from tests.support.processes import Bridges, queue_messages


def _calls(sink: Redis, count: int) -> list[tuple[str, list[Any]]]:
    """Wait for `count` messages; return the actors and their arguments."""
    with sink.client() as client:
        wait_until(lambda: client.llen("dramatiq:default") >= count, 30, f"{count} messages")
        return [(message["actor_name"], message["args"]) for message in queue_messages(client, "default")]


def _letters(sink: Redis) -> list[tuple[bytes, bytes]]:
    with sink.client() as client:
        letters: Any = client.xrange("dramatiq-bridge:dead-letters")
        return [(fields[b"route"], fields[b"body"]) for _, fields in letters]


#: Of zigbee2mqtt (availability, state), Tasmota (LWT, tele), Home Assistant's statestream, ESPHome, and an Arduino's `char[]`.
HOME = [
    ("zigbee2mqtt/lamp/availability", b"online", "online"),
    ("zigbee2mqtt/lamp", b'{"state": "ON", "brightness": 254}', {"state": "ON", "brightness": 254}),
    ("tele/plug/LWT", b"Offline", "Offline"),
    (
        "tele/plug/SENSOR",
        b'{"ENERGY": {"Power": nan, "Voltage": 230.5}}',
        {"ENERGY": {"Power": None, "Voltage": 230.5}},
    ),
    ("homeassistant/sensor/co2/state", b"417", 417),
    ("homeassistant/sensor/co2/last_changed", b'"2026-11-28T10:00:00+00:00"', "2026-11-28T10:00:00+00:00"),
    ("homeassistant/sensor/co2/unit", b"\xef\xbb\xbfppm", "ppm"),
    ("esphome/sensor/state", b"nan", None),
    ("arduino/door", b"open\x00", "open"),
    ("csharp/door", b'\xef\xbb\xbf{"open": true}', {"open": True}),
]


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_smart_home(mosquitto: Mosquitto, redis_server: Redis, new_bridge: Bridges, version: str) -> None:
    """Text beside JSON, NaN, byte order marks, NULs and empty messages, on one connection: one source reads them all."""
    feed = MqttFeed(mosquitto)
    root = feed.name
    settings = {"decode": "json-or-text", "lenient": True, "empty": "drop", "version": version, "topics": [f"{root}/#"]}
    config = feed.config(
        redis_server, {"topic": f"{root}/#", "actor": "note", "args": ["$topic", "$payload"]}, **settings
    )
    config["routes"].append(
        {"from": "feed", "topic": f"{root}/arduino/+", "actor": "raw", "decode": "bytes", "args": ["$payload"]}
    )
    config["routes"].append(
        {"from": "feed", "topic": f"{root}/csharp/+", "actor": "strict", "decode": "msgpack", "args": ["$payload"]}
    )
    bridge = new_bridge(config).ready()
    mqtt_publish(mosquitto, [(f"{root}/empty", b""), *((f"{root}/{topic}", body) for topic, body, _ in HOME)])
    calls = _calls(redis_server, len(HOME) + 1)
    assert [args for actor, args in calls if actor == "note"] == [
        [f"{root}/{topic}", value] for topic, _, value in HOME
    ]
    assert [args for actor, args in calls if actor == "raw"] == [[base64.b64encode(b"open\0").decode()]]
    # A body that one route can't read is a dead letter of that route alone.
    wait_until(lambda: len(_letters(redis_server)) == 1, 30, "a dead letter")
    assert _letters(redis_server) == [(b"strict", HOME[-1][1])]
    counts = bridge.state()
    # One event has a message of one route and a dead letter of another: it counts as the latter.
    assert (counts["received"], counts["enqueued"], counts["filtered"]) == (len(HOME) + 1, len(HOME) - 1, 1)
    assert counts["dead_lettered"] == 1
    assert counts["repaired"] == {"empty": 1, "lenient": 2, "bom": 3}


async def _publish(rabbitmq: RabbitMQ, queue: str, messages: list[tuple[bytes, dict[str, Any]]]) -> None:
    async with await aio_pika.connect(rabbitmq.url) as connection, connection.channel() as channel:
        await channel.declare_queue(queue, durable=True)
        for body, properties in messages:
            await channel.default_exchange.publish(aio_pika.Message(body, **properties), queue)


CELERY_BODY = json.dumps([[4, 2], {"scale": 3}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
CELERY: dict[str, Any] = {
    "content_type": "application/json",
    "content_encoding": "utf-8",
    "correlation_id": "t-1",
    "priority": 5,
}
MASSTRANSIT = {"messageType": ["urn:message:Shop:OrderPlaced"], "message": {"orderId": "o-1"}}
#: Of EasyNetQ, MassTransit, NServiceBus, and Celery's protocol 2: plain, and compressed by kombu, whose gzip is zlib.
OFFICE: list[tuple[bytes, dict[str, Any]]] = [
    (b'\xef\xbb\xbf{"Id": 1}', {"type": "Shop.OrderPlaced, Shop", "app_id": "shop", "user_id": "guest", "priority": 7}),
    (json.dumps(MASSTRANSIT).encode(), {"content_type": "application/vnd.masstransit+json"}),
    ('\ufeff{"Id": 3}'.encode(), {"headers": {"NServiceBus.EnclosedMessageTypes": "Shop.OrderPlaced"}, "type": "Shop.OrderPlaced"}),
    (CELERY_BODY.encode(), {**CELERY, "headers": {"lang": "py", "task": "shop.scale", "id": "t-1"}}),
    (zlib.compress(CELERY_BODY.encode()), {**CELERY, "headers": {"task": "shop.scale", "compression": "application/x-gzip"}}),
]  # fmt: skip


def test_an_office(rabbitmq: RabbitMQ, redis_server: Redis, either_bridge: Bridges) -> None:
    """EasyNetQ, MassTransit, NServiceBus and Celery on one queue; the properties say which is which."""
    feed = AmqpFeed(rabbitmq)
    feed.prepare()
    config = feed.config(redis_server, decode="auto")
    config["routes"] = [
        {"from": "feed", "actor": "place", "when": "meta.type is not null",
         "args": ["$split(meta.type, ',')[0]", "$payload.Id", "$meta.app_id", "$meta.priority"]},
        {"from": "feed", "actor": "masstransit", "when": 'meta.content_type == "application/vnd.masstransit+json"', "args": ["$payload.message.orderId"]},
        {"from": "feed", "actor": "scale", "when": 'headers.task == "shop.scale"', "args": "$payload[0]", "kwargs": "$payload[1]"},
    ]  # fmt: skip
    bridge = either_bridge(config).ready()
    asyncio.run(_publish(rabbitmq, feed.name, OFFICE))
    assert _calls(redis_server, 5) == [
        ("place", ["Shop.OrderPlaced", 1, "shop", 7]),
        ("masstransit", ["o-1"]),
        ("place", ["Shop.OrderPlaced", 3, None, 0]),
        ("scale", [4, 2]),
        ("scale", [4, 2]),
    ]
    assert bridge.state()["repaired"] == {"bom": 2, "compressed": 1}
    assert _letters(redis_server) == []


def test_a_bomb_and_an_unknown_encoding(
    rabbitmq: RabbitMQ, redis_server: Redis, new_bridge: Bridges, unique: Callable[[str], str]
) -> None:
    """They are dead letters with their bodies as they came; the event behind them flows."""
    feed = AmqpFeed(rabbitmq)
    feed.prepare()
    new_bridge(feed.config(redis_server, decode="json", max_body="64KiB")).ready()
    bomb = zlib.compress(bytes(8 << 20))
    messages = [(bomb, "deflate"), (b"\x0b\x02\x80{}\x03", "br"), (bomb[:-1], "gzip"), (b'{"n": 4}', "br")]
    asyncio.run(_publish(rabbitmq, feed.name, [(body, {"content_encoding": name}) for body, name in messages]))
    assert _calls(redis_server, 1) == [("record", [4])]
    with redis_server.client() as client:
        letters: Any = client.xrange("dramatiq-bridge:dead-letters")
    assert [fields[b"body"] for _, fields in letters] == [body for body, _ in messages[:3]]
    assert [fields[b"reason"] for _, fields in letters] == [b"too-large", b"decode", b"too-large"]
    assert b"no decoder for the content encoding 'br'" in letters[1][1][b"error"]
