"""Asks Dramatiq's Redis until it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from redis.exceptions import ResponseError

from bridge.backoff import Backoff
from bridge.config import Dramatiq
from bridge.errors import Disconnected, describe_error
from bridge.redis_io.connection import RedisConnection, Word


async def ask(dramatiq: Dramatiq, commands: Sequence[Sequence[Word]]) -> list[Any]:
    """Return the replies to `commands`, on a connection of its own.

    Raises:
        Disconnected: Redis is away, or does not answer in time.
        ResponseError: it refuses a command.
    """
    connection = RedisConnection(dramatiq, timeout_s=dramatiq.timeout / 1000)
    try:
        await connection.open()
        return [await connection.command(*command) for command in commands]
    finally:
        await connection.close()


async def ask_until_answered(
    dramatiq: Dramatiq, commands: Sequence[Sequence[Word]], on_failure: Callable[[str, float], None]
) -> list[Any]:
    """Return the replies, as `ask` does; while Redis is away, or refuses a command, ask again with a backoff.

    It is at most 5 s also in an outage that lasts, because sources wait for the answer before they receive.
    `on_failure` gets the cause of each failed attempt, and in how many seconds the next one follows.
    """
    backoff = Backoff(first_s=0.5, max_s=5.0)
    while True:
        try:
            return await ask(dramatiq, commands)
        except (Disconnected, ResponseError) as error:
            cause = describe_error(error)
        wait = backoff.next()
        on_failure(cause, wait)
        await asyncio.sleep(wait)
