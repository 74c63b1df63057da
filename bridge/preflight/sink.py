"""Looks at the Redis that messages are written to, by the code that `run` uses, and writes nothing."""

from __future__ import annotations

import time
from typing import Final

from redis.exceptions import ResponseError

from bridge.config import Config
from bridge.config.units import spell_duration
from bridge.delivery import sink_promise
from bridge.errors import Disconnected, SinkUnavailable
from bridge.model.findings import Findings
from bridge.redis_io import rights
from bridge.redis_io.connection import RedisConnection, Word, plain_error
from bridge.redis_io.keys import dead_letters_key
from bridge.redis_io.servers import info_fields, outdated_redis, server_name, with_remedy
from bridge.sink.connection_pool import unavailable
from bridge.sink.memory import Evicts
from bridge.sink.redis_sink import COMMANDS, RedisSink

#: A clock that differs by more than this from Redis's.
_MAX_CLOCK_S: Final = 5.0
_BOOKS: Final = "dead letters that its books have not"
#: What the bridge does not know without each of these.
_OPTIONAL: Final = {
    "INFO": "the version, the memory, maxmemory-policy and appendonly",
    "TIME": "dead letters that reach `max_age` while none is written, and clocks that differ",
    "XLEN": _BOOKS,
    "MEMORY|USAGE": _BOOKS,
}
_OF_DEPTH: Final = "queues that are full (max_queue_depth)"
_OF_ADMIN: Final = "the numbers of each queue (admin)"
#: Takes a write only where the key is, which is the probe's own: there is none, unless a bridge starts within this millisecond.
#: Returns the text of the error that it meets, so that the error of EVAL itself is another one.
_WRITE: Final = """
local reply = redis.pcall('SET', KEYS[1], 'x', 'XX', 'PX', 1)
return type(reply) == 'table' and reply.err and tostring(reply.err) or ''
"""


async def look_at_sink(config: Config, found: Findings) -> None:
    """Look whether this Redis takes the batches of the bridge.

    Raises:
        Disconnected: it can't be reached, or refuses the connection.
    """
    dramatiq = config.dramatiq
    sink = RedisSink(dramatiq, config.dead_letters)
    connection = RedisConnection(dramatiq, timeout_s=dramatiq.timeout / 1000)
    try:
        await connection.open()
        await _look_at_server(sink, config, found)
        if await _takes_scripts(connection, config, found):
            await _look_at_rights(connection, config, found)
        await _look_at_queues(sink, config, found)
    except (Disconnected, SinkUnavailable) as error:
        raise Disconnected(with_remedy(error.cause)) from None
    finally:
        await connection.close()
        await sink.close()


async def _look_at_server(sink: RedisSink, config: Config, found: Findings) -> None:
    try:
        server = await sink.info("server")
    except PermissionError:
        found.ok("connected")
        found.unseen(f"{_OPTIONAL['INFO']}: the user may not run INFO, or the server has none")
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
        found.unseen(f"the memory of this server, maxmemory-policy and appendonly: {error}")
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


async def _takes_scripts(connection: RedisConnection, config: Config, found: Findings) -> bool:
    """Look whether the server runs a script of the bridge and takes a write; return whether it runs any script."""
    namespace = config.dramatiq.namespace
    keys = [f"{namespace}-bridge:probe", dead_letters_key(namespace)]
    keys += [f"{namespace}:{queue}" for queue in _queues(config)]
    reply = await rights.answer(connection, "EVAL", _WRITE, len(keys), *keys)
    missing = rights.MissingRights(config.dramatiq)
    refused = plain_error(reply.decode("utf-8", "backslashreplace") if isinstance(reply, bytes) else str(reply))
    if not refused or (isinstance(reply, bytes) and missing.note("set", refused)):
        return True
    if missing.note("eval", refused, pattern="*"):
        if missing.commands:
            text = f"{missing.text}, without which nobody can ask for its other rights: the line gives all that a batch needs"
            missing.commands += ["evalsha", *map(str.lower, COMMANDS)]
            missing.keys += _patterns(config)
            found.problem(text, missing.line, "username")
            return False
        return not missing.unknown or _say_unknown(missing, found)
    found.problem(unavailable(ResponseError(refused)).cause, "", *_place_of(refused))
    return not refused.startswith(("LOADING", "BUSY", "MASTERDOWN"))


