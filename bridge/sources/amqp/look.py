"""Looks at what a stream holds, by consuming it on a channel of its own: AMQP has no question for its offsets.

Nothing changes by that: a stream keeps no record of its consumers. Of each event only the offset comes so far as here (see
`frames.for_a_look`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from aiormq.abc import DeliveredMessage
from aiormq.exceptions import AMQPChannelError

from bridge.model.server_versions import is_older
from bridge.sources.amqp.library import shown
from bridge.sources.amqp.offsets import OFFSET_HEADER

#: How long the first event may take; where the stream has one, it comes within milliseconds.
_ANSWER_TIMEOUT_S: Final = 3.0
#: The same of a stream that is empty by the broker's own count, which may be seconds old (RabbitMQ 3.10, observed).
_EMPTY_TIMEOUT_S: Final = 1.0
#: The end of a stream is where nothing more has come for so long.
_QUIET_S: Final = 0.5
#: How long the end is looked for at most, once an event has come.
_SEARCH_S: Final = 2.0
_PREFETCH: Final = 100
_STREAMS_SINCE: Final = (3, 9)
_CLOSE_TIMEOUT_S: Final = 2.0


async def look(connection: Any, queue: str, at: str | int, **arguments: Any) -> int | None:
    """Return the offset of the first event from `at` on: "first", or an offset; None if none comes within 3 s.

    Raises:
        Exception: whatever the AMQP library raises.
    """
    async with _consuming(connection, queue, {"x-stream-offset": at, **arguments}, prefetch=1) as (_, arrived):
        with contextlib.suppress(TimeoutError):
            return _offset(await asyncio.wait_for(arrived.get(), _ANSWER_TIMEOUT_S))
    return None


async def is_stream(connection: Any, queue: str) -> bool:
    """Return whether the queue takes a consumer at an offset: RabbitMQ's other queues refuse it, since there are streams.

    Raises:
        Exception: whatever the AMQP library raises.
    """
    properties = connection.server_properties
    product, version = shown(properties.get("product")), shown(properties.get("version"))
    if product != "RabbitMQ" or is_older(version, _STREAMS_SINCE):
        return False
    try:
        async with _consuming(connection, queue, {"x-stream-offset": "next"}, prefetch=1):
            return True
    except AMQPChannelError:
        return False


async def find_end(connection: Any, queue: str, within_s: float = _SEARCH_S) -> int | None:
    """Return the offset behind the last event, 0 for an empty stream; None if the broker counts events, and shows none.

    A stream in use has no end: then it is the offset that is reached `within_s` seconds after the first event has come.

    Raises:
        Exception: whatever the AMQP library raises.
    """
    loop = asyncio.get_running_loop()
    async with _consuming(connection, queue, {"x-stream-offset": "last"}, prefetch=_PREFETCH) as (channel, arrived):
        counted = (await channel.queue_declare(queue, passive=True)).message_count
        try:
            message = await asyncio.wait_for(arrived.get(), _ANSWER_TIMEOUT_S if counted else _EMPTY_TIMEOUT_S)
        except TimeoutError:
            return None if counted or channel.is_closed else 0
        until = loop.time() + min(within_s, _SEARCH_S)
        while True:
            end = _offset(message) + 1
            await channel.basic_ack(message.delivery_tag or 0, multiple=True, wait=False)
            try:
                message = await asyncio.wait_for(arrived.get(), min(_QUIET_S, until - loop.time()))
            except TimeoutError:
                return None if channel.is_closed else end


@asynccontextmanager
async def _consuming(
    connection: Any, queue: str, arguments: dict[str, Any], *, prefetch: int
) -> AsyncIterator[tuple[Any, asyncio.Queue[DeliveredMessage]]]:
    """Consume `queue` on a channel of its own; leaving the context closes the channel."""
    arrived: asyncio.Queue[DeliveredMessage] = asyncio.Queue()
    channel = await connection.channel(publisher_confirms=False)
    try:
        await channel.basic_qos(prefetch_count=prefetch)
        await channel.basic_consume(queue, arrived.put, arguments=arguments)
        yield channel, arrived
    finally:
        with contextlib.suppress(Exception):
            await asyncio.wait_for(channel.close(), _CLOSE_TIMEOUT_S)


def _offset(message: DeliveredMessage) -> int:
    return int((message.header.properties.headers or {})[OFFSET_HEADER])  # type: ignore[arg-type]
