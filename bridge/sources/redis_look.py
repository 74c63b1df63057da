"""What the looks at both sources of Redis have in common."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bridge.config import Connection
from bridge.errors import Disconnected
from bridge.model.findings import Findings
from bridge.redis_io import rights
from bridge.redis_io.connection import NEEDS_PASSWORD, RedisConnection
from bridge.redis_io.servers import apart, disconnected, info_fields, not_redis, outdated_redis, server_name


@asynccontextmanager
async def looking(config: Connection, found: Findings) -> AsyncIterator[tuple[RedisConnection, str]]:
    """Connect, and yield the connection and the server's mode, such as "cluster".

    Raises:
        Disconnected: the server can't be reached, or refuses, or the connection has ended.
    """
    connection = RedisConnection(config, timeout_s=config.connect_timeout / 1000)
    try:
        await connection.open()
        mode = await _look_at_server(connection, found)
        yield connection, mode
    except Disconnected as error:
        raise disconnected(error.cause) from None
    finally:
        await connection.close()


def say_rights(missing: rights.MissingRights, lesser: rights.MissingRights, lost: str, found: Findings) -> None:
    """Say the commands that the source needs and has not, and those that it goes on without, at the cost of `lost`."""
    for command in missing.unknown:
        found.problem(*apart(f"unknown command '{command}'"))
    if missing.any:
        found.problem(missing.text, missing.line, "username")
    if lesser.any or lesser.unknown:
        known = lesser.text if lesser.any else f"this server does not know {', '.join(lesser.unknown)}"
        found.note(f"{known}: {lost}", lesser.line if lesser.any else "", "username")


async def _look_at_server(connection: RedisConnection, found: Findings) -> str:
    info = await rights.answer(connection, "INFO", "server")
    if isinstance(info, bytes):
        text = info.decode("utf-8", "backslashreplace")
        mode = info_fields(text).get("redis_mode", "standalone")
        found.ok(f"connected: {server_name(text)}{'' if mode == 'standalone' else f' ({mode})'}")
        if cause := outdated_redis(text):
            found.note(cause, "", "url")
        return mode
    if not isinstance(info, Exception):
        raise Disconnected(not_redis(info))
    if str(info).startswith(NEEDS_PASSWORD):
        raise Disconnected(str(info))
    found.ok("connected")
    found.unseen(f"the version of this server: {info}")
    return ""
