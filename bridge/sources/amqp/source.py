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

from bridge.config import Amqp, Dramatiq
from bridge.config.names import virtual_host
from bridge.connecting.attempt import Attempt
from bridge.errors import Disconnected
from bridge.model.event import Details, Event
from bridge.observe.logs import RepeatedLog, logger
from bridge.sources.amqp.consumer_check import ConsumerCheck
from bridge.sources.amqp.library import lift_limits
from bridge.sources.amqp.opening import broker_url, describe_failure, describe_refusal, server
from bridge.sources.amqp.promise import PromiseLog
from bridge.sources.amqp.session import AmqpSession
from bridge.sources.amqp.stream import StreamPosition, StreamReader
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
        self.missed = self._stream.missed
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
        attempt, url = Attempt(config.connect_timeout / 1000), broker_url(config, f"dramatiq-bridge {self.name}")
        connection = aio_pika.Connection(url)
        factory = TransportFactory(transport, attempt, server(config, url))
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
                cause = transport.close_reason or describe_refusal(error, config)
                raise Disconnected(cause or describe_failure(error, config.url, connected=is_connected)) from None
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
