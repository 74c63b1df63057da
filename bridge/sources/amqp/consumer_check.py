"""Is our consumer still there? Asked where a session has received nothing for a while.

AMQP has no method that lists consumers. A passive declare, on a channel of its own, tells how many a queue has and how
many messages wait there for one, and changes nothing. (Consuming again under the same tag would end the connection
where the tag is still in use, and basic.get would make a redelivery.)

No consumer at all is proof. Messages that wait are none: an idle consumer may stand behind a single active one, or
behind others of a higher priority. So that remedy is used once, and not again before a delivery has come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from aiormq.exceptions import ChannelNotFoundEntity

#: After so long without a delivery the broker is asked, and so often; a sixth later once more, before it is believed.
QUIET_S: Final = 30.0
_ANSWER_S: Final = 10.0


class ConsumerCheck:
    """Looks after the consumer of one queue, through all its sessions."""

    def __init__(self, queue: str, quiet_s: float = QUIET_S) -> None:
        self._queue = queue
        self._quiet_s = quiet_s
        self._tried = False

    async def watch(self, connection: Any, received: Callable[[], int | None]) -> str:
        """Return why the consumer has to be made anew, once it has.

        `received` says how many deliveries have come; None where no more need come now.
        """
        seen: int | None = 0
        while True:
            await asyncio.sleep(self._quiet_s)
            before, seen = seen, received()
            if seen:
                self._tried = False
            if seen is None or seen != before or not await self._ask(connection):
                continue
            await asyncio.sleep(self._quiet_s / 6)
            if received() == seen and (cause := await self._ask(connection)):
                self._tried = True
                return cause

    async def _ask(self, connection: Any) -> str:
        """Return what is wrong; nothing where there is no answer, for the connection has its own watchdog."""
        try:
            async with asyncio.timeout(_ANSWER_S):
                channel = await connection.channel(publisher_confirms=False)
                found = await channel.queue_declare(self._queue, passive=True)
                await channel.close()
        except ChannelNotFoundEntity:
            return f"queue {self._queue!r} is gone, and the broker has not said so"
        except Exception:  # noqa: BLE001 - aiormq raises anything
            return ""
        if found.consumer_count == 0:
            return f"queue {self._queue!r} has no consumer any more, and the broker has not said so"
        if found.message_count and not self._tried:
            what = f"{found.message_count} messages wait in queue {self._queue!r}, and none comes"
            return f"{what} (does another consumer come first? then it stays so)"
        return ""
