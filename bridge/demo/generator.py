"""The demo's events: a publisher per protocol; together they send a few events per second."""

from __future__ import annotations

import heapq
import itertools
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import redis
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion

from bridge.demo.amqp_publisher import AmqpPublisher
from bridge.errors import BridgeError

_CONNECT_TIMEOUT_S: Final = 5.0
_OVENS: Final = ((3, 7), (3, 8), (5, 1), (5, 2))
_USERS: Final = ("ada", "ben", "eve", "kim", "tom")
_ACTIONS: Final = ("login", "edit", "print", "logout")
#: The repeated pattern of too hot temperatures; an early one, so that the first alarm comes soon.
_HOT: Final = (False, True, False, False, True, False)


@dataclass(frozen=True, slots=True, eq=False)
class Sent:
    """One published event; `source` is the name of the bridge's source that receives it, `args` those of its actor."""

    source: str
    protocol: str
    topic: str
    body: str
    args: list[Any]
    #: When it was published, by the monotonic clock.
    at: float = field(default_factory=time.monotonic)


class Generator:
    """Publishes to the demo's servers; use it as a context manager. `sent` counts the events by source."""

    def __init__(self, mqtt_url: str, events_url: str, amqp_url: str | None) -> None:
        self.sent: Counter[str] = Counter()
        self._url = urlsplit(mqtt_url)
        self._redis = redis.Redis.from_url(events_url)
        self._mqtt = paho.Client(
            CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv311, reconnect_on_failure=False
        )
        self._unconfirmed: list[paho.MQTTMessageInfo] = []
        self._random = random.Random()  # noqa: S311 - sample readings, no secrets
        self._hot = itertools.cycle(_HOT)
        self._users = itertools.count(17)
        self._orders = itertools.count(801)
        self._amqp = AmqpPublisher(amqp_url) if amqp_url is not None else None
        self._stack = ExitStack()
        now = time.monotonic()
        publishers: list[tuple[float, Callable[[], Sent]]] = [
            (0.7, self._temperature),
            (1.6, self._signup),
            (1.3, self._audit_entry),
        ]
        if self._amqp is not None:
            publishers.append((1.9, self._order))
        #: A heap of (time of the next event, number, interval in seconds, publisher).
        self._due = [
            (now + number * 0.3, number, interval_s, publish) for number, (interval_s, publish) in enumerate(publishers)
        ]

    def __enter__(self) -> Self:
        try:
            self._mqtt.connect(self._url.hostname or "127.0.0.1", self._url.port or 1883)
        except OSError as error:
            raise BridgeError(f"the MQTT broker is not there: {error}") from None
        deadline = time.monotonic() + _CONNECT_TIMEOUT_S
        while not self._mqtt.is_connected():
            if time.monotonic() > deadline:
                raise BridgeError("the MQTT broker does not answer")
            self.serve(0.05)
        if self._amqp is not None:
            self._stack.enter_context(self._amqp)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._mqtt.disconnect()
        self._redis.close()
        self._stack.close()

    @property
    def confirmed(self) -> bool:
        """Whether the MQTT broker has confirmed all published events."""
        self._unconfirmed = [info for info in self._unconfirmed if not info.is_published()]
        return not self._unconfirmed

    def publish(self) -> list[Sent]:
        """Publish the events that are due now, and return them."""
        events = []
        while self._due[0][0] <= time.monotonic():
            due, number, interval_s, publish = self._due[0]
            events.append(publish())
            # max(): after a pause the missed events are skipped.
            heapq.heapreplace(self._due, (max(due + interval_s, time.monotonic()), number, interval_s, publish))
        self.sent.update(event.source for event in events)
        return events

    def publish_malformed(self) -> Sent:
        """Publish an event that no route can take: its body is no JSON."""
        event = self._publish_by_mqtt("plants/3/ovens/7", "celsius: 231", [])
        self.sent[event.source] += 1
        return event

    def serve(self, seconds: float) -> None:
        """Run the MQTT client's network loop for up to `seconds`; this is the only sleep of the demo's loop.

        Raises:
            BridgeError: the connection is lost.
        """
        code = self._mqtt.loop(seconds)
        if code is not MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise BridgeError(f"the publisher has lost its MQTT broker: {paho.error_string(code)}")

    def _temperature(self) -> Sent:
        plant, oven = self._random.choice(_OVENS)
        celsius = self._random.randint(255, 320) if next(self._hot) else self._random.randint(180, 250)
        return self._publish_by_mqtt(
            f"plants/{plant}/ovens/{oven}", json.dumps({"celsius": celsius}), [str(plant), oven, celsius]
        )

    def _publish_by_mqtt(self, topic: str, body: str, args: list[Any]) -> Sent:
        self._unconfirmed.append(self._mqtt.publish(topic, body, qos=1))
        return Sent("ovens", "mqtt", topic, body, args)

    def _signup(self) -> Sent:
        user, name = next(self._users), self._random.choice(_USERS)
        body = json.dumps({"id": user, "name": name})
        self._redis.publish("signups", body)
        return Sent("signups", "pub/sub", "signups", body, [user, name])

    def _audit_entry(self) -> Sent:
        user, action = self._random.choice(_USERS), self._random.choice(_ACTIONS)
        self._redis.xadd("audit", {"user": user, "did": action})
        return Sent("audit", "stream", "audit", f"user={user} did={action}", [user, action])

    def _order(self) -> Sent:
        order, euros = next(self._orders), self._random.randint(10, 199) / 2
        body = json.dumps({"order": order, "eur": euros})
        assert self._amqp is not None  # noqa: S101 - otherwise no orders are due
        self._amqp.publish("orders", body.encode())
        return Sent("orders", "amqp", "orders", body, [order, euros])
