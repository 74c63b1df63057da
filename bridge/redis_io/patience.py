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


async def ask_until_answered(
    dramatiq: Dramatiq, commands: Sequence[Sequence[Word]], on_failure: Callable[[str, float], None]
) -> list[Any]:
    """Return the replies to `commands`, on a connection of its own.

    While Redis is away, or refuses one of them, ask again with a backoff of at most 30 s; `on_failure` gets the cause of
    each failed attempt, and in how many seconds the next one follows.
    """
    backoff = Backoff(first_s=0.5, max_s=30.0)
    while True:
        connection = RedisConnection(dramatiq, timeout_s=dramatiq.timeout / 1000)
        try:
            await connection.open()
            return [await connection.command(*command) for command in commands]
        except (Disconnected, ResponseError) as error:
            cause = describe_error(error)
        finally:
            await connection.close()
        wait = backoff.next()
        on_failure(cause, wait)
        await asyncio.sleep(wait)
