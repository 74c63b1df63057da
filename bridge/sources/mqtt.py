"""MQTT (5, or 3.1.1 on request), QoS 0 and 1, acknowledged by hand.

paho-mqtt connects, subscribes and keeps alive; it is driven by the event loop and owns no
thread. One client object per connection: unacknowledged messages come again only on a new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, cast
from urllib.parse import unquote, urlsplit

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from bridge import tls
from bridge.config import Mqtt
from bridge.errors import Disconnected
from bridge.event import Event
from bridge.observe.logs import logger
from bridge.sources.inbox import Inbox
from bridge.sources.mqtt_copies import Copies, Retained

log = logger()
_CLOSE_S: Final = 2.0
_EMPTY: Final[dict[str, object]] = {}
_FIRST_FAILURE: Final = 0x80


class MqttSource:
    """One client; `topics` are the filters to subscribe to."""

    def __init__(self, name: str, config: Mqtt, topics: Sequence[str]) -> None:
        self.name = name
        self.redelivers = _durable(config)
        self._config = config
        self._topics = list(topics)
        self._copies = Copies(self._topics)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[MqttSession]:
        """Connect and subscribe; yield once every subscription is granted."""
        session = MqttSession(self.name, self._config, self._topics, self._copies)
        try:
            try:
                async with asyncio.timeout(self._config.connect_timeout / 1000):
                    await session.start()
            except TimeoutError:
                raise Disconnected("timed out") from None
            except (OSError, ssl.SSLError, ValueError) as error:
                raise Disconnected(str(error) or type(error).__name__) from None
            yield session
        finally:
            await session.end()


class MqttSession:
    """One paho client, from CONNECT to its end."""

    def __init__(self, name: str, config: Mqtt, topics: list[str], copies: Copies) -> None:
        self._name = name
        self._config = config
        self._topics = topics
        self._copies = copies
        self._retained = Retained(copies)
        self._requested: dict[int | None, list[str]] = {}
        # The packet ids of the youngest event that is not settled: copies of it are acknowledged after it.
        self._youngest: list[int] | None = None
        self._loop = asyncio.get_running_loop()
        self._inbox = Inbox(config.window, self._read_again, redelivered=_durable(config))
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._unsubscribed = asyncio.Event()
        self._socket: Any = None
        self._fd = -1
        self._reading = False
        self._misc: asyncio.Task[None] | None = None
        self._v5 = config.version == "5"
        self._client = self._make_client()

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
        # paho opens the socket by blocking calls (DNS, TCP, TLS): in a thread, before the loop takes over.
        await asyncio.to_thread(
            self._client.connect,
            url.hostname or "localhost",
            port,
            keepalive=max(1, config.keepalive // 1000),
            clean_start=(config.client_id is None) if self._v5 else paho.MQTT_CLEAN_START_FIRST_ONLY,
            properties=properties,
        )
        self._socket = self._client.socket()
        if self._socket is None:
            raise Disconnected("the connection was closed")
        self._fd = self._socket.fileno()
        if isinstance(self._socket, socket.socket):
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._read_again()
        self._flush()
        self._misc = asyncio.create_task(self._keep_alive(), name=f"source:{self._name}:keepalive")
        await self._ready

    @property
    def ended(self) -> bool:
        """See `Session`."""
        return self._inbox.failed

    async def receive(self) -> list[Event]:
        """See `Session`."""
        return await self._inbox.take()

    async def settle(self, events: Sequence[Event]) -> None:
        """PUBACK each event, in the order received [MQTT-4.6.0-2]."""
        if not self._inbox.failed:
            for event in events:
                packet_ids = cast("list[int] | None", event.token)
                for packet_id in packet_ids or ():
                    self._client.ack(packet_id, 1)
                if packet_ids is self._youngest:
                    self._youngest = None
            self._flush()
        self._inbox.settled(events)

    async def pause(self) -> None:
        """Take nothing new.

        Unsubscribing would end the session's claim to what is published meanwhile, so only the
        reading stops: what the broker sends now is delivered again to the next connection. At
        QoS 0 or without a client_id there is no next time, and the subscription is given up instead.
        """
        if not _durable(self._config) and self._topics and not self._inbox.failed:
            self._client.unsubscribe(self._topics)
            self._flush()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._unsubscribed.wait(), _CLOSE_S)
        self._stop_reading()
        self._inbox.close()

    async def end(self) -> None:
        """Say goodbye, and close the socket."""
        if self._misc is not None:
            self._misc.cancel()
            await asyncio.gather(self._misc, return_exceptions=True)
        if not self._inbox.failed and self._socket is not None:
            with contextlib.suppress(Exception):
                self._client.disconnect()
                deadline = self._loop.time() + _CLOSE_S
                while self._client.want_write() and self._loop.time() < deadline:
                    self._client.loop_write()
                    await asyncio.sleep(0.005)
        self._detach()
        with contextlib.suppress(Exception):
            if self._socket is not None:
                self._socket.close()

    def _make_client(self) -> paho.Client:
        config = self._config
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
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
        # Before paho closes the socket: a closed descriptor may be another connection's a moment later.
        client.on_socket_close = lambda *_: self._detach()
        # With this set, paho queues what it sends, and the loop writes it: many PUBACKs in one go.
        client.on_socket_register_write = lambda *_: None
        return client

    # The socket, driven by the event loop.

    def _read_again(self) -> None:
        if not self._reading and not self._inbox.failed and self._fd >= 0:
            self._loop.add_reader(self._fd, self._on_readable)
            self._reading = True
            if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
                self._loop.call_soon(self._on_readable)  # TLS has it already: the socket won't tell

    def _stop_reading(self) -> None:
        if self._reading:
            self._loop.remove_reader(self._fd)
            self._reading = False

    def _detach(self) -> None:
        self._stop_reading()
        if self._fd >= 0:
            self._loop.remove_writer(self._fd)
            self._fd = -1

    def _on_readable(self) -> None:
        try:
            while self._reading:
                code = self._client.loop_read()
                if code is not MQTTErrorCode.MQTT_ERR_SUCCESS:
                    self._fail(paho.error_string(code))
                    return
                if not (isinstance(self._socket, ssl.SSLSocket) and self._socket.pending()):
                    break
        except Exception as error:  # noqa: BLE001 - whatever paho does, the session ends and says why
            self._fail(str(error) or type(error).__name__)
            return
        self._flush()

    def _flush(self) -> None:
        """Write what paho has queued; the rest when the socket can take it."""
        if self._inbox.failed or self._fd < 0:
            return
        try:
            if self._client.want_write():
                self._client.loop_write()
            if self._fd < 0:
                self._fail("the connection was closed")
            elif self._client.want_write():
                self._loop.add_writer(self._fd, self._flush)
            else:
                self._loop.remove_writer(self._fd)
        except (OSError, ValueError) as error:
            self._fail(str(error))

    async def _keep_alive(self) -> None:
        while not self._inbox.failed:
            await asyncio.sleep(1.0)
            try:
                code = self._client.loop_misc()
            except Exception as error:  # noqa: BLE001
                self._fail(str(error) or type(error).__name__)
                return
            if code is not MQTTErrorCode.MQTT_ERR_SUCCESS:
                self._fail(paho.error_string(code))
                return
            self._flush()

    def _fail(self, cause: str) -> None:
        self._detach()
        self._inbox.fail(cause)
        if not self._ready.done():
            self._ready.set_exception(Disconnected(cause))

    # What paho reports; all of it on the event loop's thread.

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._fail(f"refused: {reason}")
        elif not self._topics:
            self._ready.set_result(None)
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
            self._fail(f"the broker refuses the subscription to {', '.join(refused)}")
        elif not self._requested and not self._ready.done():
            self._ready.set_result(None)

    def _on_unsubscribe(self, *_: Any) -> None:
        self._unsubscribed.set()

    def _on_disconnect(self, _client: Any, _data: Any, flags: Any, reason: Any, _properties: Any) -> None:
        # Where the broker said nothing, paho makes up an "Unspecified error".
        said = flags.is_disconnect_packet_from_server
        self._fail(f"the broker disconnected: {reason}" if said else "the connection was lost")

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        event = _event(self._name, message)
        if self._copies.numbers and self._is_copy(event, message):
            if message.qos > 0 and self._youngest is not None:
                self._youngest.append(message.mid)
            elif message.qos > 0:
                self._client.ack(message.mid, 1)
            return
        if event.token is not None:
            self._youngest = cast("list[int]", event.token)
        self._inbox.put(event)
        # The broker keeps to Receive Maximum more or less (mosquitto 2.0.11 exceeds it): twice the window ends it.
        most = self._config.window.events * (2 if self._config.qos > 0 else 1)
        if self._inbox.held >= most or self._inbox.heavy:
            self._stop_reading()

    def _is_copy(self, event: Event, message: paho.MQTTMessage) -> bool:
        numbers = getattr(message.properties, "SubscriptionIdentifier", None)
        if numbers is not None:
            return not self._copies.counts(event.topic, numbers)
        return bool(message.retain) and self._retained.again(event.topic)


def _durable(config: Mqtt) -> bool:
    """Tell whether the broker keeps what is not acknowledged beyond the connection."""
    return config.qos > 0 and config.client_id is not None and (config.version != "5" or config.session_expiry > 0)


def _event(source: str, message: paho.MQTTMessage) -> Event:
    headers: dict[str, object] = _EMPTY
    meta: dict[str, object] = {"qos": message.qos, "retain": message.retain, "redelivered": message.dup}
    properties = message.properties
    if properties is not None and not properties.isEmpty():
        _add_properties(meta, properties)
        headers = dict(getattr(properties, "UserProperty", ()))
    defect = ""
    try:
        topic = message.topic
    except UnicodeDecodeError:
        topic, defect = "", "the topic is not UTF-8"
    token = [message.mid] if message.qos > 0 else None
    return Event(source, topic, bytes(message.payload), time.time_ns() // 1_000_000, headers, meta, token, None, defect)


def _add_properties(meta: dict[str, object], properties: Properties) -> None:
    correlation = getattr(properties, "CorrelationData", None)
    meta["correlation_id"] = correlation.decode("utf-8", "backslashreplace") if correlation is not None else None
    meta["reply_to"] = getattr(properties, "ResponseTopic", None)
    meta["content_type"] = getattr(properties, "ContentType", None)
    meta["expires_in"] = getattr(properties, "MessageExpiryInterval", None)
