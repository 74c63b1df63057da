"""The benchmark's brokers: each can be filled with a backlog, and can count the events that it still holds."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, ClassVar, Final, Self

import aio_pika

from bench.load import (
    AMQP_EXCHANGE,
    AMQP_QUEUE,
    DOTTED_TOPIC,
    MQTT_CLIENT_ID,
    MQTT_FILTER,
    MQTT_TOPIC,
    STREAM_FIELD,
    STREAM_GROUP,
)
from bench.publishers import (
    AmqpPublisher,
    MqttPublisher,
    Publisher,
    PubsubPublisher,
    StreamPublisher,
    connect_packet,
)
from tests.support.broker import Broker
from tests.support.brokers import Mosquitto, RabbitMQ, Redis


class AllCores(RabbitMQ):
    """RabbitMQ with its default of one scheduler per core; in the tests it has only one scheduler."""

    def _env(self) -> dict[str, str]:
        env = super()._env()
        name = "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"
        return env | {name: env[name].replace("+S 1:1", "").strip()}


class Backlog(ABC):
    """A source's broker and Dramatiq's Redis; a context manager that starts and ends both.

    `waits` is true if the broker keeps events while no consumer is connected.
    """

    kind: ClassVar[str]
    topic: ClassVar[str]
    waits: ClassVar[bool] = True
    publisher_class: ClassVar[type[Publisher]]

    def __init__(self) -> None:
        self.sink = Redis()
        self._stack = ExitStack()

    @property
    @abstractmethod
    def broker(self) -> Broker:
        """The broker that holds the backlog."""

    @property
    @abstractmethod
    def source(self) -> dict[str, Any]:
        """The source's settings for the bridge's configuration."""

    @property
    def processes(self) -> dict[str, int]:
        """The brokers' process ids by program name."""
        return {self.broker.program: self.broker.pid, "redis-server (sink)": self.sink.pid}

    def fill(self, bodies: Sequence[bytes]) -> None:
        """Publish the events and wait until the broker has confirmed all of them."""
        publisher = self.publisher()
        try:
            publisher.publish(bodies)
        finally:
            publisher.close()

    def publisher(self) -> Publisher:
        """Return a new publisher to the benchmark's topic."""
        return self.publisher_class(self.broker.url)

    @abstractmethod
    def empty(self) -> None:
        """Remove all events, and create the queue, session or group that a consumer needs."""

    @abstractmethod
    def held(self) -> int:
        """Return the number of events that the broker still holds; call it after the consumer has ended."""

    def __enter__(self) -> Self:
        try:
            self._stack.enter_context(self.sink)
            if self.broker is not self.sink:
                self._stack.enter_context(self.broker)
            self.empty()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


class AmqpBacklog(Backlog):
    """A durable queue bound to a topic exchange; persistent messages."""

    kind = "amqp"
    topic = DOTTED_TOPIC
    publisher_class = AmqpPublisher

    def __init__(self) -> None:
        super().__init__()
        self._broker = AllCores()

    @property
    def broker(self) -> Broker:
        """See Backlog."""
        return self._broker

    @property
    def source(self) -> dict[str, Any]:
        """See Backlog."""
        return {"type": "amqp", "url": self._broker.url, "queue": AMQP_QUEUE}

    def fill(self, bodies: Sequence[bytes]) -> None:
        """See Backlog."""
        super().fill(bodies)
        queued = self.held()
        assert queued == len(bodies), f"RabbitMQ holds {queued} of {len(bodies)} messages"

    def empty(self) -> None:
        """See Backlog."""
        asyncio.run(self._declare())

    def held(self) -> int:
        """See Backlog."""
        return asyncio.run(self._count())

    async def _declare(self) -> None:
        async with await aio_pika.connect(self._broker.url) as connection, connection.channel() as channel:
            exchange = await channel.declare_exchange(AMQP_EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True)
            queue = await channel.declare_queue(AMQP_QUEUE, durable=True)
            await queue.bind(exchange, "plants.#")
            await queue.purge()

    async def _count(self) -> int:
        async with await aio_pika.connect(self._broker.url) as connection, connection.channel() as channel:
            queue = await channel.declare_queue(AMQP_QUEUE, passive=True)
            return queue.declaration_result.message_count or 0


class AmqpStreamBacklog(AmqpBacklog):
    """A stream of RabbitMQ, bound to the same exchange; it keeps its events, and the bridge keeps the offset."""

    kind = "amqp-stream"

    @property
    def source(self) -> dict[str, Any]:
        """See Backlog."""
        return {**super().source, "stream": True}

    def fill(self, bodies: Sequence[bytes]) -> None:
        """See Backlog."""
        Backlog.fill(self, bodies)

    def held(self) -> int:
        """RabbitMQ does not know what was read: none."""
        return 0

    async def _declare(self) -> None:
        with self.sink.client() as client:
            for key in client.scan_iter("dramatiq-bridge:position:*"):
                client.delete(key)
        async with await aio_pika.connect(self.broker.url) as connection, connection.channel() as channel:
            exchange = await channel.declare_exchange(AMQP_EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True)
            await channel.queue_delete(AMQP_QUEUE)
            queue = await channel.declare_queue(AMQP_QUEUE, durable=True, arguments={"x-queue-type": "stream"})
            await queue.bind(exchange, "plants.#")


