"""The sources that rows put under load: by which feed and publisher, and what is promised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from tests.faults.publishers import (
    AmqpPublisher,
    MqttPublisher,
    Publisher,
    PubsubPublisher,
    Qos0Publisher,
    StreamPublisher,
)
from tests.feeds import AmqpFeed, Feed, MqttFeed, PubsubFeed, StreamFeed


class Qos0Feed(MqttFeed):
    """A topic at QoS 0; the session is the bridge's own and lasts as long as its connection."""

    qos: ClassVar[int] = 0

    def prepare(self) -> None:
        """See Feed."""


@dataclass(frozen=True)
class Kind:
    """One kind of source.

    `broker` is its broker's name on the stage. `at_least_once`: what its broker has confirmed must arrive.
    `again`: how many windows of events may come twice when the bridge or its connection dies; 0: none ever.
    """

    broker: str
    feed: type[Feed]
    publisher: type[Publisher]
    at_least_once: bool = True
    again: int = 0


KINDS: Final[dict[str, Kind]] = {
    "amqp": Kind("rabbitmq", AmqpFeed, AmqpPublisher, again=1),
    # The bridge takes up to twice its window from mosquitto, which exceeds Receive Maximum.
    "mqtt": Kind("mosquitto", MqttFeed, MqttPublisher, again=2),
    "mqtt-qos0": Kind("mosquitto", Qos0Feed, Qos0Publisher, at_least_once=False),
    "pubsub": Kind("events", PubsubFeed, PubsubPublisher, at_least_once=False),
    "stream": Kind("sink", StreamFeed, StreamPublisher),
    "stream-elsewhere": Kind("events", StreamFeed, StreamPublisher),
}
EVERY: Final = tuple(KINDS)
REDELIVERED: Final = tuple(name for name, kind in KINDS.items() if kind.at_least_once)
