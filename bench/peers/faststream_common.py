"""What the FastStream peers do alike: how they write, and how they run."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import redis.asyncio
import uvloop

from bench.load import MESSAGES_KEY, QUEUE_KEY


async def write(client: redis.asyncio.Redis, encoded: dict[Any, bytes]) -> None:
    """Write messages, if there are any, in one transaction."""
    if encoded:
        async with client.pipeline(transaction=True) as pipeline:
            pipeline.hset(MESSAGES_KEY, mapping=encoded)
            pipeline.rpush(QUEUE_KEY, *encoded)
            await pipeline.execute()


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run on uvloop until killed."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)
