"""MQTT (5, or 3.1.1 on request), QoS 0 and 1, acknowledged by hand.

The bridge opens the socket, paho-mqtt logs in, subscribes and keeps alive, and the event loop drives it. Each connection
gets a new client object: a broker redelivers unacknowledged messages only on a new connection.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from bridge.config import Dramatiq, Mqtt, tls
from bridge.connecting.attempt import Attempt
from bridge.errors import Disconnected
from bridge.model.accounting import Missed
from bridge.model.event import Details, Event
from bridge.observe.logs import logger
from bridge.sources.mqtt.overlap import OverlapIds
from bridge.sources.mqtt.paho_client import self_test
from bridge.sources.mqtt.promise import PromiseLog, silence
from bridge.sources.mqtt.properties import details
from bridge.sources.mqtt.session import MqttSession
from bridge.sources.mqtt.subscription_store import SubscriptionStore
from bridge.sources.mqtt.takeover import TakeoverDetector

log = logger()


class MqttSource:
    """One client; `topics` are the filters to subscribe to, `dramatiq` the Redis that keeps their record.

    With `orphaned`, the source unsubscribes from `topics` and receives the events that the session still has: see
    `bridge.sources.mqtt.orphans`.
    """

    def __init__(
        self, name: str, config: Mqtt, topics: Sequence[str], dramatiq: Dramatiq, *, orphaned: bool = False
    ) -> None:
        self.name = name
        self.redelivers = config.durable
        self.read: Callable[[Any], Details] | None = details
        self.deliveries: Callable[[Event], int] | None = None
        self.missed = Missed()
        self._config = config
        self._topics = [] if orphaned else list(topics)
        self._overlap_ids = OverlapIds(topics)
        self._store: SubscriptionStore | None = None
        if config.keeps_session:
            self._store = SubscriptionStore(name, config, topics, dramatiq, orphaned=orphaned)
        self._takeover = TakeoverDetector(config.client_id)
        self._has_connected = False
        self._promise = PromiseLog(name)
        self._fast = config.fast_path
        if self._fast and (cause := self_test()):
            log.warning("source.fast_path_unavailable", source=name, cause=cause)
            self._fast = False

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[MqttSession]:
        """Connect and subscribe; yield once every subscription is granted, or the first event was received.

        The broker sends a session's backlog before the grant. With a full window, waiting for the grant would never end.
        """
        session = MqttSession(
            self.name, self._config, self._topics, self._overlap_ids, self._store, self._promise, fast=self._fast
        )
        try:
            try:
                async with Attempt(self._config.connect_timeout / 1000) as attempt:
                    await session.start(attempt)
            except TimeoutError as error:
                # amqtt leaves the CONNECT of a version that it doesn't know unanswered (0.12.1, observed).
                v5 = self._config.version == "5" and not self._has_connected
                raise Disconnected(f"{error}{silence(v5=v5)}") from None
            except (OSError, ssl.SSLError, ValueError) as error:
                raise Disconnected(tls.explain(error, self._config.url)) from None
            self._has_connected = True
            self.redelivers = session.durable
            yield session
        except Disconnected as ended:
            raise self._takeover.explain(ended, taken_over=session.taken_over, lasted_s=session.lasted_s) from None
        finally:
            await session.end()
