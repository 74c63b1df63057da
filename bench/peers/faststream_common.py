"""Common parts of the FastStream peers: the write to Redis, and the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import redis.asyncio
import uvloop

from bench.load import MESSAGES_KEY, QUEUE_KEY


async def write(client: redis.asyncio.Redis, encoded: dict[Any, bytes]) -> None:
    """Write the messages in one transaction; do nothing without messages."""
    if encoded:
        async with client.pipeline(transaction=True) as pipeline:
            pipeline.hset(MESSAGES_KEY, mapping=encoded)
            pipeline.rpush(QUEUE_KEY, *encoded)
            await pipeline.execute()


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run `main` on uvloop until the process is killed."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)
