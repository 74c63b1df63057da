"""AMQP: what takes something from the promise is said, in the broker's words."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import aio_pika
import pytest
import structlog
from pamqp import frame as pamqp
from pamqp.commands import Basic, Connection, Queue

from bridge.config import Amqp
from bridge.errors import Disconnected
from bridge.model.event import Event, already_parsed
from bridge.sources.amqp import session as session_module
from bridge.sources.amqp.promise import PromiseLog
from bridge.sources.amqp.source import AmqpSource
from tests.support import amqp_wire
from tests.support.amqp_wire import NOWHERE, TAG, message
from tests.support.brokers import RabbitMQ, Redis
from tests.support.children import wait_until
from tests.support.feeds import AmqpFeed
from tests.support.processes import Bridges, queue_messages

CANCEL = pamqp.marshal(Basic.Cancel(TAG), 1)
PATHS = pytest.mark.parametrize("fast_path", [True, False], ids=["fast", "library"])


def source_of(port: int, *, fast_path: bool, **settings: Any) -> AmqpSource:
    """Return a source of the queue `q`."""
    url = f"amqp://guest:guest@127.0.0.1:{port}/"
    config = {"type": "amqp", "url": url, "queue": "q", "fast_path": fast_path, **settings}
    return AmqpSource("s", Amqp.model_validate(config), NOWHERE)


@PATHS
@pytest.mark.parametrize(
    "found", [Queue.DeclareOk("q", 0, 1), Queue.DeclareOk("q", 3, 0)], ids=["another consumer", "as many messages"]
)
async def test_deliveries_that_the_broker_has_taken_back_are_forgotten(
    found: Queue.DeclareOk, fast_path: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RabbitMQ 4.3 cancels a consumer that acknowledges too late, and delivers again: what is held would be written twice."""
    monkeypatch.setattr(session_module, "_MIN_CONSUMER_TIMEOUT_S", 0.0)
    broker = amqp_wire.Broker([b"".join(message(tag, b"{}") for tag in (1, 2, 3)), CANCEL])
    broker.found = Queue.DeclareOk("q", 0, 0), found
    async with broker.serve(), source_of(broker.port, fast_path=fast_path).connect() as session:
        assert len(await session.receive()) == 3
        with pytest.raises(Disconnected, match=r"of queue 'q', and delivers what was not acknowledged in time again"):
            await session.receive()
        assert session.ended
        assert session.held == 3


@PATHS
@pytest.mark.parametrize(
    "found",
    [Queue.DeclareOk("q", 0, 0), Queue.DeclareOk("q", 0, 1), Queue.DeclareOk("q", 3, 0)],
    ids=["empty", "another consumer", "as many messages"],
)
async def test_a_queue_that_was_made_again_has_not_what_is_held(found: Queue.DeclareOk, fast_path: bool) -> None:
    """No delivery has waited for long, so the broker has taken none back: the events are written first."""
    broker = amqp_wire.Broker([b"".join(message(tag, b"{}") for tag in (1, 2, 3)), CANCEL])
    broker.found = Queue.DeclareOk("q", 0, 0), found
    async with broker.serve(), source_of(broker.port, fast_path=fast_path).connect() as session:
        events = await session.receive()
        ending = asyncio.create_task(session.receive())
        await asyncio.sleep(0.3)
        assert not session.ended
        await session.acknowledge(events)
        with pytest.raises(Disconnected, match=r"queue 'q' \(was it made again\?\)"):
            await ending


@PATHS
async def test_the_brokers_reason_is_given(fast_path: bool) -> None:
    """Connection.Close instead of an answer: aiormq shows only the frame's class."""
    broker = amqp_wire.Broker([])
    broker.replies["Connection.Open"] = Connection.Close(530, "NOT_ALLOWED - vhost ü not found", 10, 40)
    async with broker.serve():
        with pytest.raises(Disconnected, match=r"^NOT_ALLOWED - vhost ü not found$"):
            async with source_of(broker.port, fast_path=fast_path).connect():
                pass


@PATHS
async def test_a_vhost_that_is_missing_or_forbidden(rabbitmq: RabbitMQ, fast_path: bool) -> None:
    """RabbitMQ's own words."""
    source = source_of(rabbitmq.port, fast_path=fast_path)
    source._config = source._config.model_copy(update={"url": f"amqp://127.0.0.1:{rabbitmq.port}/missing"})
    with pytest.raises(Disconnected, match="NOT_ALLOWED - vhost missing not found"):
        async with source.connect():
            pass


