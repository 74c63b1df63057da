"""The kinds of source of `costs.py`: each has a broker, the bridge's settings for it, and a publisher to many topics."""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import cycle
from typing import Any

from pamqp import commands, frame

from bench import load
from bench.publishers import AmqpPublisher, MqttPublisher, Publisher, StreamPublisher
from tests.support.broker import Broker


class Side(ABC):
    """One kind of source: its broker, its settings, and a publisher that goes round its topics."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        #: A number in every name: the queues and sessions of earlier runs must not get the events of this one.
        self.run = 0

    @abstractmethod
    def source(self, number: int, of: int) -> dict[str, Any]:
        """Return the settings of one of `of` sources."""

    @abstractmethod
    def topic(self, place: int, plant: str = load.PLANT) -> str:
        """Return the topic of a place, with `plant` as its first level."""

    @abstractmethod
    def publisher(self, topics: Sequence[str]) -> Publisher:
        """Return a publisher whose events have these topics in turn."""


class MqttSide(Side):
    """Persistent sessions at QoS 1."""

    def source(self, number: int, of: int) -> dict[str, Any]:
        """See Side."""
        topics = [f"+/+/temp{self.run}"] if of == 1 else [self.topic(number)]
        return {"type": "mqtt", "url": self.broker.url, "client_id": f"bench-{self.run}-{number}", "topics": topics}

    def topic(self, place: int, plant: str = load.PLANT) -> str:
        """See Side."""
        return f"{plant}/p{place}/temp{self.run}"

    def publisher(self, topics: Sequence[str]) -> Publisher:
        """See Side."""
        heads = cycle([struct.pack(">H", len(topic)) + topic.encode() for topic in topics])

        class Spread(MqttPublisher):
            def _packet(self, body: bytes) -> bytes:
                self._topic = next(heads)
                return super()._packet(body)

        return Spread(self.broker.url)


class AmqpSide(Side):
    """Durable queues, bound to one topic exchange; persistent messages."""

    @property
    def _exchange(self) -> str:
        return f"{load.AMQP_EXCHANGE}{self.run}"

    def source(self, number: int, of: int) -> dict[str, Any]:
        """See Side."""
        bindings = ["#"] if of == 1 else [self.topic(number)]
        declare = {"exchange": self._exchange, "type": "topic", "bindings": bindings}
        return {"type": "amqp", "url": self.broker.url, "queue": f"bench-{self.run}-{number}", "declare": declare}

    def topic(self, place: int, plant: str = load.PLANT) -> str:
        """See Side."""
        return f"{plant}.p{place}.temp{self.run}"

    def publisher(self, topics: Sequence[str]) -> Publisher:
        """See Side."""
        methods = [commands.Basic.Publish(exchange=self._exchange, routing_key=topic) for topic in topics]
        heads = cycle([frame.marshal(method, 1) for method in methods])

        class Spread(AmqpPublisher):
            def _packet(self, body: bytes) -> bytes:
                self._publish = next(heads)
                return super()._packet(body)

        return Spread(self.broker.url)


class StreamSide(Side):
    """Redis streams, one per source."""

    def source(self, number: int, of: int) -> dict[str, Any]:
        """See Side."""
        del of
        stream = self.topic(number)
        return {
            "type": "redis-stream",
            "url": f"{self.broker.url}/0",
            "streams": [stream],
            "group": load.STREAM_GROUP,
            "field": load.STREAM_FIELD,
        }

    def topic(self, place: int, plant: str = load.PLANT) -> str:
        """See Side."""
        return f"{plant}.p{place}.temp{self.run}"

    def publisher(self, topics: Sequence[str]) -> Publisher:
        """See Side."""
        whole = load.DOTTED_TOPIC.encode()
        heads = cycle(
            [StreamPublisher._HEAD.replace(b"$%d\r\n%b" % (len(whole), whole), _bulk(topic)) for topic in topics]  # noqa: SLF001
        )

        class Spread(StreamPublisher):
            def _packet(self, body: bytes) -> bytes:
                self._HEAD = next(heads)
                return super()._packet(body)

        return Spread(self.broker.url)


def _bulk(text: str) -> bytes:
    return b"$%d\r\n%b" % (len(text), text.encode())
