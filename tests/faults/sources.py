"""The sources that rows put under load: by which feed and publisher, and what is promised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import aio_pika

from tests.faults.publishers import (
    AmqpPublisher,
    AmqpTopicPublisher,
    MqttPublisher,
    Publisher,
    PubsubPublisher,
    Qos0Publisher,
    StreamPublisher,
)
from tests.support.feeds import AmqpFeed, AmqpStreamFeed, Feed, MqttFeed, PubsubFeed, StreamFeed


class Qos0Feed(MqttFeed):
    """A topic at QoS 0; the session is the bridge's own and lasts as long as its connection."""

    qos: ClassVar[int] = 0

    def prepare(self) -> None:
        """See Feed."""


class MqttTopicsFeed(MqttFeed):
    """Every topic below one level, at QoS 1."""

    @property
    def source(self) -> dict[str, Any]:
        """See Feed."""
        return {**super().source, "topics": [f"{self.name}/#"]}

    @property
    def topic(self) -> str:
        """See Feed."""
        return f"{self.name}/steady"

    def prepare(self) -> None:
        """See Feed; the bridge subscribes before anything is published."""


class AmqpTopicsFeed(AmqpFeed):
    """Every routing key of a topic exchange, which the bridge declares."""

    @property
    def source(self) -> dict[str, Any]:
        """See Feed."""
        return {**super().source, "declare": {"exchange": self.name, "type": "topic", "bindings": ["#"]}}

    def prepare(self) -> None:
        """See Feed; the bridge declares everything before anything is published."""


class PubsubTopicsFeed(PubsubFeed):
    """Every channel whose name begins with this feed's."""

    @property
    def source(self) -> dict[str, Any]:
        """See Feed."""
        return {"type": "redis-pubsub", "url": super().source["url"], "patterns": [f"{self.name}*"]}


class QuorumFeed(AmqpFeed):
    """A quorum queue that drops, as RabbitMQ 4 does by default, what it has delivered too often: here three times."""

    async def _declare(self) -> None:
        arguments: Any = {"x-queue-type": "quorum", "x-delivery-limit": 3}
        async with await aio_pika.connect(self.broker.url) as connection, connection.channel() as channel:
            await channel.declare_queue(self.name, durable=True, arguments=arguments)


@dataclass(frozen=True)
class Kind:
    """One kind of source.

    `broker` is its broker's name on the stage. `guarantee`: what its broker has confirmed must arrive.
    `again`: how many windows of events may come twice when the bridge or its connection dies; 0: none ever.
    """

    broker: str
    feed: Callable[[Any], Feed]
    publisher: type[Publisher]
    guarantee: bool = True
    again: int = 0


KINDS: Final[dict[str, Kind]] = {
    "amqp": Kind("rabbitmq", AmqpFeed, AmqpPublisher, again=1),
    "amqp-stream": Kind("rabbitmq", AmqpStreamFeed, AmqpPublisher),
    # After a backlog mosquitto 2.0.11 has up to twice as many unacknowledged as it was asked for (observed).
    "mqtt": Kind("mosquitto", MqttFeed, MqttPublisher, again=2),
    "mqtt-qos0": Kind("mosquitto", Qos0Feed, Qos0Publisher, guarantee=False),
    "pubsub": Kind("events", PubsubFeed, PubsubPublisher, guarantee=False),
    "stream": Kind("sink", StreamFeed, StreamPublisher),
    "stream-elsewhere": Kind("events", StreamFeed, StreamPublisher),
    # For rows of their own.
    "amqp-quorum": Kind("rabbitmq", QuorumFeed, AmqpPublisher, again=1),
    "mqtt-topics": Kind("mosquitto", MqttTopicsFeed, MqttPublisher, again=1),
    "amqp-topics": Kind("rabbitmq", AmqpTopicsFeed, AmqpTopicPublisher, again=1),
    "pubsub-topics": Kind("events", PubsubTopicsFeed, PubsubPublisher, guarantee=False),
}
#: What most rows put under load.
EVERY: Final = ("amqp", "amqp-stream", "mqtt", "mqtt-qos0", "pubsub", "stream", "stream-elsewhere")
