"""The demo's events: three publishers, one per protocol, send a few per second."""

from __future__ import annotations

import heapq
import itertools
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

import redis
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion

from bridge.errors import BridgeError

_CONNECT_TIMEOUT_S: Final = 5.0
_OVENS: Final = ((3, 7), (3, 8), (5, 1), (5, 2))
_USERS: Final = ("ada", "grace", "edsger", "barbara", "niklaus")
_ACTIONS: Final = ("signed in", "changed the recipe", "opened oven 7", "signed out")
#: The repeated pattern of too hot temperatures; an early one, so that the first alarm comes soon.
_HOT: Final = (False, True, False, False, True, False)


@dataclass(frozen=True, slots=True)
class Sent:
    """One published event; `source` is the name of the bridge's source that receives it."""

    source: str
    protocol: str
    topic: str
    body: str


class Generator:
    """Publishes to the demo's servers; use it as a context manager. `sent` counts the events by source."""

    def __init__(self, mqtt_url: str, redis_url: str) -> None:
        self.sent: Counter[str] = Counter()
        self._url = urlsplit(mqtt_url)
        self._redis = redis.Redis.from_url(redis_url)
        self._mqtt = paho.Client(
            CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv311, reconnect_on_failure=False
        )
        self._unconfirmed: list[paho.MQTTMessageInfo] = []
        self._random = random.Random()  # noqa: S311 - sample readings, no secrets
        self._hot = itertools.cycle(_HOT)
        self._users = itertools.count(17)
        now = time.monotonic()
        publishers: list[tuple[float, Callable[[], Sent]]] = [
            (0.7, self._temperature),
            (1.6, self._signup),
            (1.3, self._audit_entry),
        ]
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
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._mqtt.disconnect()
        self._redis.close()

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
            event = publish()
            self.sent[event.source] += 1
            events.append(event)
            # max(): after a pause the missed events are skipped.
            heapq.heapreplace(self._due, (max(due + interval_s, time.monotonic()), number, interval_s, publish))
        return events

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
        topic, body = f"plants/{plant}/ovens/{oven}/temperature", json.dumps({"celsius": celsius})
        self._unconfirmed.append(self._mqtt.publish(topic, body, qos=1))
        return Sent("ovens", "mqtt", topic, body)

    def _signup(self) -> Sent:
        user = next(self._users)
        body = json.dumps({"user_id": user, "msg": f"Welcome, user {user}!"})
        self._redis.publish("signups", body)
        return Sent("signups", "pub/sub", "signups", body)

    def _audit_entry(self) -> Sent:
        user, action = self._random.choice(_USERS), self._random.choice(_ACTIONS)
        self._redis.xadd("audit", {"user": user, "action": action})
        return Sent("audit", "stream", "audit", json.dumps({"user": user, "action": action}))
