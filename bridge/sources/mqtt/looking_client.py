"""A client that connects, subscribes for a moment, and drops every message: for a look at a broker."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from paho.mqtt import client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from bridge.config import Mqtt, tls
from bridge.connecting.attempt import Attempt
from bridge.errors import Disconnected
from bridge.sources.mqtt.connection import PahoConnection
from bridge.sources.mqtt.login import credentials, server
from bridge.sources.mqtt.paho_client import PlainClient
from bridge.sources.mqtt.promise import REFUSED, describe, no_answer, silence
from bridge.sources.mqtt.subscriptions import max_packet, portions

#: Reason codes of a refusal begin here.
FIRST_FAILURE: Final = 0x80


@dataclass(frozen=True, slots=True)
class Connack:
    """The broker's answer to CONNECT; `properties` is None in MQTT 3.1.1."""

    properties: Any


class LookingClient:
    """Use it as a context manager, which connects with a new session, and ends it; `session_expiry_s` is asked for.

    Raises:
        Disconnected: the broker can't be reached, or refuses, or the connection has ended.
    """

    connack: Connack

    def __init__(self, config: Mqtt, client_id: str, *, session_expiry_s: int = 0) -> None:
        self._config = config
        self._v5 = config.version == "5"
        self._session_expiry_s = session_expiry_s
        loop = asyncio.get_running_loop()
        self._connected: asyncio.Future[Connack] = loop.create_future()
        self._answers: dict[int | None, asyncio.Future[list[Any]]] = {}
        self._client = PlainClient(
            lambda _: (b"", b""),
            client_id=client_id,
            clean_session=None if self._v5 else True,
            protocol=paho.MQTTv5 if self._v5 else paho.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_subscribe = self._on_subscribe
        self._connection = PahoConnection(self._client, "look", self._on_failed)

    async def __aenter__(self) -> Self:
        """Connect as the source does, but for client_id and session."""
        config = self._config
        properties = None
        if self._v5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = self._session_expiry_s
        self._client.authenticate(*credentials(config))
        try:
            async with Attempt(config.connect_timeout / 1000) as attempt:
                keepalive = max(1, config.keepalive // 1000)
                clean = True if self._v5 else paho.MQTT_CLEAN_START_FIRST_ONLY
                await self._connection.open(
                    attempt, server(config), keepalive=keepalive, clean_start=clean, properties=properties
                )
                self.connack = await self._connected
        except TimeoutError as error:
            await self._connection.close()
            raise Disconnected(f"{error}{silence(v5=self._v5)}") from None
        except (OSError, ssl.SSLError, ValueError) as error:
            await self._connection.close()
            raise Disconnected(tls.explain(error, config.url)) from None
        except BaseException:
            await self._connection.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Disconnect, and end the session."""
        properties = None
        if self._session_expiry_s:
            properties = Properties(PacketTypes.DISCONNECT)
            properties.SessionExpiryInterval = 0
        await self._connection.close(properties)

    async def subscribe(self, topics: Sequence[str]) -> list[Any]:
        """Return the broker's reason code for each filter; the subscriptions end with the session."""
        # Of MQTT 5's three ways with retained messages, the one that brings none.
        options = SubscribeOptions(qos=self._config.qos, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)
        reasons: list[Any] = []
        try:
            async with asyncio.timeout(self._config.connect_timeout / 1000):
                await self._subscribe(topics, options, reasons)
        except TimeoutError:
            raise Disconnected("no answer to SUBSCRIBE") from None
        if len(reasons) != len(topics):
            raise Disconnected("the broker's answer does not fit what was subscribed to")
        return reasons

    async def _subscribe(self, topics: Sequence[str], options: SubscribeOptions, reasons: list[Any]) -> None:
        for portion in portions(topics, max_packet(self.connack.properties)):
            payload = [(topic, options if self._v5 else self._config.qos) for topic in portion]
            _, packet_id = self._client.subscribe(payload)  # type: ignore[arg-type]
            answer = self._answers[packet_id] = asyncio.get_running_loop().create_future()
            self._connection.flush()
            reasons += await answer
            self._client.unsubscribe(portion)
            self._connection.flush()

    def _on_failed(self, cause: str) -> None:
        waited_for: list[asyncio.Future[Any]] = [self._connected, *self._answers.values()]
        for waiting in waited_for:
            if not waiting.done():
                waiting.set_exception(Disconnected(cause))

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._connection.fail(f"{REFUSED}{describe(reason, properties)}")
        elif not self._connected.done():
            self._connected.set_result(Connack(properties))

    def _on_disconnect(self, _client: Any, _data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if flags.is_disconnect_packet_from_server:
            self._connection.fail(f"the broker disconnected: {describe(reason, properties)}")
        elif not self._connected.done():
            self._connection.fail(no_answer(v5=self._v5, secure=self._config.url.startswith("mqtts")))
        else:
            self._connection.fail("the connection was lost")

    def _on_subscribe(self, _client: Any, _data: Any, mid: int, reasons: list[Any], _properties: Any) -> None:
        answer = self._answers.pop(mid, None)
        if answer is not None and not answer.done():
            answer.set_result(reasons)
