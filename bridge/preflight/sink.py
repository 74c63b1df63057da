"""Looks at the Redis that messages are written to, by the code that `run` uses, and writes nothing."""

from __future__ import annotations

import time
from typing import Final

from redis.exceptions import ResponseError

from bridge.config import Config
from bridge.config.units import spell_duration
from bridge.delivery import sink_promise
from bridge.errors import SinkUnavailable
from bridge.model.findings import Findings
from bridge.redis_io import rights
from bridge.redis_io.connection import plain_error
from bridge.redis_io.keys import dead_letter_books_key, dead_letters_key
from bridge.redis_io.servers import WRONG_KEY, apart, disconnected, info_fields, outdated_redis, server_name
from bridge.sink.connection_pool import no_redis
from bridge.sink.memory import Evicts
from bridge.sink.redis_sink import RedisSink

_UNKNOWN: Final = "the version, the memory, maxmemory-policy and appendonly"
#: A clock that differs by more than this from Redis's.
_MAX_CLOCK_S: Final = 5.0
#: Takes a write only where the key is, which is the probe's own: there is none, unless a bridge starts within this millisecond.
#: Returns the error that it meets as text, so that the error of EVAL itself is another one.
_WRITE: Final = """
local reply = redis.pcall('SET', KEYS[1], 'x', 'XX', 'PX', 1)
return type(reply) == 'table' and reply.err and 'refused ' .. tostring(reply.err) or 'taken'
"""
_REFUSED: Final = b"refused "


async def look_at_sink(config: Config, found: Findings) -> None:
    """Look whether this Redis takes the batches of the bridge.

    Raises:
        Disconnected: it can't be reached, or refuses the connection.
    """
    dramatiq = config.dramatiq
    sink = RedisSink(dramatiq, config.dead_letters)
    try:
        await _look_at_server(sink, config, found)
        if await _look_at_writing(sink, config, found):
            await _look_at_types(sink, config, found)
            await _look_at_rights(sink, config, found)
            await _look_at_clock(sink, found)
            await _look_at_queues(sink, config, found)
    except SinkUnavailable as error:
        raise disconnected(error.cause) from None
    finally:
        await sink.close()


async def _look_at_server(sink: RedisSink, config: Config, found: Findings) -> None:
    try:
        server = await sink.info("server")
    except PermissionError:
        found.ok("connected")
        found.unseen(f"{_UNKNOWN}: the user may not run INFO, or the server has none")
        return
    mode = info_fields(server).get("redis_mode", "standalone")
    found.ok(f"connected: {server_name(server)}{'' if mode == 'standalone' else f' ({mode})'}")
    if cause := outdated_redis(server):
        found.note(cause, "", "url")
    if mode != "sentinel":  # which says so when it is asked to write
        await _look_at_memory(sink, config, found)


