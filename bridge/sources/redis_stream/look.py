"""Looks at the streams and the group of a source: makes no group, and no consumer, and reads no entry.

Each command names a group that there is not, or an id that is none: Redis asks for the rights first, and then refuses it.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Final

from redis.exceptions import ResponseError

from bridge.config import Connection, Dramatiq, RedisStream
from bridge.errors import Disconnected
from bridge.model.findings import Findings, counted
from bridge.redis_io import rights
from bridge.redis_io.client import user_of
from bridge.redis_io.connection import RedisConnection, Word
from bridge.redis_io.servers import apart, not_redis
from bridge.sources.redis_look import looking, say_rights

#: How the refusals begin of a command that is permitted: there is no such group, no such stream, or no such id.
_EXPECTED: Final = ("NOGROUP", "The XGROUP subcommand requires the key to exist", "Invalid stream ID", "no such key")
_LOST: Final = "entries that are trimmed unread, or that are pending at a consumer which is gone, may go unnoticed"
_LOST_IN_SINK: Final = (
    "the write can't tell a group that was lost from an event that comes late, and remembers each of these"
)
_STARTS: Final = {"beginning": "the first entry", "new": "the next entry"}


async def look_at_streams(config: RedisStream, dramatiq: Dramatiq, found: Findings, *, in_sink: bool) -> None:
    """Look whether each stream is one, how its group stands, and whether the user may read and acknowledge."""
    async with looking(config, found) as (connection, _):
        needed, lesser = rights.MissingRights(config), rights.MissingRights(config)
        for index, stream in enumerate(config.streams):
            await _look_at_stream(connection, config, index, found)
            commands = dict(_reading(stream))
            if not in_sink:
                commands["xack"] = _xack(stream)
            await _try(connection, stream, commands, needed, found)
            await _try(connection, stream, _inspecting(stream), lesser, found)
        needed.take_keys(lesser)
        say_rights(needed, lesser, _LOST, found)
    if in_sink:
        await _look_at_sink(config, dramatiq, found)


def _reading(stream: str) -> Mapping[str, list[Word]]:
    nobody = f"dramatiq-bridge-check-{secrets.token_hex(8)}"
    return {
        "xreadgroup": ["XREADGROUP", "GROUP", nobody, nobody, "COUNT", 1, "STREAMS", stream, ">"],
        "xgroup": ["XGROUP", "CREATE", stream, nobody, "none"],
    }


def _inspecting(stream: str) -> Mapping[str, list[Word]]:
    nobody = f"dramatiq-bridge-check-{secrets.token_hex(8)}"
    return {
        "xautoclaim": ["XAUTOCLAIM", stream, nobody, nobody, 3_600_000, "0-0", "COUNT", 1],
        "xinfo": ["XINFO", "STREAM", stream],
        "exists": ["EXISTS", stream],
        "xrange": ["XRANGE", stream, "0-0", "0-0", "COUNT", 1],
        "eval": ["EVAL", "return 0", 1, stream],
    }


def _xack(stream: str) -> list[Word]:
    """Return the XACK of an entry that there cannot be, in a group that there is not."""
    return ["XACK", stream, f"dramatiq-bridge-check-{secrets.token_hex(8)}", "0-0"]


async def _try(
    connection: RedisConnection,
    stream: str,
    commands: Mapping[str, list[Word]],
    missing: rights.MissingRights,
    found: Findings,
) -> None:
    for name, words in commands.items():
        refused = rights.refusal(await rights.answer(connection, *words))
        if not refused or refused.startswith((*_EXPECTED, "WRONGTYPE")):
            continue
        if not missing.note(name, refused, pattern=rights.literal(stream)):
            found.problem(*apart(refused))
            return


async def _look_at_stream(connection: RedisConnection, config: RedisStream, index: int, found: Findings) -> None:
    stream = config.streams[index]
    reply = await rights.answer(connection, "XINFO", "GROUPS", stream)
    refused = str(reply) if isinstance(reply, ResponseError) else ""
    begins = f"`run` makes it, and it begins at {_STARTS.get(str(config.start), f'entry {config.start}')}"
    if refused.startswith("WRONGTYPE"):
        found.problem(f"key {stream!r} holds no stream", "delete it, or write the key of the stream", "streams", index)
    elif "no such key" in refused:
        found.ok(f"stream {stream} is not there yet: {begins}")
    elif refused:
        found.unseen(f"the group of stream {stream}: {refused}")
    elif not isinstance(reply, list) or not all(isinstance(each, list) for each in reply):
        raise Disconnected(not_redis(reply))
    else:
        fields = next((each for each in map(_fields, reply) if each.get("name") == config.group), None)
        found.ok(f"stream {stream}: {_describe(config.group, fields, begins)}")


def _fields(flat: Any) -> dict[str, Any]:
    names = (name.decode("utf-8", "backslashreplace") for name in flat[::2])
    fields = dict(zip(names, flat[1::2], strict=True))
    return {**fields, "name": fields.get("name", b"").decode("utf-8", "backslashreplace")}


def _describe(group: str, fields: Mapping[str, Any] | None, begins: str) -> str:
    if fields is None:
        return f"group {group} is not there yet: {begins}"
    unread = "" if fields.get("lag") is None else f", {counted(fields['lag'], 'entry', 'entries')} unread"
    return f"group {group} has {counted(fields.get('consumers'), 'consumer')}{unread}, {fields.get('pending')} pending"


async def _look_at_sink(config: RedisStream, dramatiq: Dramatiq, found: Findings) -> None:
    """Look whether the user of the sink may do its part: it acknowledges within the write, and makes the group."""
    other: Connection = dramatiq
    if user_of(other) == user_of(config):
        connection_of: Connection = config
    else:
        connection_of = other
    missing, lesser = rights.MissingRights(connection_of), rights.MissingRights(connection_of)
    quiet = Findings()
    async with looking(connection_of, quiet) as (connection, _):
        for stream in config.streams:
            nobody = f"dramatiq-bridge-check-{secrets.token_hex(8)}"
            commands: dict[str, list[Word]] = {"xack": _xack(stream)}
            if connection_of is other:
                commands["xgroup"] = ["XGROUP", "CREATE", stream, nobody, "none"]
            await _try(connection, stream, commands, missing, found)
            await _try(connection, stream, {"xpending": ["XPENDING", stream, nobody]}, lesser, found)
    missing.take_keys(lesser)
    if missing.any:
        found.problem(f"{missing.text}: the write itself acknowledges the entries", missing.line, "username")
    if lesser.any:
        found.note(f"{lesser.text}: {_LOST_IN_SINK}", lesser.line, "username")
