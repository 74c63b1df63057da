"""AMQP 0-9-1 (RabbitMQ): one queue, acknowledged by hand.

It uses aio-pika's plain connection, and the bridge reconnects by itself: robust connections have left zero consumers, or
hung (aio-pika#231, #334, #536, #563, #577, #626, #632). aio-pika connects, declares, consumes and closes; on the fast
path the bridge itself reads the deliveries and writes their acknowledgements.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import aio_pika
from aio_pika.connection import make_url
from aiormq.exceptions import ChannelPreconditionFailed
from yarl import URL

from bridge.config import Amqp, Dramatiq, tls
from bridge.config.names import virtual_host
from bridge.connecting.attempt import Attempt, Server
from bridge.errors import Disconnected, describe_error
from bridge.model.event import Details, Event
from bridge.observe.logs import RepeatedLog, logger
from bridge.sources.amqp.consumer_check import ConsumerCheck, says_gone
from bridge.sources.amqp.library import lift_limits
from bridge.sources.amqp.promise import PromiseLog
from bridge.sources.amqp.session import AmqpSession, describe_end
from bridge.sources.amqp.stream import StreamPosition, StreamReader, no_stream
from bridge.sources.amqp.transport import FastTransport, LibraryTransport, TransportFactory
from bridge.sources.contract import SinkWatch
from bridge.sources.oversized import ROOM_BYTES

log = logger()
#: A wait for the sink is logged only if it lasts: at the start the first write comes at once.
_SINK_PATIENCE_S: Final = 1.0


class AmqpSource:
    """One consumer of one queue; while `sink` is not available it connects, but does not consume."""

    redelivers = True
    read: Callable[[Any], Details] | None = None

    def __init__(
        self,
        name: str,
        config: Amqp,
        dramatiq: Dramatiq,
        sink: SinkWatch | None = None,
        *,
        consumer_check: ConsumerCheck | None = None,
    ) -> None:
        lift_limits()
        self.name = name
        self._config = config
        self._sink = sink
        self._consumer_check = consumer_check or ConsumerCheck(config.queue)
        self._repeated = RepeatedLog()
        self._promise = PromiseLog(name, config)
        position = StreamPosition(name, virtual_host(config.url), config.queue, dramatiq)
        self._stream = StreamReader(name, config, position)
        self.deliveries: Callable[[Event], int] | None = self._promise.count

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[AmqpSession]:
        """See `Source`: connect, declare queue and exchange if `declare` is set, and consume."""
        config = self._config
        loop = asyncio.get_running_loop()
        max_bytes = config.max_body + ROOM_BYTES
        transport = FastTransport(self.name, loop, max_bytes) if config.fast_path else LibraryTransport(loop, max_bytes)
        session = AmqpSession(
            self.name,
            config,
            transport,
            self._promise,
            stream=self._stream,
            consumer_check=self._consumer_check,
            log_waiting=self._log_waiting,
        )
        attempt, url = Attempt(config.connect_timeout / 1000), self._url()
        connection = aio_pika.Connection(url)
        factory = TransportFactory(transport, attempt, self._server(url))
        connection.kwargs["transport_factory"] = factory
        is_connected = False
        try:
            try:
                async with attempt:
                    await connection.connect()
                is_connected = True
                # Wait only now, so that a mistake in the connection is logged at once.
                await self._wait_for_sink()
                await self._stream.read_position()
                async with asyncio.timeout(config.connect_timeout / 1000):
                    await session.start(connection, transport_used=factory.used)
                self._promise.log_declared()
            except Exception as error:  # noqa: BLE001 - aiormq raises anything, a bare Exception among it
                self._consumer_check.note_refusal(error)
                cause = transport.close_reason or _describe_refusal(error, config)
                raise Disconnected(cause or _describe_failure(error, config.url, connected=is_connected)) from None
            watching = asyncio.create_task(session.watch_consumer(), name=f"source:{self.name}:consumer-check")
            try:
                yield session
            finally:
                watching.cancel()
        finally:
            session.resume_reading()
            await session.close(connection)
            factory.abort()
            session.fail("the connection was closed")

    async def _wait_for_sink(self) -> None:
        # Events delivered now could not be acknowledged. Whenever the channel is lost (RabbitMQ closes it if a delivery is
        # not acknowledged for 30 min) all of them are redelivered, and a quorum queue drops those redelivered too often.
        if self._sink is None or self._sink.available:
            return
        timer = asyncio.get_running_loop().call_later(_SINK_PATIENCE_S, self._log_waiting, "the sink takes no writes")
        try:
            await self._sink.wait()
        finally:
            timer.cancel()

    def _log_waiting(self, cause: str) -> None:
        self._repeated.write(cause, log.warning, "source.waiting", source=self.name, cause=cause)

    def _server(self, url: URL) -> Server:
        settings = self._config.tls
        secure = tls.context(settings) if url.scheme == "amqps" else None
        port = url.port or (5671 if secure else 5672)
        return Server(url.host or "localhost", port, tls=secure, name=settings.server_name if settings else None)

    def _url(self) -> URL:
        config = self._config
        # aiormq gives up after 3 x (heartbeat + 1) s without a frame, and checks every half heartbeat. So it gets 9 s for
        # a `heartbeat` of 10 s, and gives up after 34 s at most.
        heartbeat = max(1, config.heartbeat // 1000 - 1)
        url = make_url(config.url, heartbeat=heartbeat, name=f"dramatiq-bridge {self.name}")
        if config.username is not None:
            url = url.with_user(config.username)
        if config.password is not None:
            url = url.with_password(config.password.get_secret_value())
        return url


def _describe_refusal(error: BaseException, config: Amqp) -> str:
    """Return which queue or exchange the broker refused to declare or to find; "" if it did not."""
    if config.declare is None and says_gone(error, config.queue):
        return f"queue {config.queue!r} does not exist: declare it at the broker, or add `declare:` to the source"
    if isinstance(error, ChannelPreconditionFailed) and "x-stream-offset" in str(error):
        return no_stream(config.queue)
    if isinstance(error, ChannelPreconditionFailed):
        exchange = f"exchange {config.declare.exchange!r}" if config.declare else ""
        # RabbitMQ names the argument that differs, and its queue or exchange.
        subject = exchange if exchange and f"for {exchange}" in str(error) else f"queue {config.queue!r}"
        # "inequivalent arg ... received ... but current is ..."; else it says which argument is invalid.
        problem = "exists with other settings" if "inequivalent" in str(error) else "is refused as it is declared"
        return f"{subject} {problem}: {error}"
    return ""


def _describe_failure(error: BaseException, url: str, *, connected: bool) -> str:
    if not connected and (explained := tls.explain(error, url)) != describe_error(error):
        return explained
    return describe_end(error)
