"""Looks at the server of a source of Redis pub/sub: subscribes for a moment, which takes no message from anybody."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from redis.exceptions import ResponseError

from bridge.config import RedisPubsub
from bridge.errors import Disconnected
from bridge.model.findings import Findings
from bridge.redis_io import rights
from bridge.redis_io.connection import RedisConnection, encode_command
from bridge.redis_io.servers import apart
from bridge.sources import redis_notifications
from bridge.sources.redis_look import looking, say_rights

_CONFIRMED: Final = (b"subscribe", b"psubscribe", b"unsubscribe", b"punsubscribe")
#: A channel to which the look has not subscribed.
_NOBODY: Final = "dramatiq-bridge-check"
_LOST: Final = "at a pause, a reload and a stop, events that Redis has sent already may be lost"


async def look_at_pubsub(config: RedisPubsub, found: Findings) -> None:
    """Look whether every channel and pattern may be subscribed to, and whether Redis's own events are on."""
    async with looking(config, found) as (connection, mode):
        if mode == "cluster":
            found.note("this is a Redis Cluster: what is published by SPUBLISH does not come", "use PUBLISH", "url")
        await _look_at_notifications(connection, config, found)
        missing = rights.MissingRights(config)
        names = [("SUBSCRIBE", channel) for channel in config.channels]
        names += [("PSUBSCRIBE", pattern) for pattern in config.patterns]
        ends = [("UNSUBSCRIBE", _NOBODY), ("PUNSUBSCRIBE", _NOBODY)]
        answers = await _subscribe(connection, names + ends, config.connect_timeout / 1000)
        refused, lesser = answers[: len(names)], rights.MissingRights(config)
        for (command, _), cause in zip(ends, answers[len(names) :], strict=True):
            lesser.note(command, cause)
        for (command, name), cause in zip(names, refused, strict=True):
            # A channel is permitted by a pattern that fits it; a pattern by the same pattern alone.
            pattern = rights.literal(name) if command == "SUBSCRIBE" else name
            if cause and not missing.note(command, cause, pattern=pattern):
                key = "channels" if command == "SUBSCRIBE" else "patterns"
                index = (config.channels if command == "SUBSCRIBE" else config.patterns).index(name)
                found.problem(*apart(cause)[:2], key, index)
        say_rights(missing, lesser, _LOST, found)
        granted = len(names) - sum(map(bool, refused))
        if granted == len(names):
            found.ok(f"subscribed to {granted} of {len(names)} channels and patterns")


async def _subscribe(connection: RedisConnection, names: Sequence[tuple[str, str]], within_s: float) -> list[str]:
    """Return why each of these is refused, "" where it is not; Redis answers them in order, and sends messages between."""
    for command, name in names:
        connection.send(encode_command(command, name))
    refused: list[str] = []
    try:
        async with asyncio.timeout(within_s):
            while len(refused) < len(names):
                try:
                    reply = await connection.read()
                except ResponseError as error:
                    refused.append(str(error))
                else:
                    if isinstance(reply, list) and reply[0] in _CONFIRMED:
                        refused.append("")
    except TimeoutError:
        raise Disconnected("no answer to SUBSCRIBE") from None
    return refused


async def _look_at_notifications(connection: RedisConnection, config: RedisPubsub, found: Findings) -> None:
    channels = list(redis_notifications.wanted(config))
    flags = await redis_notifications.published(connection) if channels else ""
    if flags is None:
        found.unseen("whether Redis publishes the events of its keys: the user may not ask (CONFIG GET)")
        return
    for letter, path in channels:
        cause, remedy = redis_notifications.missing(letter, flags)
        if cause:
            found.problem(cause, remedy, *path)
