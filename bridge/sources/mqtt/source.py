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
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from paho.mqtt import client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from bridge.config import Dramatiq, Mqtt
from bridge.errors import Disconnected, describe_error
from bridge.model.event import Details, Event
from bridge.observe.logs import logger
from bridge.sources import tls
from bridge.sources.contract import WindowedSession
from bridge.sources.mqtt.connection import PahoConnection
from bridge.sources.mqtt.overlap import CopyFilter, OverlapIds
from bridge.sources.mqtt.packets import NOT_MQTT, PacketReader, details
from bridge.sources.mqtt.paho_client import PlainClient, TappedClient, event_of, tap_problem
from bridge.sources.mqtt.subscription_store import SubscriptionStore, TakeoverDetector
from bridge.sources.mqtt.subscriptions import Subscriptions
from bridge.sources.window import InFlightWindow

log = logger()
_CLOSE_S: Final = 1.0
_NOBODYS_TOPIC: Final = "dramatiq-bridge/goodbye"
_TAKEN_OVER: Final = 0x8E


class MqttSource:
    """One client; `topics` are the filters to subscribe to, `dramatiq` the Redis that remembers them.

    With `left`, to unsubscribe from instead, and to bring what the session still has: see `left_members`.
    """

    def __init__(
        self, name: str, config: Mqtt, topics: Sequence[str], dramatiq: Dramatiq, *, left: bool = False
    ) -> None:
        self.name = name
        self.redelivers = config.durable
        self.read: Callable[[Any], Details] | None = details
        self._config = config
        self._topics = [] if left else list(topics)
        self._copies = OverlapIds(topics)
        self._record = SubscriptionStore(name, config, topics, dramatiq, left=left) if config.keeps_session else None
        self._quarrel = TakeoverDetector(config.client_id)
        self._fast = config.fast_path
        if self._fast and (problem := tap_problem()):
            log.warning("source.fast_path_unavailable", source=name, problem=problem)
            self._fast = False

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[MqttSession]:
        """Connect and subscribe; yield once every subscription is granted, or the first event is there.

        A session's backlog stands before the grant: events that waited for it would wait for each other.
        """
        session = MqttSession(self.name, self._config, self._topics, self._copies, self._record, fast=self._fast)
        try:
            try:
                async with asyncio.timeout(self._config.connect_timeout / 1000):
                    await session.start()
            except TimeoutError:
                raise Disconnected("timed out") from None
            except (OSError, ssl.SSLError, ValueError) as error:
                raise Disconnected(describe_error(error)) from None
            yield session
        except Disconnected as ended:
            raise self._quarrel.judged(ended, taken_over=session.taken_over, lived_s=session.lived_s) from None
        finally:
            await session.end()