async def _look_at_memory(sink: RedisSink, config: Config, found: Findings) -> None:
    try:
        memory = await sink.memory()
        is_durable = await sink.is_durable()
    except PermissionError as error:
        found.unseen(f"{_UNKNOWN}: {error}")
        return
    policy, max_size = memory.policy, config.dead_letters.max_size
    evicts = sink_promise.EVICTS_MESSAGES.format(policy=policy)
    if memory.evicts is Evicts.MESSAGES and not config.dramatiq.allow_eviction:
        remedy = sink_promise.NOT_ALLOWED.removeprefix(": ")
        found.problem(evicts, remedy, "url")
    elif memory.evicts is Evicts.MESSAGES:
        found.note(evicts, "", "allow_eviction")
    elif memory.evicts is Evicts.OWN_KEYS:
        found.note(f"{sink_promise.EVICTS_OWN_KEYS} (maxmemory-policy {policy})", "", "url")
    if not is_durable:
        found.note(sink_promise.NOT_DURABLE, "", "url")
    effective = memory.dead_letter_bytes(max_size)
    if effective < max_size:
        found.note(f"dead letters get {effective} of {max_size} bytes: {sink_promise.LITTLE_ROOM}", "", "url")
    share = config.dramatiq.max_memory
    if share is not None and memory.limit and memory.used >= (bound := memory.limit * share // 100):
        found.note(f"Redis uses {memory.used} of {bound} bytes (max_memory): every source waits", "", "url")


async def _look_at_writing(sink: RedisSink, config: Config, found: Findings) -> bool:
    """Look whether the server takes a write from a script; return whether to ask it for more."""
    namespace = config.dramatiq.namespace
    keys = [f"{namespace}-bridge:probe", dead_letters_key(namespace)]
    keys += [f"{namespace}:{queue}" for queue in _queues(config)]
    reply = await sink.ask("EVAL", _WRITE, len(keys), *keys)
    if reply == b"taken":
        return True
    if isinstance(reply, bytes) and reply.startswith(_REFUSED):
        refused = plain_error(reply.removeprefix(_REFUSED).decode("utf-8", "backslashreplace"))
    elif isinstance(reply, ResponseError):
        refused = plain_error(str(reply))
    else:
        raise no_redis(reply)
    if rights.is_denial(refused):
        return True  # it is said with all others
    found.problem(*apart(refused))
    return not refused.startswith(("LOADING", "BUSY", "MASTERDOWN", "unknown command"))


async def _look_at_types(sink: RedisSink, config: Config, found: Findings) -> None:
    """Look whether each key that a batch writes holds what it should, or nothing."""
    namespace = config.dramatiq.namespace
    waits = "every write with a dead letter waits"
    kinds = [(dead_letters_key(namespace), "stream", "every write waits")]
    kinds.append((dead_letter_books_key(namespace), "hash", waits))
    for queue in _queues(config):
        refused = "its events become dead letters"
        kinds += [(f"{namespace}:{queue}", "list", refused), (f"{namespace}:{queue}.msgs", "hash", refused)]
    for key, kind, so in kinds:
        reply = await sink.ask("TYPE", key)
        if not isinstance(reply, bytes):
            return  # it may not ask: that is among the rights
        if (actual := reply.decode("utf-8", "backslashreplace")) not in ("none", kind):
            found.problem(f"key {key} holds a {actual}, not a {kind}: {so}", WRONG_KEY, "namespace")


async def _look_at_rights(sink: RedisSink, config: Config, found: Findings) -> None:
    try:
        denials = await sink.missing_rights(_queues(config), counts_queues=config.admin is not None)
    except PermissionError:
        found.unseen(
            "whether every command of the scripts is permitted: this server, as a Redis before 7.0, tells it by writes alone"
        )
        return
    for denial in denials:
        say = found.problem if denial.is_needed else found.note
        if denial.line:
            say(denial.text, denial.line, "username")
        else:
            say(*apart(denial.text))
    if not any(denial.is_needed for denial in denials):
        found.ok("the user may run every command that a batch needs")


async def _look_at_clock(sink: RedisSink, found: Findings) -> None:
    before = time.time()
    reply = await sink.ask("TIME")
    if not isinstance(reply, list):
        return
    between = (before + time.time()) / 2
    behind = between - (int(reply[0]) + int(reply[1]) / 1e6)
    if abs(behind) > _MAX_CLOCK_S:
        how = "behind" if behind > 0 else "ahead of"
        text = f"Redis's clock is {spell_duration(round(abs(behind)) * 1000)} {how} this machine's"
        found.note(f"{text}: messages with a delay become due by the clocks of the workers", "set both by NTP", "url")


async def _look_at_queues(sink: RedisSink, config: Config, found: Findings) -> None:
    limits = config.dramatiq.max_queue_depth or {}
    for queue in _queues(config) if limits else ():
        limit = limits.get(queue, limits.get("*"))
        try:
            depth = await sink.queue_length(queue) if limit is not None else 0
        except SinkUnavailable:
            return  # said above, with its remedy
        if limit is not None and depth >= limit:
            key = queue if queue in limits and queue != "*" else ""
            text = f"queue {queue} has {depth} of {limit} messages (max_queue_depth): its sources wait for the workers"
            found.note(text, "", "max_queue_depth", *filter(None, [key]))


def _queues(config: Config) -> list[str]:
    return sorted({queue for route in config.routes for queue in route.queues})
