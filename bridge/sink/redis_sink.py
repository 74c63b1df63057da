"""The Redis sink: a batch of messages as Dramatiq itself would have written them.

One script per batch (`enqueue.lua`), whose keys are all in the namespace's slot. A transient
fault is SinkUnavailable, and the same batch can be written again; what Redis will never take
is found by halving the batch, and becomes a dead letter by itself.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final

from redis.exceptions import ResponseError

from bridge.config import Dramatiq
from bridge.errors import SinkUnavailable
from bridge.model.batch import Batch, DeadLetter, Written
from bridge.redis_io.connection import command
from bridge.sink.connection_pool import ConnectionPool, unavailable
from bridge.sink.script_arguments import ScriptArguments

SCRIPT: Final = files("bridge.sink").joinpath("enqueue.lua").read_text()
_SHA: Final = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()

#: Error replies that are about this message and not about the server's state. Every other reply
#: is waited out: a batch is never given up for an error that an operator can end.
_PERMANENT: Final = ("WRONGTYPE", "Protocol error: invalid", "value is not", "string exceeds")
#: A Redis that evicts keys of other users rather than refuse a write is never full.
_REFUSES: Final = "noeviction"


@dataclass(slots=True, frozen=True)
class Memory:
    """Redis's memory in bytes: what is `used` of `most`, which is 0 where it has no bound at which it refuses writes."""

    used: int
    most: int


class RedisSink:
    """Writes batches to the Redis that the workers look in."""

    def __init__(self, config: Dramatiq, *, dead_letter_cap: int) -> None:
        self._namespace = config.namespace
        self._cap = dead_letter_cap
        self.connections = ConnectionPool(config)

    async def ping(self) -> None:
        """Return once Redis has answered.

        Raises:
            SinkUnavailable: it did not, or with an error.
        """
        await self.connections.execute(command("PING"))

    async def probe(self) -> None:
        """Return once Redis has taken a write, of a key of no consequence: one that takes none may well answer PING.

        Raises:
            SinkUnavailable: it did not.
        """
        script = "return redis.call('SET', KEYS[1], '', 'EX', 1)"
        await self.connections.execute(command("EVAL", script, 1, f"{self._namespace}-bridge:probe"))

    async def length(self, queue: str) -> int:
        """Return how many messages wait in a queue.

        Raises:
            SinkUnavailable: Redis cannot be reached, or does not tell.
        """
        try:
            return int(await self.connections.execute_raw(command("LLEN", f"{self._namespace}:{queue}")))
        except ResponseError as error:
            if str(error).startswith(_PERMANENT):
                return 0  # no list at all: the write finds that out, and what becomes of it
            raise unavailable(error) from None

    async def memory(self) -> Memory:
        """Return the state of Redis's memory.

        Raises:
            SinkUnavailable: Redis cannot be reached.
            PermissionError: the user may not ask.
        """
        try:
            lines = (await self.connections.execute_raw(command("INFO", "memory"))).decode().splitlines()
        except ResponseError as error:
            if str(error).startswith("NOPERM"):
                raise PermissionError(str(error)) from None
            raise unavailable(error) from None
        fields = {name: value for name, _, value in (line.partition(":") for line in lines)}
        # What Redis itself compares leaves out the buffers of replicas and of the AOF.
        used = int(fields.get("used_memory", 0)) - int(fields.get("mem_not_counted_for_evict", 0))
        refuses = fields.get("maxmemory_policy", _REFUSES) == _REFUSES
        return Memory(used, int(fields.get("maxmemory", 0)) if refuses else 0)

    async def write(self, batch: Batch) -> Written:
        """Write the whole batch, or nothing of it.

        Safe to call again with the same batch after SinkUnavailable, however the first call ended.

        Raises:
            SinkUnavailable: Redis cannot be reached or does not take writes now.
        """
        if batch.written is None:
            batch.written = await self._write(batch)
        return batch.written

    async def _write(self, batch: Batch) -> Written:
        if not (batch.queues or batch.dead_letters or any(event.gate for event in batch.events)):
            return Written(messages=0, duplicates=0)  # every event was filtered, or dropped
        if batch.halves is not None:
            return await self._write_halves(*batch.halves)
        arguments = ScriptArguments(self._namespace, self._cap, batch, batch.assign_number())
        try:
            reply = await self._run(arguments)
        except ResponseError as error:
            if str(error).startswith("LATE"):
                # A writer's batches are written one after another: before a later one, this one was.
                return Written(messages=0, duplicates=len(batch.events))
            if not str(error).startswith(_PERMANENT):
                raise unavailable(error) from None
            _isolate(batch, str(error))
            return await self._write(batch)
        messages, duplicates, *lengths = map(int, reply.split())
        by_queue = dict(zip(batch.queues, lengths, strict=False))
        return Written(messages, duplicates, batch.refused, by_queue, arguments.size)

    async def _write_halves(self, one: Batch, other: Batch) -> Written:
        first = await self.write(one)
        second = await self.write(other)
        return Written(
            first.messages + second.messages,
            first.duplicates + second.duplicates,
            first.refused + second.refused,
            {**first.lengths, **second.lengths},
            first.size + second.size,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self.connections.close()

    async def _run(self, arguments: ScriptArguments) -> Any:
        try:
            return await self.connections.execute_raw(arguments.command("EVALSHA", _SHA))
        except ResponseError as error:
            if not str(error).startswith("NOSCRIPT"):
                raise
            # EVAL loads the script as well, so a failover or SCRIPT FLUSH costs one round trip.
            return await self.connections.execute_raw(arguments.command("EVAL", SCRIPT))


def _isolate(batch: Batch, cause: str) -> None:
    """Halve a batch that Redis has refused; an event that stands alone becomes a dead letter.

    The batch keeps what was decided, so that writing it again never mixes the whole with its halves.
    """
    if len(batch.events) > 1:
        batch.halves = batch.split()
        return
    if not batch.queues:
        raise SinkUnavailable(f"the dead letters can't be written: {cause}")
    batch.refused = 0 if batch.dead_letters else 1
    batch.queues.clear()
    batch.dead_letters.append((0, DeadLetter(batch.events[0], "refused-by-redis", cause)))
