"""Examples run: their own files, real brokers, and a real worker with the application's actors."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any, Final

import aio_pika

from tests.support.batches import answer
from tests.support.broker import Broker
from tests.support.brokers import Mosquitto, RabbitMQ, Redis
from tests.support.children import REPOSITORY, wait_until
from tests.support.feeds import AmqpFeed, mqtt_publish
from tests.support.processes import BridgeProcess, Bridges, Worker

_EXAMPLES: Final = REPOSITORY / "config" / "examples"
NewWorker = Callable[..., Worker]


def _text(example: str) -> str:
    """Return the example's file, whose tables stay where they are."""
    return (_EXAMPLES / f"{example}.yaml").read_text().replace("file: customers", f"file: {_EXAMPLES}/customers")


def _run(new_bridge: Bridges, text: str, sink: Redis, broker: Broker) -> BridgeProcess:
    env = {"REDIS_URL": sink.url_of(0), "RABBIT_URL": broker.url, "MQTT_URL": broker.url}
    return new_bridge(text, env=env).ready()


def _work(new_worker: NewWorker, application: str, sink: Redis, *queues: str) -> Worker:
    return new_worker(sink.url_of(0), queues=queues, actors="example_actors", env={"TESTS_APPLICATION": application})


def _calls(worker: Worker, count: int) -> list[tuple[str, list[Any], dict[str, Any]]]:
    calls = [(call["actor"], call["args"], call["kwargs"]) for call in worker.wait_for(count)]
    return sorted(calls, key=json.dumps)


def _letters(sink: Redis) -> list[tuple[bytes, bytes]]:
    with sink.client() as client:
        letters: Any = client.xrange("dramatiq-bridge:dead-letters")
    return [(fields[b"route"], fields[b"reason"]) for _, fields in letters]


async def _publish(rabbitmq: RabbitMQ, exchange: str, messages: list[tuple[str, bytes, dict[str, Any]]]) -> None:
    async with await aio_pika.connect(rabbitmq.url) as connection, connection.channel() as channel:
        target = await channel.get_exchange(exchange)
        for key, body, properties in messages:
            await target.publish(aio_pika.Message(body, **properties), key)


def test_shop_orders(rabbitmq: RabbitMQ, redis_server: Redis, new_bridge: Bridges, new_worker: NewWorker) -> None:
    """A message for each line, and an invoice whose steps follow; an order that comes twice is picked once."""
    # The lines wait on a weekend: here every day is one on which they are picked.
    bridge = _run(new_bridge, _text("shop-orders").replace("<= 5", "<= 7"), redis_server, rabbitmq)
    order = {
        "order": "A1",
        "customer": 1008,
        "date": "28.11.2026 10:00",
        "priority": "express",
        "lines": [{"article": article, "quantity": 2, "price": "1.234,50 €"} for article in ("rose", "vase")],
    }
    placed: tuple[str, bytes, dict[str, Any]] = ("order.placed", json.dumps(order).encode(), {})
    asyncio.run(_publish(rabbitmq, "shop", [placed, placed, ("order.cancelled", b'{"order": "A1"}', {})]))
    worker = _work(
        new_worker, "shop_orders", redis_server, "default", "picking", "picking-express", "accounting", "mail"
    )
    line = {"order": "A1", "quantity": 2, "cents": 246900}
    assert _calls(worker, 5) == [
        ("note_event", ["order.cancelled", {"order": "A1"}], {}),
        ("pick_line", [], {**line, "article": "rose", "position": 1}),
        ("pick_line", [], {**line, "article": "vase", "position": 2}),
        ("send_invoice", ["I-A1"], {}),
        ("write_invoice", [], {"order": "A1", "account": "D10459", "ordered_at": 1795856400000, "total": "4938.00"}),
    ]
    assert {call["queue"] for call in worker.executions() if call["actor"] == "pick_line"} == {"picking-express"}
    with redis_server.client() as client:
        wait_until(lambda: answer(client.hlen("dramatiq:accounting.DQ.msgs")) == 1, 30, "the follow-up waits")
        (message,) = map(json.loads, answer(client.hvals("dramatiq:accounting.DQ.msgs")))
    assert (message["actor_name"], message["args"]) == ("check_payment", ["A1"])
    counts = bridge.state("shop")
    assert (counts["received"], counts["deduplicated"], counts["dead_lettered"]) == (3, 1, 0)


#: What zigbee2mqtt, Tasmota and Home Assistant publish.
_HOME: Final = [
    ("zigbee2mqtt/attic", b'{"temperature":27.34,"humidity":44.72}'),
    ("zigbee2mqtt/attic", b'{"temperature":NaN,"humidity":44.72}'),
    ("zigbee2mqtt/attic", b""),
    ("zigbee2mqtt/attic/availability", b"online"),
    ("zigbee2mqtt/bridge/devices", (b'[{"ieee_address":"0x01","type":"Coordinator","friendly_name":"Coordinator"},'
     b'{"ieee_address":"0x02","type":"Router","friendly_name":"garage","definition":null}]')),
    ("zigbee2mqtt/bridge/state", b'{"state":"offline"}'),
    ("tele/cellar/SENSOR", (b'{"Time":"2018-10-31T11:57:31","SI7021-00":{"Temperature":17.1,"Humidity":70.0},'
     b'"SI7021-02":{"Temperature":nan,"Humidity":nan},"TempUnit":"C"}')),
    ("stat/plug/POWER", b"ON"),
    ("tele/plug/LWT", b"Offline"),
    ("homeassistant/sensor/co2/state", b"417"),
    ("homeassistant/sensor/0x02/temperature/config", b""),
]  # fmt: skip