class MqttBacklog(Backlog):
    """A persistent session at QoS 1 with an unlimited queue."""

    kind = "mqtt"
    topic = MQTT_TOPIC
    publisher_class = MqttPublisher

    def __init__(self) -> None:
        super().__init__()
        # It saves to disk when it stops, not during a measurement.
        self._broker = Mosquitto({"autosave_interval": 0})

    @property
    def broker(self) -> Broker:
        """See Backlog."""
        return self._broker

    @property
    def source(self) -> dict[str, Any]:
        """See Backlog."""
        return {"type": "mqtt", "url": self._broker.url, "client_id": MQTT_CLIENT_ID}

    def empty(self) -> None:
        """See Backlog."""
        # Connecting with a clean session deletes the old session and its messages.
        self._resume(clean=True, listen_s=0)
        self._resume(clean=False, listen_s=0, subscribe=True)

    def held(self) -> int:
        """See Backlog."""
        return self._resume(clean=False, listen_s=0.3)

    def _resume(self, *, clean: bool, listen_s: float, subscribe: bool = False) -> int:
        """Connect as the consumer does; return how many messages the broker sends within `listen_s`."""
        filter_ = struct.pack(">H", len(MQTT_FILTER)) + MQTT_FILTER.encode() + b"\x01"
        with socket.create_connection(("127.0.0.1", self._broker.port), timeout=10) as connection:
            connection.sendall(connect_packet(MQTT_CLIENT_ID, clean=clean))
            received = connection.recv(4)
            assert received[:1] == b"\x20", received
            if subscribe:
                connection.sendall(b"\x82" + bytes([len(filter_) + 2]) + b"\x00\x01" + filter_)
                assert connection.recv(5)[:1] == b"\x90"
            messages = 0
            deadline = time.monotonic() + listen_s
            while (remaining_s := deadline - time.monotonic()) > 0:
                connection.settimeout(remaining_s)
                try:
                    data = connection.recv(1 << 16)
                except TimeoutError:
                    break
                messages += data.count(MQTT_TOPIC.encode())
            connection.sendall(b"\xe0\x00")
            return messages


class StreamBacklog(Backlog):
    """A stream with a consumer group, in Dramatiq's Redis."""

    kind = "redis-stream"
    topic = DOTTED_TOPIC
    publisher_class = StreamPublisher

    @property
    def broker(self) -> Broker:
        """See Backlog."""
        return self.sink

    @property
    def source(self) -> dict[str, Any]:
        """See Backlog."""
        return {
            "type": "redis-stream",
            "url": self.sink.url_of(0),
            "streams": [DOTTED_TOPIC],
            "group": STREAM_GROUP,
            "field": STREAM_FIELD,
        }

    @property
    def processes(self) -> dict[str, int]:
        """See Backlog."""
        return {"redis-server": self.sink.pid}

    def empty(self) -> None:
        """See Backlog."""
        with self.sink.client() as client:
            client.delete(DOTTED_TOPIC)
            client.xgroup_create(DOTTED_TOPIC, STREAM_GROUP, id="0", mkstream=True)

    def held(self) -> int:
        """See Backlog."""
        with self.sink.client() as client:
            groups: Any = client.xinfo_groups(DOTTED_TOPIC)
            return int(groups[0]["pending"]) + int(groups[0]["lag"] or 0)


class PubsubBacklog(Backlog):
    """A channel: the backlog is in Redis's output buffer for a subscriber stopped by SIGSTOP."""

    kind = "redis-pubsub"
    topic = DOTTED_TOPIC
    waits = False
    publisher_class = PubsubPublisher

    def __init__(self) -> None:
        super().__init__()
        self._broker = Redis({"client-output-buffer-limit": "pubsub 0 0 0"})

    @property
    def broker(self) -> Broker:
        """See Backlog."""
        return self._broker

    @property
    def source(self) -> dict[str, Any]:
        """See Backlog."""
        return {"type": "redis-pubsub", "url": self._broker.url_of(0), "channels": [DOTTED_TOPIC]}

    def empty(self) -> None:
        """See Backlog."""

    def held(self) -> int:
        """See Backlog."""
        return 0

    def subscribed(self) -> bool:
        """Return whether the channel has a subscriber."""
        with self._broker.client() as client:
            answer: Any = client.pubsub_numsub(DOTTED_TOPIC)
            return int(answer[0][1]) > 0


BACKLOGS: Final[dict[str, type[Backlog]]] = {
    backlog.kind: backlog for backlog in (AmqpBacklog, AmqpStreamBacklog, MqttBacklog, StreamBacklog, PubsubBacklog)
}
