"""The sink: where messages are written, in one atomic step per batch. `Sink` is its whole contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from bridge.model.batch import Batch, Written
from bridge.model.state import QueueState
from bridge.sink.memory import Memory
from bridge.sink.redis_sink import RedisSink
from bridge.sink.rights import Denial

__all__ = ["Memory", "RedisSink", "Sink"]


class Sink(Protocol):
    """Where the batches of all sources of a process are written.

    Every method may be called at any time and from several tasks at once, with one exception: the batches of one
    sequence are written strictly one after another.
    """

    async def write(self, batch: Batch) -> Written:
        """Write the whole batch, or nothing of it; return once the write is confirmed.

        Safe to call again with the same batch, however the call before ended: the batch is still written once.
        Never call it for two batches of one sequence at once. An event that the sink can never take is written as a
        dead letter, and counted in `Written.refused`.

        Raises:
            SinkUnavailable: the sink cannot be reached, or takes no writes now; call it again later.
        """
        ...

    async def probe(self) -> None:
        """Return once the sink has taken a write of no consequence, to a key of its own.

        Raises:
            SinkUnavailable: it cannot be reached, or takes no writes now.
        """
        ...

    async def ping(self) -> None:
        """Return once the sink has answered, which does not say that it takes writes.

        Raises:
            SinkUnavailable: it has not, or with an error.
        """
        ...

    async def queue_length(self, queue: str) -> int:
        """Return how many messages wait in `queue`; delayed ones have a queue of their own, whose name ends in `.DQ`.

        Raises:
            SinkUnavailable: the sink cannot be reached, or refuses to answer now.
        """
        ...

    async def queue_state(self, queue: str) -> QueueState:
        """Return how many messages of `queue` wait, are delayed, are in the hands of workers, and are dead.

        Raises:
            SinkUnavailable: the sink cannot be reached, or refuses to answer now.
            PermissionError: the bridge may not ask.
        """
        ...

    async def memory(self) -> Memory:
        """Return how much of its memory the sink uses.

        Raises:
            SinkUnavailable: the sink cannot be reached, or refuses to answer now.
            PermissionError: the bridge may not ask.
        """
        ...

    async def is_durable(self) -> bool:
        """Return whether confirmed writes survive the end of the sink, but for its last second.

        Raises:
            SinkUnavailable: the sink cannot be reached, or refuses to answer now.
            PermissionError: the bridge may not ask.
        """
        ...

    async def outdated(self) -> str:
        """Return that the sink's server is older than supported; "" if it is not, or does not tell.

        Raises:
            SinkUnavailable: the sink cannot be reached, or refuses to answer now.
        """
        ...

    async def missing_rights(self, queues: Sequence[str], *, counts_queues: bool) -> list[Denial]:
        """Return the rights that are missing for writes to `queues`, and, with `counts_queues`, for `queue_state`.

        Raises:
            SinkUnavailable: the sink cannot be reached, or refuses to answer now.
            PermissionError: it does not tell.
        """
        ...

    async def delete_old_dead_letters(self) -> int:
        """Delete all dead letters if the newest is older than `max_age`; return how many there were, 0 if it is not.

        Raises:
            SinkUnavailable: the sink cannot be reached, or takes no writes now.
        """
        ...

    async def close(self) -> None:
        """Close every connection; only once no other call runs."""
        ...
