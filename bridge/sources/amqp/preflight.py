"""Looks at the broker, the queue and the exchange of a source before the start: consumes nothing, and declares nothing new.

A passive declare says whether a queue is there, and needs no permission. A declare as the file has it changes nothing once the
queue is there, and says whether it has these settings. RabbitMQ looks at the permission to read, then at the arguments of a
consumer, and makes one last: so a consumer with a priority that is text shows the permission, and there is never one. A queue
that is no stream refuses an offset as well, and names its type (3.10 and 4.0, observed, of classic queues, quorum queues and
streams; the second since 3.9).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import aio_pika
from aiormq.exceptions import (
    ChannelAccessRefused,
    ChannelLockedResource,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
)

from bridge.config import Amqp, Declare
from bridge.connecting.attempt import Attempt
from bridge.errors import Disconnected
from bridge.model.findings import Findings, counted
from bridge.model.server_versions import is_older
from bridge.observe.log_fields import cut
from bridge.sources.amqp.consumer_check import says_gone
from bridge.sources.amqp.library import lift_limits, shown
from bridge.sources.amqp.opening import broker_url, describe_failure, describe_refusal, server
from bridge.sources.amqp.promise import STREAM_GUARANTEE, server_limits, stream_remedy
from bridge.sources.amqp.remedies import login_remedy, permission
from bridge.sources.amqp.session import describe_end
from bridge.sources.amqp.stream import no_stream
from bridge.sources.amqp.transport import LibraryTransport, TransportFactory
from bridge.sources.oversized import ROOM_BYTES

_CLOSE_TIMEOUT_S: Final = 1.0
_NO_PRIORITY: Final = {"x-priority": "none"}
_AN_OFFSET: Final = {"x-stream-offset": "next"}
_OFFSETS_SINCE: Final = (3, 9)
_TYPE: Final = re.compile(r"of queue type rabbit_(\w+?)(_queue)?$")
_STREAM: Final = "stream"
#: An argument of a queue that counts from its last use, which a declare is.
_EXPIRES: Final = "x-expires"
_UNSEEN_QUEUE: Final = (
    "the policies of the queue, and without `declare` its arguments: AMQP shows nobody its delivery limit, TTL, maximum length,"
    " dead-letter exchange, single active consumer, the consumer_timeout of the broker, and a consumer that excludes all others"
)


async def look_at_queue(name: str, config: Amqp, found: Findings) -> None:
    """Look at the broker, then at the queue and the exchange of the source `name`.

    Raises:
        Disconnected: the broker can't be reached, or refuses the login, or the connection has ended.
    """
    async with _connected(name, config) as connection:
        await _Look(connection, config, found).run()


@asynccontextmanager
async def _connected(name: str, config: Amqp) -> AsyncIterator[Any]:
    """Connect as a run does, and yield the library's connection.

    Raises:
        Disconnected: see `look_at_queue`.
    """
    lift_limits()
    transport = LibraryTransport(asyncio.get_running_loop(), config.max_body + ROOM_BYTES)
    attempt, url = Attempt(config.connect_timeout / 1000), broker_url(config, f"dramatiq-bridge {name} (check)")
    connection = aio_pika.Connection(url)
    is_connected = False
    factory: TransportFactory | None = None
    try:
        factory = TransportFactory(transport, attempt, server(config, url))
        connection.kwargs["transport_factory"] = factory
        async with attempt:
            await connection.connect()
        is_connected = True
        assert connection.transport is not None  # noqa: S101 - it is connected
        yield connection.transport.connection
    except Disconnected:  # a file of `tls`
        raise
    except Exception as error:  # noqa: BLE001 - aiormq raises anything, a bare Exception among it
        cause = transport.close_reason or describe_failure(error, config.url, connected=is_connected)
        remedy, key = login_remedy(cause, config, url.user or "guest")
        raise Disconnected(cause, remedy=remedy, key=key) from None
    finally:
        with contextlib.suppress(Exception):
            await asyncio.wait_for(connection.close(), _CLOSE_TIMEOUT_S)
        if factory is not None:
            factory.abort()


class _Look:
    def __init__(self, connection: Any, config: Amqp, found: Findings) -> None:
        self._connection = connection
        self._config = config
        self._found = found
        properties = connection.server_properties
        self._product = shown(properties.get("product"))
        self._user = broker_url(config, "").user or "guest"

    async def run(self) -> None:
        found, properties = self._found, self._connection.server_properties
        found.ok(f"connected: {cut(self._product)} {cut(shown(properties.get('version')))}")
        for _, cause in server_limits(
            self._config, properties, checked=self._connection.connection_tune.channel_max != 1
        ):
            found.note(cause, "", "url")
        queue = await self._look_for_queue()
        if queue is not None and self._product == "RabbitMQ":
            await self._look_at_reading(queue)
        elif queue is not None:
            found.unseen("whether the user may read the queue: only RabbitMQ says so without a consumer")
        declare = self._config.declare
        if declare is not None:
            await self._look_at_declare(declare, is_there=bool(queue))
        found.unseen(_UNSEEN_QUEUE)

    async def _look_for_queue(self) -> str | None:
        """Return the queue's name by the broker's spelling, "" where `declare` is to make it; None where it can't be used."""
        config = self._config
        try:
            async with self._channel() as channel:
                queue = await channel.queue_declare(config.queue, passive=True)
        except ChannelNotFoundEntity as error:
            if config.declare is not None and says_gone(error, config.queue):
                self._found.ok(f"queue {config.queue} is not there yet: `run` declares it")
                return ""
            self._found.problem(describe_refusal(error, config) or describe_end(error), "", "queue")
        except (ChannelLockedResource, ChannelAccessRefused) as error:
            self._found.problem(f"queue {config.queue!r}: {describe_end(error)}", "", "queue")
        else:
            self._found.ok(
                f"queue {config.queue}: {counted(queue.message_count, 'message')} waiting,"
                f" {counted(queue.consumer_count, 'consumer')} reading"
            )
            return str(queue.queue)
        return None

    async def _look_at_reading(self, queue: str) -> None:
        """Look whether the user may read, and whether the queue is a stream."""
        config, found = self._config, self._found
        try:
            async with self._channel() as channel:
                await channel.basic_qos(prefetch_count=1)
                await channel.basic_consume(queue or config.queue, _ignore, arguments=_NO_PRIORITY)
        except ChannelAccessRefused as error:
            text = f"the user {self._user} may not read queue {config.queue!r}: {describe_end(error)}"
            found.problem(text, permission(config, self._user), "queue")
        except ChannelNotFoundEntity:
            found.ok("the user may read it")
        except ChannelPreconditionFailed as error:
            found.ok("the user may read it")
            self._compare_type(_type(error) or await self._type(queue))
        else:
            found.unseen("whether the user may read the queue: this broker checks no arguments of a consumer")

    async def _type(self, queue: str) -> str:
        """Return the type of a queue that is no stream, "" where the broker does not name it."""
        if is_older(shown(self._connection.server_properties.get("version")), _OFFSETS_SINCE):
            return ""  # it would ignore the offset
        try:
            async with self._channel() as channel:
                await channel.basic_consume(queue, _ignore, arguments=_AN_OFFSET)
        except ChannelPreconditionFailed as error:
            return _type(error)
        return _STREAM

    def _compare_type(self, kind: str) -> None:
        config, found = self._config, self._found
        if not kind:
            found.unseen("the type of the queue: this RabbitMQ does not name it")
        elif config.stream and kind != _STREAM:
            found.problem(no_stream(config.queue), "", "stream")
        elif kind == _STREAM and not config.is_stream:
            found.note(f"queue {config.queue!r} is a stream: {STREAM_GUARANTEE}", stream_remedy(config), "queue")
        else:
            found.ok(f"it is a {'stream' if kind == _STREAM else f'{kind} queue'}")

    async def _look_at_declare(self, declare: Declare, *, is_there: bool) -> None:
        found, config = self._found, self._config
        unseen = []
        if is_there and _EXPIRES not in declare.arguments:
            # The same declare as a run's, of a queue that is there: nothing changes.
            if await self._declares(
                "queue", config.queue, durable=declare.durable, arguments=declare.arguments or None
            ):
                found.ok("it has the settings of `declare`, and the user may declare it")
        else:
            unseen.append(f"the user may declare queue {config.queue}")
        if declare.exchange:
            if await self._has_exchange(declare.exchange):
                settings = {"exchange_type": declare.type, "durable": declare.durable}
                if await self._declares("exchange", declare.exchange, **settings):
                    found.ok(f"exchange {declare.exchange} has the settings of `declare`")
            else:
                found.ok(f"exchange {declare.exchange} is not there yet: `run` declares it")
                unseen.append(f"the user may declare exchange {declare.exchange}")
            unseen.append("the user may bind them (configure, write on the queue, read on the exchange)")
        if unseen:
            found.unseen(f"whether {', and whether '.join(unseen)}: a broker tells it only where it is done")

    async def _has_exchange(self, exchange: str) -> bool:
        try:
            async with self._channel() as channel:
                await channel.exchange_declare(exchange, passive=True)
        except ChannelNotFoundEntity:
            return False
        return True

    async def _declares(self, kind: str, name: str, **settings: Any) -> bool:
        """Declare a queue or an exchange that is there; return whether it has these settings."""
        place = ("declare", "exchange") if kind == "exchange" else ("declare",)
        try:
            async with self._channel() as channel:
                if kind == "exchange":
                    await channel.exchange_declare(name, **settings)
                else:
                    await channel.queue_declare(name, **settings)
        except ChannelPreconditionFailed as error:
            self._found.problem(describe_refusal(error, self._config), "", *place)
        except ChannelAccessRefused as error:
            text = f"the user {self._user} may not declare {kind} {name!r}: {describe_end(error)}"
            self._found.problem(text, permission(self._config, self._user), *place)
        else:
            return True
        return False

    @asynccontextmanager
    async def _channel(self) -> AsyncIterator[Any]:
        """Open a channel: a refusal ends it, and the next look has one of its own."""
        channel = await self._connection.channel(publisher_confirms=False)
        try:
            yield channel
        finally:
            if not channel.is_closed:
                with contextlib.suppress(Exception):
                    await asyncio.wait_for(channel.close(), _CLOSE_TIMEOUT_S)


def _type(error: BaseException) -> str:
    match = _TYPE.search(str(error))
    return match[1] if match is not None else ""


async def _ignore(_message: object) -> None:
    """Take a delivery that cannot come."""
