"""Checks whether our consumer still exists, when a session has received nothing for a while.

AMQP has no method that lists consumers. A passive declare, on a channel of its own, tells how many consumers a queue has
and how many messages wait in it, and changes nothing. (Consuming again under the same tag ends the connection if the tag
is still in use, and basic.get would make a redelivery.)

A stream is asked in another way (see `stream.py`): RabbitMQ counts no consumers of it, and every event waits in it for ever.

Zero consumers proves that ours is gone. Waiting messages don't: we may be the standby of a single active consumer, or
have a lower priority than others. Therefore waiting messages end a session only once, until a delivery comes again.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiormq.exceptions import ChannelNotFoundEntity

#: Interval of the checks while no delivery comes; a suspicion is checked again after a sixth of it.
QUIET_INTERVAL_S: Final = 30.0
_ANSWER_TIMEOUT_S: Final = 10.0
#: RabbitMQ's words in a NOT_FOUND for a queue that is there: a stream, or a queue of another node, for a moment after a start.
_UNREACHABLE: Final = re.compile(r"is down|inaccessible|due to timeout|is stopped|has crashed")


class ConsumerCheck:
    """Watches the consumer of one queue, through all sessions of its source."""

    def __init__(self, queue: str, quiet_interval_s: float = QUIET_INTERVAL_S) -> None:
        self._queue = queue
        self._quiet_interval_s = quiet_interval_s
        # Whether a session has already ended because messages wait; a delivery resets it.
        self._ended_for_waiting = False
        # Whether the broker has refused the check's channel.
        self._refused = False

    def is_possible(self, connection: Any) -> bool:
        """Return whether the broker allows a connection another channel: it ends one that opens a channel too many."""
        return not self._refused and connection.connection_tune.channel_max != 1  # 0 is no limit

    def note_refusal(self, error: Exception) -> None:
        """Look whether another channel was refused: a user's own limit is not announced, so it costs one connection."""
        self._refused = self._refused or "number of channels" in str(error)

    async def wait_until_lost(
        self,
        connection: Any,
        received_count: Callable[[], int | None],
        find_lost: Callable[[Any], Awaitable[str]],
    ) -> str:
        """Return once the consumer is lost, with the cause.

        `received_count` returns how many deliveries have come, or None while no more are expected. `find_lost`, such as
        `look_at_queue`, returns the cause or "", and raises whatever the library raises.
        """
        count: int | None = 0
        while True:
            await asyncio.sleep(self._quiet_interval_s)
            previous, count = count, received_count()
            if count:
                self._ended_for_waiting = False
            if count is None or count != previous or not await self._find_cause(connection, find_lost):
                continue
            await asyncio.sleep(self._quiet_interval_s / 6)
            if received_count() == count and (cause := await self._find_cause(connection, find_lost)):
                self._ended_for_waiting = True
                return cause

    async def _find_cause(self, connection: Any, find_lost: Callable[[Any], Awaitable[str]]) -> str:
        """Return why the consumer seems lost, or ""; also without an answer, since the connection has its own watchdog."""
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                return await find_lost(connection)
        except ChannelNotFoundEntity as error:
            is_gone = says_gone(error, self._queue)
            return f"queue {self._queue!r} is gone, and the broker has not said so" if is_gone else ""
        except Exception as error:  # noqa: BLE001 - aiormq raises anything
            self.note_refusal(error)
            return ""

    async def look_at_queue(self, connection: Any) -> str:
        """Return why the queue seems to have lost our consumer, or "".

        Raises:
            Exception: whatever the AMQP library raises.
        """
        channel = await connection.channel(publisher_confirms=False)
        queue = await channel.queue_declare(self._queue, passive=True)
        await channel.close()
        if queue.consumer_count == 0:
            return f"queue {self._queue!r} has no consumer any more, and the broker has not said so"
        if queue.message_count and not self._ended_for_waiting:
            waiting = f"{queue.message_count} messages wait in queue {self._queue!r}, and none comes"
            return f"{waiting} (does another consumer come first? then it stays so)"
        return ""


def says_gone(error: BaseException, queue: str) -> bool:
    """Tell whether a broker's error says that there is no `queue`: each has words of its own for it."""
    return isinstance(error, ChannelNotFoundEntity) and not _UNREACHABLE.search(str(error).replace(f"'{queue}'", ""))
