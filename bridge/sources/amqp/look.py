"""Looks at what a stream holds, by consuming it on a channel of its own: AMQP has no question for its offsets.

Nothing changes by that: a stream keeps no record of its consumers. One event, or a few, are on the way at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from aiormq.abc import DeliveredMessage

from bridge.sources.amqp.offsets import OFFSET_HEADER

#: How long the first event may take; where the stream has one, it comes within milliseconds.
_ANSWER_TIMEOUT_S: Final = 3.0
#: The end of a stream is where nothing more has come for so long.
_QUIET_S: Final = 0.5
#: In events of any size: with more of them, the last chunk of the stream is read sooner.
_PREFETCH: Final = 8
_CLOSE_TIMEOUT_S: Final = 2.0


async def look(connection: Any, queue: str, at: str | int, **arguments: Any) -> int | None:
    """Return the offset of the first event from `at` on: "first", or an offset; None if none comes within 3 s.

    Raises:
        Exception: whatever the AMQP library raises.
    """
    async with _consuming(connection, queue, {"x-stream-offset": at, **arguments}, prefetch=1) as arrived:
        with contextlib.suppress(TimeoutError):
            return _offset(await asyncio.wait_for(arrived.get(), _ANSWER_TIMEOUT_S))
    return None


async def find_end(connection: Any, queue: str) -> int:
    """Return the offset behind the last event, 0 for an empty stream.

    Raises:
        Exception: whatever the AMQP library raises.
    """
    end, wait_s = 0, _ANSWER_TIMEOUT_S
    async with _consuming(connection, queue, {"x-stream-offset": "last"}, prefetch=_PREFETCH) as arrived:
        with contextlib.suppress(TimeoutError):
            while True:
                message = await asyncio.wait_for(arrived.get(), wait_s)
                end, wait_s = _offset(message) + 1, _QUIET_S
                await message.channel.basic_ack(message.delivery_tag or 0, multiple=True, wait=False)
    return end


@asynccontextmanager
async def _consuming(
    connection: Any, queue: str, arguments: dict[str, Any], *, prefetch: int
) -> AsyncIterator[asyncio.Queue[DeliveredMessage]]:
    """Consume `queue` on a channel of its own; leaving the context closes the channel."""
    arrived: asyncio.Queue[DeliveredMessage] = asyncio.Queue()
    channel = await connection.channel(publisher_confirms=False)
    try:
        await channel.basic_qos(prefetch_count=prefetch)
        await channel.basic_consume(queue, arrived.put, arguments=arguments)
        yield arrived
    finally:
        with contextlib.suppress(Exception):
            await asyncio.wait_for(channel.close(), _CLOSE_TIMEOUT_S)


def _offset(message: DeliveredMessage) -> int:
    return int((message.header.properties.headers or {})[OFFSET_HEADER])  # type: ignore[arg-type]