async def _look_at_rights(connection: RedisConnection, config: Config, found: Findings) -> None:
    needed, optional = _needed(config), _optional(config)
    try:
        replies = await rights.try_in_script(connection, [*(words for *_, words in needed), *optional.values()])
    except rights.NoScript:
        found.unseen("whether every command of the scripts is permitted: a Redis before 7.0 tells it by a write alone")
        return
    missing, lesser = rights.MissingRights(config.dramatiq), rights.MissingRights(config.dramatiq)
    for (name, pattern, _), reply in zip(needed, replies, strict=False):
        missing.note(name, reply, pattern=pattern)
    missing.note("evalsha", await rights.refusal(connection, "EVALSHA", "0" * 40, 0))
    for name, reply in zip(optional, replies[len(needed) :], strict=True):
        lesser.note(name, reply, pattern=_patterns(config)[name in {"XLEN", "MEMORY|USAGE"}])
    missing.take_keys(lesser)
    _say_unknown(missing, found)
    if missing.any:
        found.problem(missing.text, missing.line, "username")
    elif not missing.unknown:
        found.ok("the user may run every command that a batch needs")
    if lesser.commands:
        lost = "; ".join(dict.fromkeys(_lost(config, name.upper()) for name in lesser.commands))
        found.note(f"{lesser.text}: the bridge does not know {lost}", lesser.line, "username")
    await _look_at_clock(connection, found)


def _needed(config: Config) -> list[tuple[str, str, list[Word]]]:
    """Return each command that a batch needs, the pattern of its key, and its words."""
    namespace = config.dramatiq.namespace
    queues, own = _patterns(config)
    probe, letters = f"{namespace}-bridge:probe", dead_letters_key(namespace)
    needed: list[tuple[str, str, list[Word]]] = [
        ("XADD", own, ["XADD", letters, "x", "x", "x"]),
    ]
    for name, words in COMMANDS.items():
        needed.append((name, own, [name, probe, *words.split()]))
    for queue in _queues(config):
        needed.append(("RPUSH", queues, ["RPUSH", f"{namespace}:{queue}", "x"]))
        needed.append(("HSET", queues, ["HSET", f"{namespace}:{queue}.msgs", "x", "x"]))
    return needed


def _optional(config: Config) -> dict[str, list[Word]]:
    """Return the words of each command that the bridge goes on without."""
    letters = dead_letters_key(config.dramatiq.namespace)
    optional: dict[str, list[Word]] = {"INFO": ["INFO", "server"], "TIME": ["TIME"], "XLEN": ["XLEN", letters]}
    optional["MEMORY|USAGE"] = ["MEMORY", "USAGE", letters]
    first = f"{config.dramatiq.namespace}:{next(iter(_queues(config)), 'default')}"
    if config.dramatiq.max_queue_depth or config.admin is not None:
        optional["LLEN"] = ["LLEN", first]
    if config.admin is not None:
        optional |= {"HLEN": ["HLEN", f"{first}.msgs"], "ZCARD": ["ZCARD", f"{first}.XQ"]}
    return optional


def _lost(config: Config, command: str) -> str:
    """Return what the bridge does not know without a command."""
    if command == "LLEN" and config.dramatiq.max_queue_depth:
        return _OF_DEPTH
    return _OPTIONAL.get(command, _OF_ADMIN)


async def _look_at_clock(connection: RedisConnection, found: Findings) -> None:
    before = time.time()
    reply = await rights.answer(connection, "TIME")
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
    return sorted({route.queue for route in config.routes})


def _patterns(config: Config) -> list[str]:
    """Return the patterns of the keys of Dramatiq's queues, and of the bridge."""
    namespace = rights.literal(config.dramatiq.namespace)
    return [f"{namespace}:*", f"{namespace}-bridge:*"]


def _say_unknown(missing: rights.MissingRights, found: Findings) -> bool:
    for command in missing.unknown:
        found.problem(with_remedy(f"unknown command '{command}'"), "", "url")
    return False


def _place_of(refused: str) -> tuple[str, ...]:
    return ("namespace",) if refused.startswith("CROSSSLOT") else ("url",)
