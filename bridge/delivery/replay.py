"""The replay of a source's spool: its batches are written, oldest first; a successor of the pipeline goes on with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bridge.delivery.policy import Delivery, DeliveryPolicy
from bridge.delivery.source_log import SourceLog
from bridge.model.accounting import Accounts, Outcome
from bridge.spool import Spool, SpooledBatch


class Replay:
    """Writes the batches of a spool by `policy`; `record` gives a delivery its outcome."""

    def __init__(
        self, policy: DeliveryPolicy, accounts: Accounts, log: SourceLog, record: Callable[[Delivery, Outcome], None]
    ) -> None:
        #: What is being written now.
        self.delivery: Delivery | None = None
        #: How many deliveries and batches were finished.
        self.finished = 0
        #: Events that are written, or lost, and still counted by the spool.
        self.settled = 0
        #: Cleared while a spooled batch is being written.
        self.idle = asyncio.Event()
        self.idle.set()
        self._policy = policy
        self._accounts = accounts
        self._log = log
        self._record = record
        #: The spooled batch that is being written, and its first delivery that is not.
        self._rest: tuple[SpooledBatch, Delivery | None] | None = None

    def succeed(self, other: Replay) -> None:
        """Go on where `other` has ended, also within a batch."""
        self._rest, other._rest = other._rest, None
        self.settled, other.settled = other.settled, 0

    async def run(self, spool: Spool) -> None:
        """Replay until cancelled, or until a batch is finished once the source stops."""
        try:
            if self._rest is not None:
                await self._write(spool, *self._rest)
            async for spooled in spool.replay():
                if self._policy.stopping:
                    return
                await self._write(spool, spooled, Delivery(None, spooled.batch))
        finally:
            self.delivery = None
            self.idle.set()

    async def _write(self, spool: Spool, spooled: SpooledBatch, delivery: Delivery | None) -> None:
        """Write a spooled batch from `delivery` on, and remove it from the spool."""
        self.idle.clear()
        if spooled.lost:
            self._accounts.lose_spooled(spooled.lost)
            self._log.spool_corrupt(spooled.lost)
        else:
            while delivery is not None:
                self._rest, self.delivery = (spooled, delivery), delivery
                self._record(delivery, await self._policy.replay(delivery))
                self.settled += len(delivery.batch.events)
                self.finished += 1
                delivery = delivery.rest
        # The spool counts the batch no more as soon as it is told: whoever cancels this finds it removed.
        self._rest, self.settled = None, 0
        await spool.forget(spooled)
        self.delivery = None
        self.idle.set()
        self.finished += 1
