"""The Redis sink: writes a batch of messages as Dramatiq itself would have.

One script per batch (`enqueue.lua`), whose keys are all in the namespace's slot. A transient fault is SinkUnavailable,
and the same batch can be written again. If Redis refuses a batch for good, the batch is split until the refused event
stands alone; that event becomes a dead letter. A large batch is split too if Redis has no memory for it, or does not
answer it in time again and again; its events never become dead letters for that.

Before a batch is split, it is fenced: Redis then never writes the whole, also not if it reads the data of an earlier attempt
later (those of a closed connection can arrive minutes after).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from importlib.resources import files
from typing import Any, Final

from redis.exceptions import ResponseError

from bridge.config import DeadLetters, Dramatiq
from bridge.errors import SinkUnavailable
from bridge.model.batch import Batch, Written
from bridge.model.state import QueueState
from bridge.redis_io.connection import Word, encode_command
from bridge.redis_io.keys import dead_letter_books_key, dead_letters_key
from bridge.redis_io.rights import NoScript
from bridge.redis_io.servers import outdated_redis
from bridge.routing.redaction import NO_REDACTION, Redaction
from bridge.sink.connection_pool import ConnectionPool, Unanswered, no_redis, unavailable
from bridge.sink.dead_letters import LetterBounds
from bridge.sink.memory import Memory, parse_memory
from bridge.sink.result import parse_result
from bridge.sink.rights import Denial, SinkRights
from bridge.sink.script_arguments import FenceArguments, ScriptArguments


def _script(*names: str) -> str:
    return "".join(files("bridge.sink").joinpath(name).read_text() for name in names)


def _sha(script: str) -> str:
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()


SCRIPT: Final = _script("permissions.lua", "dead_letters.lua", "enqueue.lua")
_DELETE_OLD: Final = _script("dead_letters.lua", "delete_old_letters.lua")
_QUEUE_STATE: Final = _script("queue_state.lua")
_PROBE: Final = _script("permissions.lua", "probe.lua")
_SHA, _PROBE_SHA = _sha(SCRIPT), _sha(_PROBE)
#: The commands without which the scripts cannot do their work, and the arguments with which the probe tries each, on its own
#: key, a string. For streams XACK too: their source asks for it, and the script for the permission.
COMMANDS: Final = {
    "SET": "x PX 1", "GET": "", "TYPE": "", "RPUSH": "x", "XADD": "x x x", "EXPIRE": "x",
    "HSET": "x x", "HMGET": "x", "HDEL": "x", "HINCRBY": "x x",
}  # fmt: skip

#: Error replies about this message, and not about the server's state. After every other error the write is tried
#: again: no batch is given up for an error that an operator can end.
_PERMANENT_REPLIES: Final = ("WRONGTYPE", "Protocol error: invalid", "value is not", "string exceeds")
#: How an error begins that is about the server's state (LOADING, BUSY, NOAUTH): by a code; `ERR`, for all others, is cut off.
_STATE: Final = re.compile(r"[A-Z]{2,}( |$)")
#: A batch whose command is larger than this many bytes is split where Redis cannot take it for its size.
_LARGE: Final = 64 * 1024
#: A large batch is split after so many attempts without a reply. Its parts have one of them behind them.
_SPLIT_AFTER: Final = 2


class RedisSink:
    """Writes batches to the Redis in which Dramatiq's workers look for messages: see `bridge.sink.Sink`."""

    def __init__(self, config: Dramatiq, dead_letters: DeadLetters, redaction: Redaction = NO_REDACTION) -> None:
        self._config = config
        self._namespace = config.namespace
        #: For the dead letters; a reload may change the sources that it knows.
        self.redaction = redaction
        self._max_letter_bytes = dead_letters.max_size
        self._bounds = LetterBounds(dead_letters.max_length, dead_letters.max_size, dead_letters.max_age)
        self.connections = ConnectionPool(config)
        # Whether a probe has succeeded: before that nothing is written, and a server that is no Redis is found.
        self._is_proven = False

    async def ping(self) -> None:
        """See `Sink`."""
        await self.connections.execute(encode_command("PING"))

    async def probe(self) -> None:
        """See `Sink`; a server that refuses writes, or lacks a command of the scripts, may still answer PING."""
        keys = f"{self._namespace}-bridge:probe", dead_letters_key(self._namespace)
        arguments: list[Word] = [len(keys), *keys, *(f"{name} {words}" for name, words in COMMANDS.items())]
        # As a batch is written: by EVALSHA, and once by EVAL.
        reply = await self.connections.execute_raw(encode_command("EVALSHA", _PROBE_SHA, *arguments))
        if _is_refused(reply, "NOSCRIPT"):
            reply = await self.connections.execute_raw(encode_command("EVAL", _PROBE, *arguments))
        if isinstance(reply, ResponseError):
            raise unavailable(reply)
        if reply != b"written":
            raise no_redis(reply)
        self._is_proven = True

    async def missing_rights(self, queues: Sequence[str], *, counts_queues: bool) -> list[Denial]:
        """See `Sink`."""
        rights = SinkRights(self._config, COMMANDS, queues, counts_queues=counts_queues)
        try:
            return await rights.ask(self.ask)
        except NoScript as error:
            raise PermissionError(str(error)) from None
        except ResponseError as error:
            raise unavailable(error) from None

    async def ask(self, *words: Word) -> Any:
        """Return the reply to a command; an error reply as a ResponseError.

        Raises:
            SinkUnavailable: the sink cannot be reached.
        """
        return await self.connections.execute_raw(encode_command(*words))

    async def queue_length(self, queue: str) -> int:
        """See `Sink`."""
        reply = await self.connections.execute_raw(encode_command("LLEN", f"{self._namespace}:{queue}"))
        if isinstance(reply, ResponseError):
            if str(reply).startswith(_PERMANENT_REPLIES):
                return 0  # the key holds no list: the write finds that out, and makes dead letters
            raise unavailable(reply)
        return _number(reply)

    async def queue_state(self, queue: str) -> QueueState:
        """See `Sink`; a key that holds another type than Dramatiq's counts nothing."""
        key = f"{self._namespace}:{queue}"
        keys = key, f"{key}.msgs", f"{key}.DQ.msgs", f"{key}.XQ"
        reply = await self.connections.execute_raw(encode_command("EVAL", _QUEUE_STATE, len(keys), *keys))
        if isinstance(reply, ResponseError):
            if "WRONGTYPE" in str(reply):
                return QueueState()
            if "NOPERM" in str(reply) or "permission" in str(reply).lower():
                raise PermissionError(f"the queues' lengths need +llen +hlen +zcard: {reply}")
            raise unavailable(reply)
        if not isinstance(reply, list):
            raise no_redis(reply)
        return QueueState(*map(_number, reply))

    async def memory(self) -> Memory:
        """See `Sink`; the bound of the dead letters follows it."""
        info = await self.info("memory")
        try:
            memory = parse_memory(info)
        except ValueError as error:
            raise PermissionError(f"INFO memory: {error}") from None
        self._bounds = replace(self._bounds, max_bytes=memory.dead_letter_bytes(self._max_letter_bytes))
        return memory

    async def is_durable(self) -> bool:
        """See `Sink`; with `appendfsync everysec`, the default, a second may be lost."""
        # Where Redis does not say (other servers), it is not doubted.
        return "aof_enabled:0" not in await self.info("persistence")

    async def outdated(self) -> str:
        """See `Sink`."""
        try:
            return outdated_redis(await self.info("server"))
        except PermissionError:
            return ""

    async def delete_old_dead_letters(self) -> int:
        """See `Sink`."""
        keys = dead_letters_key(self._namespace), dead_letter_books_key(self._namespace)
        command = encode_command("EVAL", _DELETE_OLD, len(keys), *keys, self._bounds.max_age_ms)
        return _number(await self.connections.execute(command))

    async def info(self, section: str) -> str:
        """Return a section of the server's INFO.

        Raises:
            SinkUnavailable: the sink cannot be reached, or refuses to answer now.
            PermissionError: the bridge may not ask, or the server has no INFO.
        """
        reply = await self.connections.execute_raw(encode_command("INFO", section))
        if isinstance(reply, ResponseError):
            # Not allowed, or not there: renamed, or not known to another server. A state of Redis has a code of its own.
            if str(reply).startswith("NOPERM") or not _STATE.match(str(reply)):
                raise PermissionError(str(reply))
            raise unavailable(reply)
        if not isinstance(reply, bytes):
            raise no_redis(reply)
        return reply.decode("utf-8", "backslashreplace")

    async def write(self, batch: Batch) -> Written:
        """See `Sink`."""
        if batch.written is None:
            batch.written = await self._write(batch)
        return batch.written

    async def _write(self, batch: Batch) -> Written:
        if not (batch.queues or batch.dead_letters or any(event.write_once for event in batch.events)):
            return Written(messages=0)  # every event was filtered, or dropped
        if not self._is_proven:
            await self.probe()
        if batch.halves is None:
            written = await self._write_whole(batch)
            if written is not None:
                return written
        return await self._write_parts(batch.halves or ())

    async def _write_whole(self, batch: Batch) -> Written | None:
        """Write the batch; or split it, and return None.

        Raises:
            SinkUnavailable: neither could be done now.
        """
        if await self._was_written_whole(batch):
            return _written_before(batch)
        reply: Any = None
        size = 0
        if batch.unanswered < _SPLIT_AFTER:
            reply, size = await self._run_enqueue(batch)
            must_split = (_is_refused(reply, "OOM") and size > _LARGE) or _is_refused(reply, *_PERMANENT_REPLIES)
        else:
            must_split = True
        if _is_refused(reply, "WRONGTYPE") and self._refuse_queue(batch, str(reply)):
            return await self._write_whole(batch)
        if must_split and len(batch.events) > 1:
            reply = await self._run(FenceArguments(self._namespace, batch))
        if isinstance(reply, ResponseError):
            if str(reply).startswith("LATE"):
                # Batches of a sequence are written one after another: this one was written before the later one.
                return _written_before(batch)
            if len(batch.events) > 1 or not _is_refused(reply, *_PERMANENT_REPLIES):
                raise unavailable(reply)
            _make_dead_letter(batch, str(reply))
            return await self._write_whole(batch)
        if reply.startswith(b"halved"):
            _, first, last = reply.split()
            _split(batch, is_merged=first != last)
            return None
        try:
            return parse_result(reply, batch, size)
        except (TypeError, ValueError):
            # The result of a newer version, whose process has written the batch and ended before it knew.
            return _written_before(batch)

    async def _was_written_whole(self, part: Batch) -> bool:
        """Tell whether a batch that this one was cut out of was written; otherwise Redis never writes it from now on."""
        for whole in part.parts_of:
            reply = await self._run(FenceArguments(self._namespace, whole))
            if isinstance(reply, ResponseError) and not _is_refused(reply, "LATE"):
                raise unavailable(reply)
            if isinstance(reply, ResponseError) or not reply.startswith(b"halved"):
                return True
        part.parts_of = ()
        return False

    def _refuse_queue(self, batch: Batch, cause: str) -> bool:
        """Make dead letters of the messages for the queue whose key holds another type; return whether it is one's.

        Not by splitting, which would cost a write and a key in Redis for each of a thousand events.
        """
        for queue, column in batch.queues.items():
            key = f"{self._namespace}:{queue}"
            if cause.startswith((f"WRONGTYPE {key} holds", f"WRONGTYPE {key}.msgs holds")):
                batch.refuse(dict.fromkeys(column.event_indexes), cause)
                return True
        return False

    async def _write_parts(self, parts: Iterable[Batch]) -> Written:
        total, start = Written(0), 0
        for part in parts:
            written = await self.write(part)
            total = Written(
                total.messages + written.messages,
                total.duplicates + written.duplicates,
                total.refused + written.refused,
                {**total.lengths, **written.lengths},
                total.size + written.size,
                [*total.duplicate_indexes, *(start + index for index in written.duplicate_indexes)],
                total.trimmed.plus(written.trimmed),
                [*total.suppressed, *(one._replace(event_index=start + one.event_index) for one in written.suppressed)],
                [*total.left_out, *((start + index, route) for index, route in written.left_out)],
            )
            start += len(part.events)
        return total

    async def close(self) -> None:
        """See `Sink`."""
        await self.connections.close()

    async def _run_enqueue(self, batch: Batch) -> tuple[Any, int]:
        """Return the reply to the write of a whole batch, and the bytes sent; count an attempt without a reply."""
        if self.redaction.is_on:
            # Here, since the write itself makes dead letters too; the log then has none of the fields either.
            batch.dead_letters = [(index, self.redaction.letter(letter)) for index, letter in batch.dead_letters]
        arguments = ScriptArguments(self._namespace, self._bounds, batch, batch.assign_number())
        try:
            return await self._run(arguments), arguments.size
        except Unanswered:
            if arguments.size > _LARGE and len(batch.events) > 1:
                batch.unanswered += 1
            raise

    async def _run(self, arguments: ScriptArguments | FenceArguments) -> Any:
        """Return the script's reply; an error reply is returned as a ResponseError."""
        reply = await self.connections.execute_raw(arguments.command("EVALSHA", _SHA))
        if _is_refused(reply, "NOSCRIPT"):
            # EVAL loads the script as well: a failover or SCRIPT FLUSH costs one round trip.
            reply = await self.connections.execute_raw(arguments.command("EVAL", SCRIPT))
        return reply


def _written_before(batch: Batch) -> Written:
    return Written(0, len(batch.events), duplicate_indexes=range(len(batch.events)))


def _is_refused(reply: object, *causes: str) -> bool:
    """Tell whether a reply is an error that begins with one of the words."""
    return isinstance(reply, ResponseError) and str(reply).startswith(causes)


def _number(reply: object) -> int:
    if not isinstance(reply, int):
        raise no_redis(reply)
    return reply


def _split(batch: Batch, *, is_merged: bool) -> None:
    """Split a batch that Redis has fenced, alone or as one of several that were merged.

    The batch keeps the decision: a later attempt never writes the whole after a part.
    """
    if is_merged and not batch.merged:
        # An earlier process had merged it with others, and has perhaps written it as their part.
        batch.merged = ((batch.assign_number(), len(batch.events)),)
    batch.halves = batch.split()


def _make_dead_letter(batch: Batch, cause: str) -> None:
    """Let the batch, whose only event Redis has refused for good, write a dead letter instead of its messages."""
    if not batch.queues:
        raise SinkUnavailable(f"the dead letters can't be written: {cause}")
    batch.refuse([0], cause)
