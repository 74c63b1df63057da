"""AMQP 0-9-1 (RabbitMQ): one queue, acknowledged by hand.

aio-pika's plain connection, and the bridge's own reconnect loop: robust connections have left
zero consumers, or hung (aio-pika#231, #334, #536, #563, #577, #626, #632). aio-pika connects, declares, consumes
and closes; on the fast path the bridge reads the deliveries itself, and writes their acknowledgements.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import aio_pika
from aio_pika.connection import make_url
from aiormq.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed
from yarl import URL

from bridge.config import Amqp
from bridge.errors import Disconnected
from bridge.model.event import Details
from bridge.observe.logs import LogThrottle, logger
from bridge.sources import tls
from bridge.sources.amqp.consumer_check import ConsumerCheck
from bridge.sources.amqp.session import AmqpSession, describe_end
from bridge.sources.amqp.transport import FastTransport, LibraryTransport, TransportFactory
from bridge.sources.contract import SinkWatch

log = logger()
_CLOSE_S: Final = 2.0


class AmqpSource:
    """One consumer of one queue, which does not begin to consume while `sink` is not available."""

    redelivers = True
    read: Callable[[Any], Details] | None = None

    def __init__(
        self, name: str, config: Amqp, sink: SinkWatch | None = None, *, probe: ConsumerCheck | None = None
    ) -> None:
        self.name = name
        self._config = config
        self._sink = sink
        self._probe = probe or ConsumerCheck(config.queue)
        self._throttle = LogThrottle()

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[AmqpSession]:
        """Connect, declare what is to be declared, and consume."""
        config = self._config
        loop = asyncio.get_running_loop()
        link = FastTransport(self.name, loop) if config.fast_path else LibraryTransport(loop)
        session = AmqpSession(self.name, config, link, self._say_waiting)
        connection = aio_pika.Connection(
            self._url(), ssl_context=tls.context(config.tls) if config.url.startswith("amqps") else None
        )
        transport = TransportFactory(link, config.tls.server_name if config.tls else None)
        connection.kwargs["transport_factory"] = transport
        try:
            try:
                async with asyncio.timeout(config.connect_timeout / 1000):
                    await connection.connect()
                # Connected, so that what is wrong with that is said at once; only consuming has to wait.
                await self._wait_for_sink()
                async with asyncio.timeout(config.connect_timeout / 1000):
                    await session.start(connection, linked=transport.used)
            except Exception as error:  # noqa: BLE001 - aiormq raises anything, a bare Exception among it
                raise Disconnected(_refusal(error, config)) from None
            probing = asyncio.create_task(session.look_after(self._probe), name=f"source:{self.name}:probe")
            try:
                yield session
            finally:
                probing.cancel()
        finally:
            session.release()
            with contextlib.suppress(Exception):
                await asyncio.wait_for(connection.close(), _CLOSE_S)

    async def _wait_for_sink(self) -> None:
        # What is delivered now could not be settled. Each time that it is lost (RabbitMQ closes the channel of what is
        # unsettled for 30 min) all of it is delivered again, and a quorum queue drops what came too often.
        if self._sink is None or self._sink.available:
            return
        self._say_waiting("the sink takes no writes")
        await self._sink.wait()

    def _say_waiting(self, cause: str) -> None:
        suppressed = self._throttle.allow(cause)
        if suppressed is not None:
            log.warning("source.waiting", source=self.name, cause=cause, repeated=suppressed)

    def _url(self) -> URL:
        config = self._config
        # aiormq gives up after 3 x (heartbeat + 1) s without a frame, and looks every half heartbeat: with 9 s for 10
        # that is after 34 s at most.
        heartbeat = max(1, config.heartbeat // 1000 - 1)
        url = make_url(config.url, heartbeat=heartbeat, name=f"dramatiq-bridge {self.name}")
        if config.username is not None:
            url = url.with_user(config.username)
        if config.password is not None:
            url = url.with_password(config.password.get_secret_value())
        return url


def _refusal(error: BaseException, config: Amqp) -> str:
    """Say why connecting, declaring or consuming failed."""
    if isinstance(error, ChannelNotFoundEntity) and config.declare is None:
        return f"queue {config.queue!r} does not exist: declare it at the broker, or add `declare:` to the source"
    if isinstance(error, ChannelPreconditionFailed):
        exchange = f"exchange {config.declare.exchange!r}" if config.declare else ""
        # RabbitMQ names what differs: the argument, and whose it is.
        what = exchange if exchange and f"for {exchange}" in str(error) else f"queue {config.queue!r}"
        return f"{what} exists with other settings: {error}"
    return describe_end(error)
