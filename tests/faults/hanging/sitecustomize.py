"""What a wait that nobody bounded does to the bridge: settling never returns; on the PYTHONPATH of such a bridge."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from bridge.model.event import Event
from bridge.sources.redis_stream.session import RedisStreamSession


async def _hang(_self: RedisStreamSession, _events: Sequence[Event]) -> None:
    await asyncio.Event().wait()


RedisStreamSession.acknowledge = _hang  # type: ignore[assignment, method-assign]
