"""AMQP 0-9-1 (RabbitMQ): one queue, acknowledged by hand.

aio-pika's plain connection, and the bridge's own reconnect loop: robust connections have left
zero consumers, or hung (aio-pika#231, #334, #536, #563, #577, #626, #632).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final

import aio_pika
import aiormq
from aio_pika.connection import make_url
from aiormq.abc import DeliveredMessage
from aiormq.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed
from yarl import URL

from bridge import tls
from bridge.codecs import plain
from bridge.config import Amqp
from bridge.errors import Disconnected, words
from bridge.event import Event
from bridge.sources.amqp_frames import DEFECT_HEADER, FrameReader
from bridge.sources.inbox import Inbox, InboxSession

_CLOSE_S: Final = 2.0
_ADDRESS: Final = re.compile(r" at 0x[0-9a-f]+")
_EMPTY: Final[dict[str, object]] = {}


class AmqpSource:
    """One consumer of one queue."""

    redelivers = True

    def __init__(self, name: str, config: Amqp) -> None:
        self.name = name
        self._config = config

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[AmqpSession]:
        """Connect, declare what is to be declared, and consume."""
        config = self._config
        session = AmqpSession(self.name, config)
        connection = aio_pika.Connection(
            self._url(), ssl_context=tls.context(config.tls) if config.url.startswith("amqps") else None
        )
        # aiormq's seam for other transports: it lets the session hold back the library's reading.
        connection.kwargs["transport_factory"] = _Transport(session.gate, config)
        try:
            try:
                async with asyncio.timeout(config.connect_timeout / 1000):
                    await connection.connect()
                    await session.start(connection)
            except Exception as error:  # noqa: BLE001 - aiormq raises anything, a bare Exception among it
                raise Disconnected(_words(error, config)) from None
            yield session
        finally:
            session.gate.set()
            with contextlib.suppress(Exception):
                await asyncio.wait_for(connection.close(), _CLOSE_S)

    def _url(self) -> URL:
        config = self._config
        url = make_url(config.url, heartbeat=max(1, config.heartbeat // 1000), name=f"dramatiq-bridge {self.name}")
        if config.username is not None:
            url = url.with_user(config.username)
        if config.password is not None:
            url = url.with_password(config.password.get_secret_value())
        return url


class AmqpSession(InboxSession):
    """One connection with one channel and one consumer."""

    def __init__(self, name: str, config: Amqp) -> None:
        self._name = name
        self._config = config
        self.gate = asyncio.Event()
        self.gate.set()
        self._inbox = Inbox(config.window, self.gate.set, redelivered=True)
        self._channel: Any = None
        self._consumer_tag = ""
        self._last_tag = 0

    async def start(self, connection: aio_pika.Connection) -> None:
        """Open the channel, declare, and consume."""
        connection.close_callbacks.add(self._on_close)
        channel = connection.channel(publisher_confirms=False)
        await channel.initialize()
        channel.close_callbacks.add(self._on_close)
        # The prefetch is the window: aio-pika's own buffer has no bound.
        await channel.set_qos(prefetch_count=self._config.window.events)
        await self._declare(channel)
        self._channel = await channel.get_underlay_channel()
        self._channel.on_consumer_cancel_callbacks.add(self._on_cancel)
        consumed = await self._channel.basic_consume(self._config.queue, self._on_message)
        self._consumer_tag = consumed.consumer_tag

    async def settle(self, events: Sequence[Event]) -> None:
        """Acknowledge everything up to the last of `events`, in one frame."""
        self._inbox.settled(events)
        if self._inbox.failed:
            return
        try:
            await self._channel.basic_ack(events[-1].token, multiple=True, wait=False)
        except Exception as error:  # noqa: BLE001 - as in `connect`
            self._inbox.fail(_words(error, self._config))

    async def pause(self) -> None:
        """Cancel the consumer; what the broker had already sent is still received."""
        self.gate.set()
        try:
            await asyncio.wait_for(self._channel.basic_cancel(self._consumer_tag), _CLOSE_S)
        except Exception as error:  # noqa: BLE001 - as in `connect`
            self._inbox.fail(_words(error, self._config))
        self._inbox.close()

    async def _declare(self, channel: Any) -> None:
        config = self._config
        wanted = config.declare
        if wanted is None:
            await channel.declare_queue(config.queue, passive=True)
            return
        queue = await channel.declare_queue(config.queue, durable=wanted.durable, arguments=wanted.arguments or None)
        if wanted.exchange:
            exchange = await channel.declare_exchange(wanted.exchange, wanted.type, durable=wanted.durable)
            for key in wanted.bindings or [""]:
                await queue.bind(exchange, key)

    async def _on_message(self, message: DeliveredMessage) -> None:
        tag = message.delivery_tag or 0
        if tag != self._last_tag + 1:
            # Acknowledging is up to a tag: were one left out, its event would be lost.
            self._inbox.fail(f"delivery {tag} came after {self._last_tag}")
            return
        event = _event(self._name, message)
        self._last_tag = tag
        self._inbox.put(event)
        if self._inbox.full and self._inbox.held < self._config.window.events:
            self.gate.clear()  # full by bytes, which the prefetch doesn't bound

    async def _on_cancel(self, _frame: object) -> None:
        self._inbox.fail(f"the broker cancelled the consumer of queue {self._config.queue!r} (was it deleted?)")

    async def _on_close(self, _sender: object, error: BaseException | None = None, *_: object) -> None:
        self._inbox.fail(_words(error, self._config) if error else "the connection was closed")


def _event(source: str, message: DeliveredMessage) -> Event:
    properties = message.header.properties
    headers = _headers(properties.headers) if properties.headers else _EMPTY
    return Event(
        source,
        message.routing_key or "",
        message.body,
        time.time_ns() // 1_000_000,
        headers,
        {
            "message_id": properties.message_id,
            "correlation_id": properties.correlation_id,
            "reply_to": properties.reply_to,
            "content_type": properties.content_type,
            "timestamp": _milliseconds(properties.timestamp),
            "expires_in": _seconds(properties.expiration),
            "exchange": message.exchange,
            "redelivered": message.redelivered,
        },
        message.delivery_tag,
        defect=str(headers.get(DEFECT_HEADER, "")),
    )


def _headers(raw: dict[str, Any]) -> dict[str, object]:
    """Return the headers in JSON's types; AMQP's text arrives as text already, its binary becomes base64."""
    try:
        return plain(raw)  # type: ignore[return-value]
    except (ValueError, UnicodeEncodeError):
        return {key: value for key, value in raw.items() if isinstance(value, (str, int, bool))}


def _milliseconds(timestamp: datetime | None) -> int | None:
    return int(timestamp.timestamp() * 1000) if timestamp else None


def _seconds(expiration: str | None) -> float | None:
    return int(expiration) / 1000 if expiration and expiration.isdigit() else None


def _words(error: BaseException, config: Amqp) -> str:
    if isinstance(error, ChannelNotFoundEntity) and config.declare is None:
        return f"queue {config.queue!r} does not exist: declare it at the broker, or add `declare:` to the source"
    if isinstance(error, ChannelPreconditionFailed):
        exchange = f"exchange {config.declare.exchange!r}" if config.declare else ""
        # RabbitMQ names what differs: the argument, and whose it is.
        what = exchange if exchange and f"for {exchange}" in str(error) else f"queue {config.queue!r}"
        return f"{what} exists with other settings: {error}"
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, asyncio.CancelledError):
        return "the connection was lost"  # what aiormq says when it ends its own tasks
    # Without the addresses of objects, so that the same fault says the same each time.
    return _ADDRESS.sub("", words(error))


class _Transport(aiormq.TransportFactory):
    """Opens the connection as aiormq itself does, with a reader of ours."""

    def __init__(self, gate: asyncio.Event, config: Amqp) -> None:
        self._gate = gate
        self._server_name = config.tls.server_name if config.tls else None

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        provider = kwargs.pop("ssl_context_provider")
        secure = await provider.get_context() if url.scheme == "amqps" else None
        loop = asyncio.get_running_loop()
        reader = FrameReader(self._gate, loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport, _ = await loop.create_connection(
            lambda: protocol,
            url.host or "localhost",
            url.port or (5671 if secure else 5672),
            ssl=secure,
            server_hostname=(self._server_name or url.host) if secure else None,
        )
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)