class MqttSession(WindowedSession):
    """One paho client, from CONNECT to its end."""

    def __init__(
        self,
        name: str,
        config: Mqtt,
        topics: list[str],
        copies: OverlapIds,
        record: SubscriptionStore | None,
        *,
        fast: bool,
    ) -> None:
        self._name = name
        self._config = config
        self._topics = topics
        self._overlapping = bool(copies.numbers)
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._record = record
        self._subscribing: asyncio.Task[None] | None = None
        self._connected_at: float | None = None
        self._heard_at = 0.0
        self._paused = False
        #: Whether the broker has said that another client took the session over.
        self.taken_over = False
        #: How long the connection stood until the broker closed it; None otherwise.
        self.lived_s: float | None = None
        self._v5 = config.version == "5"
        self._reader = PacketReader(name, v5=self._v5)
        self._client = self._make_client(TappedClient if fast else PlainClient)
        self._link = PahoConnection(self._client, name, self._on_failed)
        self._once = CopyFilter(copies, self._client.acknowledge)
        self._subscriber = Subscriptions(self._client, name, config, copies, self._begin, self._link.fail)
        # The broker keeps to Receive Maximum more or less (mosquitto 2.0.11 exceeds it): twice the window ends it.
        self._most = config.window.events * (2 if config.qos > 0 else 1)
        self._window = InFlightWindow(config.window, self._read_again, redelivered=config.durable)

    async def start(self) -> None:
        """Connect and subscribe; return once every subscription is granted, or the first event is there."""
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
        self._subscribing = asyncio.create_task(self._keep_subscriptions(), name=f"source:{self._name}:subscriptions")

    async def acknowledge(self, events: Sequence[Event]) -> None:
        """PUBACK each event, in the order received [MQTT-4.6.0-2]."""
        if not self._window.failed:
            tokens: list[Any] = [event.token for event in events if event.token is not None]
            if tokens:
                self._once.acknowledged(tokens[-1])
                self._client.acknowledge(tokens)
                self._link.flush()
        self._window.acknowledged(events)

    async def pause(self) -> None:
        """Take nothing new.

        Unsubscribing would end the session's claim to what is published meanwhile: what the broker
        sends now is left unacknowledged, and delivered again to the next connection. At QoS 0 or
        without a client_id there is no next time, and the subscription is given up instead.
        """
        self._paused = self._config.durable
        if not self._paused and self._topics:
            await self._unsubscribe(self._topics)
        self._window.close()

    async def end(self) -> None:
        """Say goodbye, and close the socket; what comes meanwhile is nobody's."""
        self._paused = True
        if self._subscribing is not None:
            self._subscribing.cancel()
            await asyncio.wait([self._subscribing], timeout=_CLOSE_S)
        if self._connected_at is not None:
            # The answer means that the broker has taken every PUBACK before it. Without it, closing a socket
            # with something unread resets the connection, and PUBACKs under way are lost (observed).
            await self._unsubscribe([_NOBODYS_TOPIC])
        await self._link.close()

    async def _unsubscribe(self, topics: list[str]) -> None:
        """Unsubscribe, and wait for the answer, a little while."""
        if self._window.failed:
            return
        answer = self._subscriber.unsubscribe(topics)
        self._link.read_again()
        self._link.flush()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(answer, _CLOSE_S)

    async def _keep_subscriptions(self) -> None:
        """See that the subscriptions are granted, and that only these are left; ends with the connection."""
        granted, limit_s = self._subscriber.granted, self._config.connect_timeout / 1000
        while not granted.is_set():
            # Behind a backlog, and behind a full window, the answer may come as late as it likes.
            left_s = self._heard_at + limit_s - self._loop.time() if self._link.reading else limit_s
            if left_s <= 0:
                self._link.fail("no answer to SUBSCRIBE")
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await granted.wait()
        if self._record is not None:
            try:
                await self._record.keep(self._give_up)
            except Exception as error:  # noqa: BLE001 - a task's edge: whatever it is, it is not left unsaid
                self._link.fail(f"the record of subscriptions: {describe_error(error)}")

    async def _give_up(self, topics: list[str]) -> list[str]:
        """Unsubscribe, and return once the broker has answered the topics that it does not let go."""
        answer = self._subscriber.unsubscribe(topics)
        self._link.flush()
        return self._subscriber.kept(topics, await answer)

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
        client.on_message = self._on_message
        client.on_disconnect = self._on_disconnect
        return client

    def _on_failed(self, cause: str) -> None:
        self._window.fail(cause)
        if not self._ready.done():
            self._ready.set_exception(Disconnected(cause))

    # What paho reports; all of it on the event loop's thread.

    def _on_connect(self, _client: Any, _data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._link.fail(f"refused: {reason}")
            return
        self._connected_at = self._heard_at = self._loop.time()
        if self._record is not None:
            self._record.connected(session_present=flags.session_present)
        numbered = getattr(properties, "SubscriptionIdentifierAvailable", 1) == 1
        self._subscriber.subscribe(self._topics, numbered=numbered)
        if self._window.held:
            self._begin()

    def _begin(self) -> None:
        """End `start`: everything is granted, or the first event is there."""
        if not self._ready.done():
            self._ready.set_result(None)

    def _on_disconnect(self, _client: Any, _data: Any, flags: Any, reason: Any, _properties: Any) -> None:
        # Where the broker said nothing, paho makes up a reason.
        if flags.is_disconnect_packet_from_server:
            self.taken_over = reason.value == _TAKEN_OVER
            self._link.fail(f"the broker disconnected: {reason}")
        elif self._connected_at is None:
            self._link.fail("the connection ended before the broker's answer (a port for TLS takes mqtts://)")
        elif reason == "Keep alive timeout":
            self._link.fail("no answer to a ping")
        elif reason == "Protocol error":
            self._link.fail(f"{NOT_MQTT}: paho can't read it")
        else:
            self.lived_s = self._loop.time() - self._connected_at
            self._link.fail("the connection was lost")

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
        if self._overlapping:
            events = self._once.kept(events)
        if events:
            self._window.put(events)
        if self._window.held >= self._most or self._window.over_byte_limit:
            self._link.stop_reading()
        if not self._subscriber.granted.is_set():
            self._heard_at = self._loop.time()
            if self._connected_at is not None:
                self._begin()

    def _read_again(self) -> None:
        self._heard_at = self._loop.time()
        self._link.read_again()

    def _room(self) -> int:
        """Return how many packets to take at once."""
        return self._most if self._paused else max(1, self._most - self._window.held)
