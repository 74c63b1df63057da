"""One feed per kind of source: a real broker, a way to publish to it, and the settings by which a bridge reads it.

When `publish` returns, its events are in the broker: confirmed by RabbitMQ, PUBACKed by mosquitto, answered by Redis. So
the list of published events is a ledger.
"""

from __future__ import annotations

import asyncio
import json
import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import aio_pika
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from pamqp.commands import Basic

from bench.publishers import AmqpPublisher
from tests.support.broker import Broker
from tests.support.brokers import Mosquitto, RabbitMQ, Redis
from tests.support.children import wait_until
from tests.support.odd_servers import OddServer

Payload = dict[str, Any]
#: A body that AMQP sends as one frame, in bytes.
_MAX_FRAME = 100_000


class Feed(ABC):
    """A queue, topic, channel or stream with a name that nobody else uses."""

    kind: ClassVar[str]
    redelivers: ClassVar[bool] = True
    #: Whether an event that was acknowledged in a session, though it was not written, does not come to the next one.
    settles: ClassVar[bool] = True
    fast: ClassVar[bool] = True

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.name = f"feed-{uuid.uuid4().hex[:12]}"

    @property
    @abstractmethod
    def source(self) -> dict[str, Any]:
        """The mapping under `sources.<name>:`."""

    @property
    def topic(self) -> str:
        """The topic that every event of this feed has."""
        return self.name

    @abstractmethod
    def publish(self, payloads: Sequence[Payload]) -> None:
        """Publish, and return once the broker has taken everything."""

    def publish_numbers(self, *numbers: int) -> None:
        """Publish an event for each, whose message's first argument is the number."""
        self.publish([{"n": number} for number in numbers])

    @abstractmethod
    def prepare(self) -> None:
        """Make the queue, session or group that must exist before the bridge starts; events published from now on must arrive."""

    @abstractmethod
    def unacknowledged(self) -> int:
        """How many events the broker still holds for the bridge, delivered or not."""

    def config(self, sink: Redis | OddServer, route: dict[str, Any] | None = None, **settings: Any) -> dict[str, Any]:
        """A whole configuration: this source, one route, the sink."""
        first = {"from": "feed", "actor": "record", "args": ["$payload.n"], **(route or {})}
        return {
            "dramatiq": {"url": sink.url_of(0)},
            "sources": {"feed": {**self.source, **settings}},
            "routes": [first],
        }


class AmqpFeed(Feed):
    """A durable queue, and persistent messages with publisher confirms; a payload's `id` is the message_id too."""

    kind = "amqp"
    broker: RabbitMQ

    @property
    def source(self) -> dict[str, Any]:
        """See Feed."""
        return {"type": "amqp", "url": self.broker.url, "queue": self.name}

    def prepare(self) -> None:
        """See Feed."""
        asyncio.run(self._declare())

    def publish(self, payloads: Sequence[Payload], **properties: Any) -> None:
        """See Feed."""
        bodies = [json.dumps(payload).encode() for payload in payloads]
        if properties or any("id" in payload for payload in payloads) or max(map(len, bodies), default=0) > _MAX_FRAME:
            asyncio.run(self._publish(payloads, properties))
            return
        publisher = AmqpPublisher(self.broker.url, exchange="", routing_key=self.name, content_type=None)
        try:
            publisher.publish(bodies)
        finally:
            publisher.close()

    def publish_raw(self, body: bytes, properties: bytes) -> None:
        """Publish one event with these bytes as its properties: their flags, and the values."""
        asyncio.run(self._publish_raw(body, properties))

    def unacknowledged(self) -> int:
        """See Feed."""
        for line in self.broker.ctl("list_queues", "--silent", "name", "messages").splitlines():
            name, _, count = line.partition("\t")
            if name == self.name:
                return int(count)
        return 0

    async def _declare(self) -> None:
        async with await aio_pika.connect(self.broker.url) as connection, connection.channel() as channel:
            await channel.declare_queue(self.name, durable=True)

    async def _publish(self, payloads: Sequence[Payload], properties: dict[str, Any]) -> None:
        async with await aio_pika.connect(self.broker.url) as connection, connection.channel() as channel:
            for start in range(0, len(payloads), 500):
                await asyncio.gather(
                    *(
                        channel.default_exchange.publish(
                            aio_pika.Message(
                                json.dumps(payload).encode(),
                                delivery_mode=2,
                                **{"message_id": payload.get("id"), **properties},
                            ),
                            self.name,
                        )
                        for payload in payloads[start : start + 500]
                    )
                )

    async def _publish_raw(self, body: bytes, properties: bytes) -> None:
        raw = _RawProperties()
        raw.raw = properties
        async with await aio_pika.connect(self.broker.url) as connection, connection.channel() as channel:
            underlay = await channel.get_underlay_channel()
            await underlay.basic_publish(body, routing_key=self.name, properties=raw)


