"""The Redis sink: a batch of messages as Dramatiq itself would have written them.

One script per batch (`enqueue.lua`), whose keys are all in the namespace's slot. A transient
fault is SinkUnavailable, and the same batch can be written again; what Redis will never take
is found by halving the batch, and becomes a dead letter by itself.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import Final

from redis.exceptions import NoScriptError, ReadOnlyError, ResponseError

from bridge import redis_client
from bridge.batch import Batch, DeadLetter, Written
from bridge.config import Dramatiq
from bridge.errors import SinkUnavailable, words
from bridge.sink.script_arguments import ScriptArguments

SCRIPT: Final = files("bridge.sink").joinpath("enqueue.lua").read_text()
_SHA: Final = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()

#: Error replies that are about this message and not about the server's state. Every other reply
#: is waited out: a batch is never given up for an error that an operator can end.
#: redis-py leaves a leading ERR out.
_PERMANENT: Final = ("WRONGTYPE", "Protocol error", "value is not", "string exceeds")


class RedisSink:
    """Writes batches to the Redis that the workers look in."""

    def __init__(self, config: Dramatiq, *, dead_letter_cap: int) -> None:
        self._namespace = config.namespace
        self._cap = dead_letter_cap
        self._client = redis_client.client(config, timeout_s=config.timeout / 1000)

    async def ping(self) -> None:
        """Return once Redis has answered.

        Raises:
            SinkUnavailable: it did not.
        """
        try:
            await self._client.ping()
        except redis_client.FAULTS as error:
            raise SinkUnavailable(words(error)) from None

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
        if not any(entry.messages or entry.dead_letters or entry.gate for entry in batch.entries):
            return Written(messages=0, duplicates=0)  # every event was filtered, or dropped
        if batch.halves is not None:
            return await self._write_halves(*batch.halves)
        if batch.number is None:
            batch.number = batch.writer.next()
        try:
            reply = await self._run(ScriptArguments(self._namespace, self._cap, batch, batch.number))
        except ReadOnlyError as error:
            # A demoted master: the name may lead to another server by now.
            await self._client.connection_pool.disconnect(inuse_connections=False)
            raise SinkUnavailable(words(error)) from None
        except ResponseError as error:
            if not str(error).startswith(_PERMANENT):
                raise SinkUnavailable(words(error)) from None
            _isolate(batch, str(error))
            return await self._write(batch)
        except redis_client.FAULTS as error:
            raise SinkUnavailable(words(error)) from None
        numbers = reply.split()
        return Written(messages=int(numbers[0]), duplicates=int(numbers[1]), refused=batch.refused)

    async def _write_halves(self, one: Batch, other: Batch) -> Written:
        first = await self.write(one)
        second = await self.write(other)
        return Written(
            first.messages + second.messages, first.duplicates + second.duplicates, first.refused + second.refused
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def _run(self, arguments: ScriptArguments) -> bytes:
        values = arguments.keys + arguments.values
        try:
            reply = await self._client.execute_command("EVALSHA", _SHA, len(arguments.keys), *values)
        except NoScriptError:
            # EVAL loads the script as well, so a failover or SCRIPT FLUSH costs one round trip.
            reply = await self._client.execute_command("EVAL", SCRIPT, len(arguments.keys), *values)
        return bytes(reply)


def _isolate(batch: Batch, cause: str) -> None:
    """Halve a batch that Redis has refused; an event that stands alone becomes a dead letter.

    The batch keeps what was decided, so that writing it again never mixes the whole with its halves.
    """
    if len(batch.entries) > 1:
        half = len(batch.entries) // 2
        batch.halves = Batch(batch.entries[:half], batch.writer), Batch(batch.entries[half:], batch.writer)
        return
    entry = batch.entries[0]
    if not entry.messages:
        raise SinkUnavailable(f"the dead letters can't be written: {cause}")
    batch.refused = 0 if entry.dead_letters else 1
    entry.messages.clear()
    entry.dead_letters.append(DeadLetter(entry.event, "refused-by-redis", cause))
