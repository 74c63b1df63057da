"""MQTT (5, or 3.1.1 on request), QoS 0 and 1, acknowledged by hand.

paho-mqtt connects, subscribes and keeps alive; it is driven by the event loop and owns no
thread. One client object per connection: unacknowledged messages come again only on a new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, cast
from urllib.parse import unquote, urlsplit

from paho.mqtt import client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from bridge import tls
from bridge.config import Mqtt
from bridge.errors import Disconnected, words
from bridge.event import Details, Event
from bridge.observe.logs import logger
from bridge.sources.inbox import Inbox, InboxSession
from bridge.sources.mqtt_copies import Copies, Retained
from bridge.sources.mqtt_link import PahoLink
from bridge.sources.mqtt_packets import PUBACK, RETAIN, PacketReader, details, subscriptions
from bridge.sources.mqtt_paho import PlainClient, TappedClient, event_of, tap_problem

log = logger()
_CLOSE_S: Final = 1.0
_NOBODYS_TOPIC: Final = "dramatiq-bridge/goodbye"
_FIRST_FAILURE: Final = 0x80
_UNBOUNDED: Final = 1 << 30


class MqttSource:
    """One client; `topics` are the filters to subscribe to."""

    def __init__(self, name: str, config: Mqtt, topics: Sequence[str]) -> None:
        self.name = name
        self.redelivers = _durable(config)
        self.read: Callable[[Any], Details] | None = details
        self._config = config
        self._topics = list(topics)
        self._copies = Copies(self._topics)
        self._fast = config.fast_path
        if self._fast and (problem := tap_problem()):
            log.warning("source.fast_path_unavailable", source=name, problem=problem)
            self._fast = False

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[MqttSession]:
        """Connect and subscribe; yield once every subscription is granted."""
        session = MqttSession(self.name, self._config, self._topics, self._copies, fast=self._fast)
        try:
            try:
                async with asyncio.timeout(self._config.connect_timeout / 1000):
                    await session.start()
            except TimeoutError:
                raise Disconnected("timed out") from None
            except (OSError, ssl.SSLError, ValueError) as error:
                raise Disconnected(words(error)) from None
            yield session
        finally:
            await session.end()


class MqttSession(InboxSession):
    """One paho client, from CONNECT to its end."""

    def __init__(self, name: str, config: Mqtt, topics: list[str], copies: Copies, *, fast: bool) -> None:
        self._name = name
        self._config = config
        self._topics = topics
        self._copies = copies
        self._retained = Retained(copies)
        self._requested: dict[int | None, list[str]] = {}
        # The youngest event that has a token and is not settled: copies of it are acknowledged after it.
        self._youngest: Event | None = None
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unsubscribed = asyncio.Event()
        self._connected = False
        self._paused = False
        self._v5 = config.version == "5"
        self._reader = PacketReader(name, v5=self._v5)
        self._client = self._make_client(TappedClient if fast else PlainClient)
        self._link = PahoLink(self._client, name, self._on_failed)
        # The broker keeps to Receive Maximum more or less (mosquitto 2.0.11 exceeds it): twice the window ends it.
        self._most = config.window.events * (2 if config.qos > 0 else 1)
        self._inbox = Inbox(config.window, self._link.read_again, redelivered=_durable(config))

    async def start(self) -> None:
        """Connect, and wait until every subscription is granted."""
        config = self._config
        url = urlsplit(config.url)
        secure = url.scheme == "mqtts"
        port = url.port or (8883 if secure else 1883)
        username = config.username if config.username is not None else unquote(url.username or "")
        password = config.password.get_secret_value() if config.password else unquote(url.password or "")
        if username:
            self._client.username_pw_set(username, password or None)
        if secure:
            self._client.tls_set_context(tls.context(config.tls))
        self._client.connect_timeout = config.connect_timeout / 1000
        properties = None
        if self._v5:
            properties = Properties(PacketTypes.CONNECT)
            properties.ReceiveMaximum = config.window.events
            properties.SessionExpiryInterval = config.session_expiry // 1000 if config.client_id else 0
        await self._link.open(
            url.hostname or "localhost",
            port,
            keepalive=max(1, config.keepalive // 1000),
            clean_start=(config.client_id is None) if self._v5 else paho.MQTT_CLEAN_START_FIRST_ONLY,
            properties=properties,
        )
        await self._ready

    async def settle(self, events: Sequence[Event]) -> None:
        """PUBACK each event, in the order received [MQTT-4.6.0-2]."""
        if not self._inbox.failed:
            tokens: list[Any] = [event.token for event in events if event.token is not None]
            if tokens:
                if self._youngest is not None and tokens[-1] is self._youngest.token:
                    self._youngest = None
                self._client.acknowledge(tokens)
                self._link.flush()
        self._inbox.settled(events)

    async def pause(self) -> None:
        """Take nothing new.

        Unsubscribing would end the session's claim to what is published meanwhile: what the broker
        sends now is left unacknowledged, and delivered again to the next connection. At QoS 0 or
        without a client_id there is no next time, and the subscription is given up instead.
        """
        self._paused = _durable(self._config)
        if not self._paused and self._topics:
            await self._unsubscribe(self._topics)
        self._inbox.close()

    async def end(self) -> None:
        """Say goodbye, and close the socket; what comes meanwhile is nobody's."""
        self._paused = True
        if self._connected:
            # The answer means that the broker has taken every PUBACK before it. Without it, closing a socket
            # with something unread resets the connection, and PUBACKs under way are lost (observed).
            await self._unsubscribe([_NOBODYS_TOPIC])
        await self._link.close()

    async def _unsubscribe(self, topics: list[str]) -> None:
        """Unsubscribe, and wait for the answer, a little while."""
        if self._inbox.failed:
            return
        self._unsubscribed.clear()
        self._client.unsubscribe(topics)
        self._link.read_again()
        self._link.flush()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._unsubscribed.wait(), _CLOSE_S)

    def _make_client(self, kind: type[PlainClient | TappedClient]) -> PlainClient | TappedClient:
        config = self._config
        client = kind(
            self._take,
            client_id=config.client_id or "",
            # MQTT 5 says clean or not in CONNECT's flags instead.
            clean_session=None if self._v5 else config.client_id is None,
            protocol=paho.MQTTv5 if self._v5 else paho.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.suppress_exceptions = False
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_unsubscribe = self._on_unsubscribe
        client.on_message = self._on_message
        client.on_disconnect = self._on_disconnect
        return client

    def _on_failed(self, cause: str) -> None:
        self._inbox.fail(cause)
        if not self._ready.done():
            self._ready.set_exception(Disconnected(cause))

    # What paho reports; all of it on the event loop's thread.

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._link.fail(f"refused: {reason}")
        elif not self._topics:
            self._grant()
        else:
            self._subscribe(numbered=getattr(properties, "SubscriptionIdentifierAvailable", 1) == 1)

    def _subscribe(self, *, numbered: bool) -> None:
        """Subscribe to everything: one request for each filter that has an identifier, one for the rest."""
        numbers = self._copies.numbers if self._v5 and numbered else {}
        if self._v5 and len(numbers) < len(self._copies.numbers):
            problem = "the broker has no subscription identifiers: an event may come once for each of these that fits"
            log.warning("source.topics_overlap", source=self._name, topics=list(self._copies.numbers), problem=problem)
        requests: list[tuple[list[str], int]] = [([topic], number) for topic, number in numbers.items()]
        rest = [topic for topic in self._topics if topic not in numbers]
        qos: int = self._config.qos
        # Retained messages come with a new subscription only: not again after each reconnection.
        options = SubscribeOptions(qos=qos, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)
        for topics, number in [*requests, (rest, 0)] if rest else requests:
            properties = Properties(PacketTypes.SUBSCRIBE) if number else None
            if properties is not None:
                properties.SubscriptionIdentifier = number
            wanted = [(topic, options if self._v5 else qos) for topic in topics]
            _, packet_id = self._client.subscribe(wanted, properties=properties)  # type: ignore[arg-type]
            self._requested[packet_id] = topics

    def _on_subscribe(self, _client: Any, _data: Any, mid: int, reasons: list[Any], _properties: Any) -> None:
        refused = [
            f"{topic!r} ({reason})"
            for topic, reason in zip(self._requested.pop(mid, ()), reasons, strict=False)
            if reason.value >= _FIRST_FAILURE
        ]
        if refused:
            self._link.fail(f"the broker refuses the subscription to {', '.join(refused)}")
        elif not self._requested and not self._ready.done():
            self._grant()

    def _grant(self) -> None:
        self._connected = True
        self._ready.set_result(None)

    def _on_unsubscribe(self, *_: Any) -> None:
        self._unsubscribed.set()

    def _on_disconnect(self, _client: Any, _data: Any, flags: Any, reason: Any, _properties: Any) -> None:
        # Where the broker said nothing, paho makes up an "Unspecified error".
        if flags.is_disconnect_packet_from_server:
            self._link.fail(f"the broker disconnected: {reason}")
        elif self._connected:
            self._link.fail("the connection was lost")
        else:
            self._link.fail("the connection ended before the broker's answer (a port for TLS takes mqtts://)")

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        self._received([event_of(self._name, message)])

    def _take(self, data: bytes) -> tuple[bytes, bytes]:
        """Take the messages out of `data`; return the packets that are for paho, and what there is no room for."""
        if events := self._reader.feed(data, self._room()):
            self._received(events)
        if self._reader.malformed:
            raise Disconnected(self._reader.malformed)
        return self._reader.others(), self._reader.later()

    def _received(self, events: list[Event]) -> None:
        if self._paused:
            return
        if self._copies.numbers:
            events = self._without_copies(events)
        if events:
            self._inbox.put(events)
        if self._bounded and (self._inbox.held >= self._most or self._inbox.heavy):
            self._link.stop_reading()

    @property
    def _bounded(self) -> bool:
        # Not before every subscription is granted: the grant stands behind what the broker sends again.
        return self._connected and not self._paused

    def _room(self) -> int:
        """Return how many packets to take at once."""
        return max(1, self._most - self._inbox.held) if self._bounded else _UNBOUNDED

    def _without_copies(self, events: list[Event]) -> list[Event]:
        kept = []
        for event in events:
            if not self._is_copy(event):
                kept.append(event)
                if event.token is not None:
                    self._youngest = event
            elif event.token is not None:
                token: Any = event.token
                if self._youngest is None:
                    self._client.acknowledge([token])
                else:
                    self._youngest.token = PUBACK.join((cast("bytes", self._youngest.token), token))
        return kept

    def _is_copy(self, event: Event) -> bool:
        raw = cast("bytes", event.raw)
        if numbers := subscriptions(raw):
            return not self._copies.counts(event.topic, numbers)
        return bool(raw[0] & RETAIN) and self._retained.again(event.topic)


def _durable(config: Mqtt) -> bool:
    """Tell whether the broker keeps what is not acknowledged beyond the connection."""
    return config.qos > 0 and config.client_id is not None and (config.version != "5" or config.session_expiry > 0)