class _RawProperties(Basic.Properties):
    raw = b""

    def marshal(self) -> bytes:
        """Return them as they were given."""
        return self.raw


class LibraryAmqpFeed(AmqpFeed):
    """The same, read by aio-pika itself."""

    kind = "amqp-library"
    fast = False

    @property
    def source(self) -> dict[str, Any]:
        """See Feed; elsewhere the caller that starts the bridge sets `fast_path`."""
        return {**super().source, "fast_path": False}


class AmqpStreamFeed(AmqpFeed):
    """A stream of RabbitMQ, whose offset the bridge keeps in Dramatiq's Redis."""

    kind = "amqp-stream"
    settles = False

    @property
    def source(self) -> dict[str, Any]:
        """See Feed."""
        return {**super().source, "stream": True}

    async def _declare(self) -> None:
        arguments: Any = {"x-queue-type": "stream"}
        async with await aio_pika.connect(self.broker.url) as connection, connection.channel() as channel:
            await channel.declare_queue(self.name, durable=True, arguments=arguments)


class LibraryAmqpStreamFeed(AmqpStreamFeed):
    """The same, read by aio-pika itself."""

    kind = "amqp-stream-library"
    fast = False

    @property
    def source(self) -> dict[str, Any]:
        """See Feed; elsewhere the caller that starts the bridge sets `fast_path`."""
        return {**super().source, "fast_path": False}


class MqttFeed(Feed):
    """A topic at QoS 1 with a persistent session; at most 20 messages in flight, as mosquitto loses more by itself."""

    kind = "mqtt"
    qos: ClassVar[int] = 1
    broker: Mosquitto

    @property
    def source(self) -> dict[str, Any]:
        """See Feed."""
        return {"type": "mqtt", "url": self.broker.url, "client_id": self.name, "qos": self.qos, "topics": [self.name]}

    def prepare(self) -> None:
        """Open the bridge's session, so that the broker keeps events that are published while nobody is connected."""
        client = _mqtt_client(self.name, persistent=True)
        granted = threading.Event()
        client.on_subscribe = lambda *_: granted.set()
        connect(client, self.broker.port)
        client.subscribe(self.name, qos=1)
        assert granted.wait(30)
        client.disconnect()
        client.loop_stop()

    def publish(self, payloads: Sequence[Payload]) -> None:
        """See Feed."""
        client = _mqtt_client(f"publisher-{uuid.uuid4().hex[:8]}", persistent=False)
        client.max_inflight_messages_set(20)
        client.max_queued_messages_set(0)
        connect(client, self.broker.port)
        sent = [client.publish(self.name, json.dumps(payload), qos=1) for payload in payloads]
        for info in sent:
            info.wait_for_publish(60)
            assert info.is_published()
        client.disconnect()
        client.loop_stop()

    def publish_properties(self, counts: Sequence[int], size: int = 65_000) -> None:
        """Publish, one after another, an event with an empty body for each count of user properties `k` of so many bytes."""
        client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
        connect(client, self.broker.port)
        for count in counts:
            properties = Properties(PacketTypes.PUBLISH)
            properties.UserProperty = [("k", "v" * size)] * count
            client.publish(self.name, b"", qos=1, properties=properties).wait_for_publish(60)
        client.disconnect()
        client.loop_stop()

    def unacknowledged(self) -> int:
        """How many messages a new connection to the session would bring."""
        seen: set[int] = set()
        client = _mqtt_client(self.name, persistent=True)
        client.manual_ack_set(True)
        client.on_message = lambda _client, _data, message: seen.add(message.mid)
        connect(client, self.broker.port)
        threading.Event().wait(0.5)
        client.loop_stop()
        client.disconnect()
        return len(seen)