async def test_an_argument_that_the_broker_refuses(rabbitmq: RabbitMQ) -> None:
    """A queue that does not exist yet does not exist with other settings."""
    source = source_of(rabbitmq.port, fast_path=True, declare={"arguments": {"x-max-length": "many"}})
    with pytest.raises(Disconnected, match=r"queue 'q' is refused as it is declared: .*x-max-length"):
        async with source.connect():
            pass


def test_a_headers_exchange(rabbitmq: RabbitMQ, redis_server: Redis, new_bridge: Bridges) -> None:
    """A binding's arguments choose by headers; of two bindings each has its own."""
    feed = AmqpFeed(rabbitmq)
    exchange = f"{feed.name}-headers"
    bindings = [
        {"arguments": {"x-match": "any", "kind": "alarm", "level": 9}},
        {"key": "ignored", "arguments": {"x-match": "all", "kind": "reading", "plant": "a"}},
    ]
    declare = {"exchange": exchange, "type": "headers", "bindings": bindings}
    new_bridge(feed.config(redis_server, {"args": ["$headers.n"]}, declare=declare)).ready()

    async def publish(*sent: dict[str, Any]) -> None:
        async with await aio_pika.connect(rabbitmq.url) as connection:
            channel = await connection.channel()
            to = await channel.get_exchange(exchange)
            for headers in sent:
                await to.publish(aio_pika.Message(b"{}", headers=headers), "any")

    wanted: list[dict[str, Any]] = [
        {"kind": "alarm", "n": 1},
        {"level": 9, "n": 2},
        {"kind": "reading", "plant": "a", "n": 3},
    ]
    others: list[dict[str, Any]] = [{"kind": "reading", "n": 4}, {"plant": "a", "n": 5}, {"n": 6}]
    asyncio.run(publish(*others, *wanted))
    with redis_server.client() as client:
        wait_until(lambda: client.llen("dramatiq:default") == 3, what="3 messages")
        assert [call["args"][0] for call in queue_messages(client, "default")] == [1, 2, 3]


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "found by its header"])
def test_a_delivery_limit_is_said(
    declared: bool, rabbitmq: RabbitMQ, redis_server: Redis, new_bridge: Callable[..., Any]
) -> None:
    """At once for a quorum queue that the bridge declares; for another one at the first event that was delivered before."""
    feed = AmqpFeed(rabbitmq)
    quorum = {"x-queue-type": "quorum"}
    settings = {"declare": {"arguments": quorum}} if declared else {}
    if not declared:
        asyncio.run(_make_redelivered(rabbitmq, feed.name))
    bridge = new_bridge(feed.config(redis_server, {"args": []}, **settings)).ready()
    said = bridge.wait_for("source.delivery_limit", source="feed", queue=feed.name)
    assert "drops an event that it has delivered 20 times" in said["cause"]
    assert "x-delivery-limit: -1" in said["remedy"]


@pytest.mark.parametrize(
    ("arguments", "limit"),
    [
        ({}, 20),
        ({"x-delivery-limit": 3}, 3),
        ({"x-delivery-limit": -1}, None),
        ({"x-dead-letter-exchange": ""}, None),
        ({"x-queue-type": "quorum", "x-dead-letter-exchange": "letters"}, None),
    ],
    ids=repr,
)
def test_a_queue_that_is_quorum_by_its_vhost(arguments: dict[str, Any], limit: int | None) -> None:
    """`default_queue_type: quorum` makes one without x-queue-type: its count of deliveries tells."""
    config = {"type": "amqp", "url": "amqp://localhost", "queue": "q", "declare": {"arguments": arguments}}
    counted = Event("s", "q", b"{}", 0, 1, ({"x-delivery-count": 2}, {}), already_parsed, redelivered=True)
    with structlog.testing.capture_logs() as lines:
        deliveries = PromiseLog("s", Amqp.model_validate(config))
        assert [deliveries.count(counted) for _ in range(2)] == [2, 2]
    assert [f"delivered {limit} times" in line["cause"] for line in lines] == [True] * (limit is not None)


async def test_a_reset_after_the_handshake_is_no_mistake_of_tls() -> None:
    """Words about TLS are for a connection that ends before the first answer."""
    broker = amqp_wire.Broker([])
    broker.resets.add("Queue.Declare")
    async with broker.serve():
        with pytest.raises(Disconnected) as caught:
            async with source_of(broker.port, fast_path=True).connect():
                pass
    assert "TLS" not in caught.value.cause


async def _make_redelivered(rabbitmq: RabbitMQ, name: str) -> None:
    async with await aio_pika.connect(rabbitmq.url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(name, durable=True, arguments={"x-queue-type": "quorum"})
        await channel.default_exchange.publish(aio_pika.Message(b"{}"), name)
        taken = await queue.get(timeout=10)
        assert taken is not None
        await taken.reject(requeue=True)
