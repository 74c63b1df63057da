"""One session of an MQTT source: it joins the paho client, the window, the subscriptions and the copy filter.

See the drawing in `bridge.sources.mqtt`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, Final

from paho.mqtt import client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from bridge.config import Mqtt
from bridge.connecting.attempt import Attempt
from bridge.errors import Disconnected, describe_error
from bridge.model.event import Event
from bridge.sources.contract import WindowedSession
from bridge.sources.mqtt.connection import PahoConnection
from bridge.sources.mqtt.login import credentials, server
from bridge.sources.mqtt.overlap import CopyFilter, OverlapIds
from bridge.sources.mqtt.packets import MAX_PACKET_BYTES, NOT_MQTT, PacketReader
from bridge.sources.mqtt.paho_client import PlainClient, TappedClient, event_of
from bridge.sources.mqtt.promise import REFUSED, PromiseLog, describe, guarantee, missing, no_answer, shortened
from bridge.sources.mqtt.subscription_store import SubscriptionStore
from bridge.sources.mqtt.subscriptions import Subscriptions
from bridge.sources.oversized import ROOM_BYTES
from bridge.sources.window import InFlightWindow

_CLOSE_TIMEOUT_S: Final = 1.0
_RECORD_TIMEOUT_S: Final = 0.5
#: Never subscribed to: unsubscribing from it only makes the broker answer.
_FLUSH_TOPIC: Final = "dramatiq-bridge/goodbye"
_TAKEN_OVER: Final = 0x8E


class MqttSession(WindowedSession):
    """One paho client, from CONNECT to its end."""

    def __init__(  # noqa: PLR0917 - all of one connection
        self,
        name: str,
        config: Mqtt,
        topics: list[str],
        overlap_ids: OverlapIds,
        store: SubscriptionStore | None,
        promise: PromiseLog,
        *,
        fast: bool,
    ) -> None:
        self._name = name
        self._config = config
        self._topics = topics
        self._overlapping = bool(overlap_ids.by_filter)
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._store = store
        self._promise = promise
        #: Whether the broker keeps unacknowledged messages beyond the connection; CONNACK may say that it does not.
        self.durable = config.durable
        self._subscriptions_task: asyncio.Task[None] | None = None
        self._connected_at: float | None = None
        # `connect_timeout` for the answer to SUBSCRIBE counts from the last message, or from the last resumed reading.
        self._progress_at = 0.0
        self._paused = False
        #: Whether the broker has reported that another client took the session over.
        self.taken_over = False
        #: Seconds from CONNACK until the broker closed the connection; None if it has not, or it ended otherwise.
        self.lasted_s: float | None = None
        self._v5 = config.version == "5"
        self._max_packet_bytes = min(config.max_body + ROOM_BYTES, MAX_PACKET_BYTES)
        self._reader = PacketReader(name, v5=self._v5, max_bytes=self._max_packet_bytes)
        self._client = self._make_client(TappedClient if fast else PlainClient)
        self._connection = PahoConnection(self._client, name, self._on_failed)
        self._copy_filter = CopyFilter(overlap_ids, self._client.acknowledge)
        self._subscriptions = Subscriptions(
            self._client, self._connection, config, overlap_ids, promise, self._set_ready
        )
        # Brokers keep to Receive Maximum only roughly (mosquitto 2.0.11 exceeds it): at QoS 1 reading stops at two windows.
        self._max_held = config.window.events * (2 if config.qos > 0 else 1)
        self._window = InFlightWindow(config.window, self._resume_reading, redelivered=config.durable)

    async def start(self, attempt: Attempt) -> None:
        """Connect and subscribe; return once every subscription is granted, or the first event was received.

        Raises:
            Disconnected, OSError, ValueError: the connection failed, or the broker refused it.
        """
        config = self._config
        self._client.authenticate(*credentials(config))
        properties = None
        if self._v5:
            properties = Properties(PacketTypes.CONNECT)
            properties.ReceiveMaximum = config.window.events
            properties.MaximumPacketSize = self._max_packet_bytes
            properties.SessionExpiryInterval = config.session_expiry // 1000 if config.client_id else 0
        await self._connection.open(
            attempt,
            server(config),
            keepalive=max(1, config.keepalive // 1000),
            clean_start=(config.client_id is None) if self._v5 else paho.MQTT_CLEAN_START_FIRST_ONLY,
            properties=properties,
        )
        await self._ready
        task = asyncio.create_task(self._maintain_subscriptions(), name=f"source:{self._name}:subscriptions")
        self._subscriptions_task = task

    async def acknowledge(self, events: Sequence[Event]) -> None:
        """PUBACK each event, in the order received [MQTT-4.6.0-2]."""
        if not self._window.failed:
            tokens: list[Any] = [event.token for event in events if event.token is not None]
            if tokens:
                self._copy_filter.acknowledged(tokens[-1])
                self._client.acknowledge(tokens)
                self._connection.flush()
                if self._client.unsent_are_too_many:
                    self._connection.fail("the broker sends messages, and takes no acknowledgements")
        self._window.acknowledged(events)

    async def pause(self) -> None:
        """Take no new events.

        Unsubscribing would end the session's claim to messages published meanwhile. So messages that the broker sends
        now stay unacknowledged, and it redelivers them to the next connection. At QoS 0 or without a client_id nothing
        is redelivered, and the session unsubscribes instead.
        """
        self._paused = self.durable
        if not self._paused and self._topics:
            await self._unsubscribe(self._topics)
        self._window.close()

    async def end(self) -> None:
        """Send DISCONNECT, and close the socket; events received meanwhile are dropped."""
        self._paused = True
        if self._subscriptions_task is not None:
            if self._store is not None and not self._window.failed:
                # Else the next start would not know of a filter that its configuration may not have any more.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._store.recorded.wait(), _RECORD_TIMEOUT_S)
            self._subscriptions_task.cancel()
            await asyncio.wait([self._subscriptions_task], timeout=_CLOSE_TIMEOUT_S)
        if self._connected_at is not None:
            # The answer means that the broker has taken every PUBACK before it. Without it, closing a socket
            # with unread bytes resets the connection, and PUBACKs under way are lost (observed).
            await self._unsubscribe([_FLUSH_TOPIC])
        await self._connection.close()
        self._window.fail("the connection was closed")

    async def _unsubscribe(self, topics: list[str]) -> None:
        """Unsubscribe, and wait at most 1 s for the answer."""
        if self._window.failed:
            return
        answer = self._subscriptions.unsubscribe(topics)
        self._connection.resume_reading()
        self._connection.flush()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(answer, _CLOSE_TIMEOUT_S)

    async def _maintain_subscriptions(self) -> None:
        """Wait for the grant, then leave the rest to the store; runs until the connection ends."""
        granted, timeout_s = self._subscriptions.granted, self._config.connect_timeout / 1000
        while not granted.is_set():
            # The answer may come as late as it likes behind a backlog, or while the window is full.
            remaining_s = self._progress_at + timeout_s - self._loop.time() if self._connection.reading else timeout_s
            if remaining_s <= 0:
                self._connection.fail("no answer to SUBSCRIBE")
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(remaining_s):
                    await granted.wait()
        if self._store is not None:
            try:
                await self._store.maintain(self._unsubscribe_stale)
            except Exception as error:  # noqa: BLE001 - the end of a task: no error may pass unseen
                self._connection.fail(f"the record of subscriptions: {describe_error(error)}")

    async def _unsubscribe_stale(self, topics: list[str]) -> list[str]:
        """Unsubscribe, wait for the answer, and return the topics that the broker refuses to unsubscribe."""
        answer = self._subscriptions.unsubscribe(topics)
        self._connection.flush()
        return self._subscriptions.still_subscribed(self._name, topics, await answer)

    def _make_client(self, kind: type[PlainClient | TappedClient]) -> PlainClient | TappedClient:
        config = self._config
        client = kind(
            self._extract_messages,
            max_packet_bytes=self._max_packet_bytes,
            client_id=config.client_id or "",
            # MQTT 5 has this in CONNECT's flags instead: see `clean_start`.
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

    # paho's callbacks, all on the event loop's thread.

    def _on_connect(self, _client: Any, _data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._connection.fail(f"{REFUSED}{describe(reason, properties)}")
            return
        self._connected_at = self._progress_at = self._loop.time()
        if cause := missing(self._topics, properties):
            self._connection.fail(cause)
            return
        if self._v5 and getattr(properties, "MaximumPacketSize", MAX_PACKET_BYTES) > self._max_packet_bytes:
            self._promise.larger_discarded(self._max_packet_bytes)
        asked_ms = self._config.session_expiry
        if self.durable and self._v5 and (granted_ms := shortened(asked_ms, properties)) is not None:
            self.guarantee = guarantee(granted_ms)
            self._promise.session_shortened(asked_ms, granted_ms, self.guarantee)
            self._window.redelivered = self.durable = granted_ms > 0
        if self._store is not None:
            self._store.connected(session_present=flags.session_present)
        self._subscriptions.subscribe(self._topics, properties, session_present=flags.session_present)
        if self._window.held:
            self._set_ready()

    def _set_ready(self) -> None:
        """Let `start` return: every subscription is granted, or the first event was received."""
        if not self._ready.done():
            self._ready.set_result(None)

    def _on_disconnect(self, _client: Any, _data: Any, flags: Any, reason: Any, properties: Any) -> None:
        # Without a DISCONNECT from the broker, paho makes up a reason.
        if flags.is_disconnect_packet_from_server:
            self.taken_over = reason.value == _TAKEN_OVER
            self._connection.fail(f"the broker disconnected: {describe(reason, properties)}")
        elif self._connected_at is None:
            self._connection.fail(no_answer(v5=self._v5, secure=self._config.url.startswith("mqtts")))
        elif reason == "Keep alive timeout":
            self._connection.fail("no answer to a ping")
        elif reason == "Protocol error":
            self._connection.fail(f"{NOT_MQTT}: paho can't read it")
        else:
            self.lasted_s = self._loop.time() - self._connected_at
            self._connection.fail("the connection was lost")

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        self._received([event_of(self._name, message)])

    # The fast path: called by the tap.

    def _extract_messages(self, data: bytes) -> tuple[bytes, bytes]:
        """Put the messages of `data` into the window; return the packets for paho, and the bytes behind a full window.

        Raises:
            Disconnected: the bytes are not MQTT.
        """
        if events := self._reader.feed(data, self._room()):
            self._received(events)
        elif self._reader.is_mid_packet:
            self._note_progress()  # a large message may take longer than `connect_timeout`
        if self._reader.malformed:
            raise Disconnected(self._reader.malformed)
        return self._reader.pop_others(), self._reader.pop_deferred()

    def _received(self, events: list[Event]) -> None:
        if self._paused and self.durable:
            # Those that are not redelivered still count: as received, or as lost where nobody takes them any more.
            events = [event for event in events if event.token is None]
        # Of each reply the first event is enough: a publisher that does so does it again.
        if events and self.durable and events[0].token is None:
            self._promise.published_at_qos_0(events[0].topic)
        if self._overlapping:
            events = self._copy_filter.drop_copies(events)
        if events:
            self._window.put(events)
        if self._window.held >= self._max_held or self._window.over_byte_limit:
            self._connection.pause_reading()
        self._note_progress()

    def _note_progress(self) -> None:
        if not self._subscriptions.granted.is_set():
            self._progress_at = self._loop.time()
            if self._connected_at is not None:
                self._set_ready()

    def _resume_reading(self) -> None:
        self._progress_at = self._loop.time()
        self._connection.resume_reading()

    def _room(self) -> int:
        """Return how many packets to read at once."""
        return self._max_held if self._paused else max(1, self._max_held - self._window.held)
