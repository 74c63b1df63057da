"""The demo's publisher for RabbitMQ: each call returns once RabbitMQ has confirmed the event."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import AMQPError

from bridge.errors import BridgeError, describe_error

_TIMEOUT_S: Final = 10.0
# It warns with a traceback when a connection ends, which would stand between the demo's lines; causes are raised.
logging.getLogger("aiormq").addHandler(logging.NullHandler())


class AmqpPublisher:
    """Publishes to the queues of the RabbitMQ at `url`; use it as a context manager.

    Its event loop runs only during a call: the URL must ask for no heartbeats.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._runner = asyncio.Runner()
        self._connection: AbstractConnection | None = None
        self._channel: AbstractChannel | None = None

    def __enter__(self) -> Self:
        self._runner.run(self._connect())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        with suppress(OSError, TimeoutError, AMQPError):
            self._runner.run(self._disconnect())
        self._runner.close()

    def publish(self, queue: str, body: bytes) -> None:
        """Publish `body` to `queue`.

        Raises:
            BridgeError: RabbitMQ is not there, or does not confirm it.
        """
        self._runner.run(self._publish(queue, body))

    async def _connect(self) -> None:
        try:
            self._connection = await aio_pika.connect(self._url, timeout=_TIMEOUT_S)
            self._channel = await self._connection.channel()
        except (OSError, TimeoutError, AMQPError) as error:
            raise BridgeError(f"RabbitMQ does not take the publisher: {describe_error(error)}") from None

    async def _publish(self, queue: str, body: bytes) -> None:
        assert self._channel is not None  # noqa: S101 - it is connected
        message = aio_pika.Message(body)
        try:
            await self._channel.default_exchange.publish(message, routing_key=queue, timeout=_TIMEOUT_S)
        except (OSError, TimeoutError, RuntimeError, AMQPError) as error:
            # RuntimeError: the channel is closed.
            raise BridgeError(f"the publisher has lost RabbitMQ: {describe_error(error)}") from None

    async def _disconnect(self) -> None:
        if self._connection is not None:
            await asyncio.wait_for(self._connection.close(), _TIMEOUT_S)
