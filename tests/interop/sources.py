"""The sources that the checks put under load: each version and quality of MQTT, and each of the two ways to read."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any, Final

from tests.faults.publishers import AmqpPublisher, AmqpTopicPublisher, MqttPublisher, Qos0Publisher, StreamPublisher
from tests.faults.sources import KINDS, AmqpTopicsFeed, Kind, MqttTopicsFeed
from tests.interop.broker import MQTT, STREAM, InteropBroker
from tests.support.broker import Broker
from tests.support.feeds import AmqpStreamFeed, LibraryAmqpStreamFeed, StreamFeed

_PATHS: Final = {"fast": True, "library": False}
#: Whether a broker keeps to Receive Maximum differs: some send up to twice as much after a backlog.
_AGAIN: Final = 2


class _MqttFeed(MqttTopicsFeed):
    def __init__(self, broker: Broker, version: str, *, fast: bool, qos: int) -> None:
        super().__init__(broker)
        self._settings = {"version": version, "fast_path": fast, "qos": qos}

    @property
    def source(self) -> dict[str, Any]:
        """See Feed."""
        return {**super().source, **self._settings}


class _AmqpFeed(AmqpTopicsFeed):
    def __init__(self, broker: Broker, *, fast: bool) -> None:
        super().__init__(broker)
        self._fast_path = fast

    @property
    def source(self) -> dict[str, Any]:
        """See Feed."""
        return {**super().source, "fast_path": self._fast_path}


def _kinds() -> Iterable[tuple[str, Kind]]:
    for path, fast in _PATHS.items():
        yield f"amqp-{path}", Kind("broker", partial(_AmqpFeed, fast=fast), AmqpTopicPublisher, again=1)
        # Its offset is written with the events: none comes twice.
        yield f"{STREAM}-{path}", Kind("broker", AmqpStreamFeed if fast else LibraryAmqpStreamFeed, AmqpPublisher)
        for protocol in MQTT:
            feed, name = partial(_MqttFeed, version=protocol.removeprefix("mqtt-"), fast=fast), _name(protocol)
            yield f"{name}-{path}", Kind("broker", partial(feed, qos=1), MqttPublisher, again=_AGAIN)
            yield f"{name}-qos0-{path}", Kind("broker", partial(feed, qos=0), Qos0Publisher, guarantee=False)


def _name(protocol: str) -> str:
    return protocol.replace(".", "")  # a source's name has no dots


KINDS.update(_kinds())
#: A stream of this machine's own Redis, where the broker under trial is Dramatiq's.
KINDS["into-sink"] = Kind("plain", StreamFeed, StreamPublisher)


def sources_of(broker: type[InteropBroker], *, at_most_once: bool = False, streams: bool = False) -> tuple[str, ...]:
    """Return the names of a broker's sources; `at_most_once` and `streams` of RabbitMQ with those too."""
    if "redis" in broker.protocols:
        names = ["into-sink", "stream", "stream-elsewhere", "pubsub"]
    else:
        wanted = sorted(broker.protocols - (set() if streams else {STREAM}), reverse=True)
        names = [f"{_name(one)}{qos}-{path}" for one in wanted for qos in ("", "-qos0") for path in _PATHS]
    return tuple(name for name in names if name in KINDS and (at_most_once or KINDS[name].guarantee))