def mqtt_publish(broker: Mosquitto, messages: Sequence[tuple[str, bytes]]) -> None:
    """Publish bodies at QoS 1, one after another."""
    client = _mqtt_client(f"publisher-{uuid.uuid4().hex[:8]}", persistent=False)
    connect(client, broker.port)
    for topic, body in messages:
        client.publish(topic, body, qos=1).wait_for_publish(60)
    client.disconnect()
    client.loop_stop()


class LibraryMqttFeed(MqttFeed):
    """The same, read by paho-mqtt itself."""

    kind = "mqtt-library"
    fast = False

    @property
    def source(self) -> dict[str, Any]:
        """See Feed; elsewhere the caller that starts the bridge sets `fast_path`."""
        return {**super().source, "fast_path": False}


class PubsubFeed(Feed):
    """A channel: events that are published while nobody listens are gone."""

    kind = "redis-pubsub"
    redelivers = False
    broker: Redis

    @property
    def source(self) -> dict[str, Any]:
        """See Feed."""
        return {"type": "redis-pubsub", "url": self.broker.url_of(0), "channels": [self.name]}

    def prepare(self) -> None:
        """See Feed."""

    def publish(self, payloads: Sequence[Payload]) -> None:
        """See Feed."""
        with self.broker.client() as client:
            for start in range(0, len(payloads), 500):
                pipeline = client.pipeline(transaction=False)
                for payload in payloads[start : start + 500]:
                    pipeline.publish(self.name, json.dumps(payload))
                pipeline.execute()

    def unacknowledged(self) -> int:
        """See Feed."""
        return 0


class StreamFeed(Feed):
    """A stream with a consumer group; each entry's field `data` is the event's body."""

    kind = "redis-stream"
    broker: Redis

    @property
    def source(self) -> dict[str, Any]:
        """See Feed."""
        url = self.broker.url_of(0)
        return {"type": "redis-stream", "url": url, "streams": [self.name], "group": "bridge", "field": "data"}

    def prepare(self) -> None:
        """See Feed."""
        with self.broker.client() as client:
            client.xgroup_create(self.name, "bridge", id="0", mkstream=True)

    def publish(self, payloads: Sequence[Payload]) -> None:
        """See Feed."""
        with self.broker.client() as client:
            for start in range(0, len(payloads), 500):
                pipeline = client.pipeline(transaction=False)
                for payload in payloads[start : start + 500]:
                    pipeline.xadd(self.name, {"data": json.dumps(payload)})
                pipeline.execute()

    def unacknowledged(self) -> int:
        """See Feed."""
        with self.broker.client() as client:
            groups: Any = client.xinfo_groups(self.name)
            return int(groups[0]["pending"]) + int(groups[0]["lag"] or 0)


FEEDS: tuple[type[Feed], ...] = (
    AmqpFeed,
    LibraryAmqpFeed,
    AmqpStreamFeed,
    LibraryAmqpStreamFeed,
    MqttFeed,
    LibraryMqttFeed,
    PubsubFeed,
    StreamFeed,
)
#: All but pub/sub, which keeps nothing for a bridge that is away.
REDELIVERING: tuple[type[Feed], ...] = tuple(feed for feed in FEEDS if feed.redelivers)
#: Of these, all whose broker knows what is acknowledged.
SETTLING: tuple[type[Feed], ...] = tuple(feed for feed in REDELIVERING if feed.settles)

BROKERS: dict[type[Feed], type[Broker]] = {
    AmqpFeed: RabbitMQ,
    LibraryAmqpFeed: RabbitMQ,
    AmqpStreamFeed: RabbitMQ,
    LibraryAmqpStreamFeed: RabbitMQ,
    MqttFeed: Mosquitto,
    LibraryMqttFeed: Mosquitto,
    PubsubFeed: Redis,
    StreamFeed: Redis,
}


def _mqtt_client(client_id: str, *, persistent: bool) -> Client:
    # MQTT 3.1.1's persistent session is the same one that an MQTT 5 client of this id resumes.
    return Client(CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=not persistent)


def connect(client: Client, port: int) -> None:
    """Connect, and wait for the CONNACK: of a message published before it, paho may never hear again."""
    client.connect("127.0.0.1", port)
    client.loop_start()
    wait_until(client.is_connected, 10, "the broker's CONNACK")