def test_smart_home(mosquitto: Mosquitto, redis_server: Redis, new_bridge: Bridges, new_worker: NewWorker) -> None:
    """JSON, text, NaN and empty messages of one connection, each for its actor; no event is a dead letter."""
    text = _text("smart-home").replace("delay: 5m ", "delay: 1s ").replace("delay: 5m\n", "delay: 1s\n")
    bridge = _run(new_bridge, text, redis_server, mosquitto)
    mqtt_publish(mosquitto, _HOME)
    worker = _work(new_worker, "smart_home", redis_server, "default", "readings")
    assert [(actor, args) for actor, args, _ in _calls(worker, 8)] == [
        ("forget_entity", ["0x02/temperature"]),
        ("look_after", ["bridge"]),
        ("look_after", ["plug"]),
        ("note_state", ["sensor.co2", "417"]),
        ("note_switch", ["plug", True]),
        ("register_device", ["0x02", "garage", "unknown"]),
        ("store_climate", ["attic", 27.34, 44.72]),
        ("store_temperature", ["cellar/SI7021-00", 17.1, 1540983451000]),
    ]
    counts = bridge.state("home")
    assert (counts["received"], counts["filtered"], counts["dead_lettered"]) == (len(_HOME), 3, 0)
    assert counts["repaired"] == {"lenient": 2, "empty": 2}


_MASSTRANSIT: Final = {
    "messageId": "5fdc0000-426e-001c-fcf9-08d9a30339e8",
    "destinationAddress": "rabbitmq://localhost/Shop.Contracts:OrderSubmitted",
    "messageType": ["urn:message:Shop.Contracts:OrderSubmitted"],
    "message": {"orderId": "A1"},
    "sentTime": "2021-11-08T21:45:37.6181893Z",
}


def _easynetq_properties() -> bytes:
    """Return properties with a header whose name and value are of another charset: flags, headers, correlation id, type."""
    name, value = "Größe".encode("latin-1"), "Süd".encode("latin-1")
    table = bytes([len(name)]) + name + b"S" + len(value).to_bytes(4) + value
    texts = [b"c-9", b"Shop.Messages.OrderPaid, Shop.Messages"]
    flags = 0x2000 | 0x0400 | 0x0020
    return flags.to_bytes(2) + len(table).to_bytes(4) + table + b"".join(bytes([len(text)]) + text for text in texts)


def test_publishers(rabbitmq: RabbitMQ, redis_server: Redis, new_bridge: Bridges, new_worker: NewWorker) -> None:
    """MassTransit's envelope, EasyNetQ's type, and what Celery itself has published: actors with their own signatures run."""
    bridge = _run(new_bridge, _text("publishers"), redis_server, rabbitmq)
    body = json.dumps(_MASSTRANSIT).encode()
    properties = {"content_type": "application/vnd.masstransit+json", "message_id": _MASSTRANSIT["messageId"]}
    asyncio.run(_publish(rabbitmq, "Shop.Contracts:OrderSubmitted", [("", body, properties)] * 2))
    feed = AmqpFeed(rabbitmq)
    feed.name = "bridge-easynetq"
    feed.publish_raw(b'{"OrderId":"A1","Amount":19.99}', _easynetq_properties())
    feed.name = "celery"
    recorded = json.loads((REPOSITORY / "tests/support/celery_messages.json").read_text())["messages"]
    for message in recorded.values():
        feed.publish_raw(base64.b64decode(message["body"]), base64.b64decode(message["properties"]))
    worker = _work(new_worker, "publishers", redis_server, "default")
    calls = _calls(worker, 6)
    chained = next(args for actor, args, _ in calls if actor == "report_task")
    assert calls == [
        ("note_payment", [], {"order": "A1", "cents": 1999, "request": "c-9"}),
        ("report_task", ["shop.tasks.resize", chained[1], chained[2]], {}),
        ("reserve_stock", [], {"order": "A1", "sent_at": 1636407937618}),
        ("resize", [1, "a.png"], {"width": 80}),
        ("resize", [2, "b.png"], {}),
        ("send_receipt", ["A2"], {}),
    ]
    with redis_server.client() as client:
        (waiting,) = map(json.loads, answer(client.hvals("dramatiq:default.DQ.msgs")))
    assert (waiting["actor_name"], waiting["args"], waiting["options"]["eta"]) == (
        "send_receipt",
        ["A1"],
        2082855845678,
    )
    wait_until(lambda: _letters(redis_server), 30, "a dead letter")
    assert _letters(redis_server) == [(b"task", b"not-allowed")]
    assert bridge.state("celery")["repaired"] == {"compressed": 1}
    wait_until(lambda: bridge.state("masstransit")["deduplicated"] == 1, 30, "the second order left out")
