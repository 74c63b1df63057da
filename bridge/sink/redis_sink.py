"""The Redis sink: writes a batch of messages as Dramatiq itself would have.

One script per batch (`enqueue.lua`), whose keys are all in the namespace's slot. A transient fault is SinkUnavailable,
and the same batch can be written again. If Redis refuses a batch for good, the batch is split until the refused event
stands alone; that event becomes a dead letter.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from importlib.resources import files
from typing import Any, Final

from redis.exceptions import ResponseError

from bridge.config import DeadLetters, Dramatiq
from bridge.errors import SinkUnavailable
from bridge.model.batch import Batch, DeadLetter, Trimmed, Written
from bridge.redis_io.connection import encode_command
from bridge.sink.connection_pool import ConnectionPool, unavailable
from bridge.sink.dead_letters import LetterBounds
from bridge.sink.memory import Memory, parse_memory
from bridge.sink.script_arguments import ScriptArguments

SCRIPT: Final = "".join(files("bridge.sink").joinpath(name).read_text() for name in ("dead_letters.lua", "enqueue.lua"))
_SHA: Final = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()

#: Error replies about this message, and not about the server's state. After every other error the write is tried
#: again: no batch is given up for an error that an operator can end.
_PERMANENT_REPLIES: Final = ("WRONGTYPE", "Protocol error: invalid", "value is not", "string exceeds")


class RedisSink:
    """Writes batches to the Redis in which Dramatiq's workers look for messages: see `bridge.sink.Sink`."""

    def __init__(self, config: Dramatiq, dead_letters: DeadLetters) -> None:
        self._namespace = config.namespace
        self._max_letter_bytes = dead_letters.max_size
        self._bounds = LetterBounds(dead_letters.max_length, dead_letters.max_size, dead_letters.max_age)
        self.connections = ConnectionPool(config)

    async def ping(self) -> None:
        """See `Sink`."""
        await self.connections.execute(encode_command("PING"))

    async def probe(self) -> None:
        """See `Sink`; a Redis that refuses writes may still answer PING."""
        script = "return redis.call('SET', KEYS[1], '', 'EX', 1)"
        await self.connections.execute(encode_command("EVAL", script, 1, f"{self._namespace}-bridge:probe"))

    async def queue_length(self, queue: str) -> int:
        """See `Sink`."""
        try:
            return int(await self.connections.execute_raw(encode_command("LLEN", f"{self._namespace}:{queue}")))
        except ResponseError as error:
            if str(error).startswith(_PERMANENT_REPLIES):
                return 0  # the key holds no list: the write finds that out, and makes dead letters
            raise unavailable(error) from None

    async def memory(self) -> Memory:
        """See `Sink`; the bound of the dead letters follows it."""
        memory = parse_memory(await self._info("memory"))
        self._bounds = replace(self._bounds, max_bytes=memory.dead_letter_bytes(self._max_letter_bytes))
        return memory

    async def is_durable(self) -> bool:
        """See `Sink`; with `appendfsync everysec`, the default, a second may be lost."""
        # Where Redis does not say (other servers), it is not doubted.
        return "aof_enabled:0" not in await self._info("persistence")

    async def _info(self, section: str) -> str:
        try:
            answer: bytes = await self.connections.execute_raw(encode_command("INFO", section))
        except ResponseError as error:
            # Not allowed, or not there: renamed, or not known to another server.
            if any(words in str(error) for words in ("NOPERM", "unknown command", "not supported")):
                raise PermissionError(str(error)) from None
            raise unavailable(error) from None
        return answer.decode()

    async def write(self, batch: Batch) -> Written:
        """See `Sink`."""
        if batch.written is None:
            batch.written = await self._write(batch)
        return batch.written

    async def _write(self, batch: Batch) -> Written:
        if not (batch.queues or batch.dead_letters or any(event.write_once for event in batch.events)):
            return Written(messages=0, duplicates=0)  # every event was filtered, or dropped
        if batch.halves is not None:
            return await self._write_halves(*batch.halves)
        arguments = ScriptArguments(self._namespace, self._bounds, batch, batch.assign_number())
        try:
            reply = await self._run(arguments)
        except ResponseError as error:
            if str(error).startswith("LATE"):
                # Batches of a sequence are written one after another: this one was written before the later one.
                return Written(0, len(batch.events), first_duplicate=batch.events[0])
            if not str(error).startswith(_PERMANENT_REPLIES):
                raise unavailable(error) from None
            _isolate(batch, str(error))
            return await self._write(batch)
        result, _, trimmed = reply.partition(b";")
        messages, duplicates, *lengths, first_duplicate = map(int, result.split())
        # Not strict: a dead letter may have taken the place of a message since the result was stored.
        by_queue = dict(zip(batch.queues, lengths, strict=False))
        duplicate = batch.events[first_duplicate] if duplicates else None
        gone = Trimmed(*map(int, trimmed.split()))
        return Written(messages, duplicates, batch.refused, by_queue, arguments.size, duplicate, gone)

    async def _write_halves(self, first: Batch, second: Batch) -> Written:
        before = await self.write(first)
        after = await self.write(second)
        return Written(
            before.messages + after.messages,
            before.duplicates + after.duplicates,
            before.refused + after.refused,
            {**before.lengths, **after.lengths},
            before.size + after.size,
            before.first_duplicate or after.first_duplicate,
            before.trimmed.plus(after.trimmed),
        )

    async def close(self) -> None:
        """See `Sink`."""
        await self.connections.close()

    async def _run(self, arguments: ScriptArguments) -> Any:
        try:
            return await self.connections.execute_raw(arguments.command("EVALSHA", _SHA))
        except ResponseError as error:
            if not str(error).startswith("NOSCRIPT"):
                raise
            # EVAL loads the script as well: a failover or SCRIPT FLUSH costs one round trip.
            return await self.connections.execute_raw(arguments.command("EVAL", SCRIPT))


def _isolate(batch: Batch, cause: str) -> None:
    """Split a batch that Redis has refused, or make a dead letter of its event if it has only one.

    The batch keeps the decision: a later attempt never writes the whole after a half.
    """
    if len(batch.events) > 1:
        batch.halves = batch.split()
        return
    if not batch.queues:
        raise SinkUnavailable(f"the dead letters can't be written: {cause}")
    batch.refused = 0 if batch.dead_letters else 1
    batch.queues.clear()
    batch.dead_letters.append((0, DeadLetter(batch.events[0], "refused-by-redis", cause)))
