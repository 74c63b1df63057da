"""The policy of delivery: which outcome a batch has. It is written, spilled to the spool, returned, or lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from bridge.delivery.poison import PoisonGuard
from bridge.delivery.sink_context import SinkContext
from bridge.errors import SinkUnavailable
from bridge.model.accounting import Accounts, Counts, Outcome
from bridge.model.batch import Batch, Written
from bridge.model.event import OF_A_LOG
from bridge.model.state import SECONDS_BUCKETS
from bridge.observe.log_fields import without_numbers
from bridge.observe.logs import RepeatedLog, logger
from bridge.routing.router import Router
from bridge.sources.contract import Session, Source
from bridge.spool import Spool, SpoolFull

log = logger()
#: How often a write that lasts is checked against a full window; then the batch is spooled. Less often where the broker
#: queues events that we don't read, though perhaps not for ever (mosquitto: 1,000 messages beyond the window).
_PATIENCE_S: Final = 0.05
_PATIENCE_WITH_BROKER_S: Final = 1.0
#: Between two attempts to append to a full spool.
_FULL_SPOOL_RETRY_S: Final = 0.5


@dataclass(slots=True, eq=False)
class Delivery:
    """A batch on its way from `session` to its outcome; a batch that is replayed from the spool has no session.

    `counts` are set once it is routed, `outcome` once it is counted. `rest` is set if not all events of the batch were
    routed with it: the delivery of the others, which follows this one. `router` is that of the configuration by which it
    was received, so that a reload changes the routes between two batches; None for the present one. `replayed` says
    whether it is on the disk: no delivery that was received waits for it.
    """

    session: Session | None
    batch: Batch
    counts: Counts | None = None
    outcome: Outcome | None = None
    rest: Delivery | None = None
    router: Router | None = None
    replayed: bool = False

    def set_routed(self, counts: Counts) -> None:
        """Set the counts that routing the batch has returned.

        Where a merged batch became too large it stays without counts, as the first of those that it was merged of: only by
        their own numbers is each of them known after a crash.
        """
        if counts.received == len(self.batch.events):
            self.counts = counts
        elif self.batch.merged:
            self.batch, *others = self.batch.unmerged()
            for other in reversed(others):
                self.rest = Delivery(self.session, other, rest=self.rest, router=self.router)
        else:
            self.counts = counts
            self.rest = Delivery(self.session, self.batch.cut(counts.received), rest=self.rest, router=self.router)

    def unwritten(self) -> list[Batch]:
        """Return the parts of the batch that are not written."""
        return [part for part in self.batch.unsplit_parts() if part.written is None]

    def chain(self) -> Iterator[Delivery]:
        """Return this delivery, its rest, the rest of that, and so on."""
        delivery: Delivery | None = self
        while delivery is not None:
            yield delivery
            delivery = delivery.rest


class DeliveryPolicy:
    """Decides the outcome of every delivery of one source; `name` is the source's name as a writer to the sink.

    Without a `spool` a delivery waits for the sink however long that takes.
    """

    def __init__(self, name: str, source: Source, router: Router, context: SinkContext, accounts: Accounts) -> None:
        self.spool: Spool | None = None
        #: Set when the bridge stops: events that the sink does not take at once are spooled for the next start.
        self.stopping = False
        #: Set where a stop would lose the events that a paused route holds: they are written all the same.
        self.ignores_pauses = False
        #: Called when a paused route holds a delivery though the source stops, and the spool will not take it: no wait helps.
        self.on_held: Callable[[], None] = lambda: None
        #: Of deliveries without one of their own.
        self.router = router
        self._name = name
        self._source = source
        self._context = context
        self._accounts = accounts
        self._guard = PoisonGuard(source.name, context.attempts, source.deliveries)
        self._patience: asyncio.TimerHandle | None = None
        self._repeated = RepeatedLog()

    @property
    def is_spooling(self) -> bool:
        """Whether the spool holds events: later ones go behind them, so that the order stays."""
        return self.spool is not None and self.spool.holds

    def is_stale(self, delivery: Delivery) -> bool:
        """Whether the session has ended and the broker redelivers the whole batch: writing it would make duplicates.

        Not so for events of a log: each is written once, however their session ends, also where the log itself is
        lost and redelivers nothing.
        """
        session, events = delivery.session, delivery.batch.events
        if session is None or not session.ended or not self._accounts.are_redelivered(events):
            return False
        return not all(isinstance(event.write_once, OF_A_LOG) for event in events)

    def routes_later(self, delivery: Delivery) -> bool:
        """Whether not to route the batch on receipt: it will be spooled as it is, or redelivered events need care."""
        return self.is_spooling or PoisonGuard.has_redelivered(delivery.batch)

    async def decide(self, delivery: Delivery) -> Outcome:
        """Write the batch, or spool it, or find that it can be neither; return what became of it."""
        while True:
            if self.is_stale(delivery):
                return Outcome.RETURNED
            if not self.is_spooling and await self._write(delivery):
                return Outcome.WRITTEN
            if self.spool is not None and not self.is_stale(delivery):
                if (outcome := await self.spill(delivery, self.spool)) is not None:
                    return outcome
                if self.stopping and self._context.pauses.holds(self._name):
                    self.on_held()  # the replay waits for a paused route: there will be no room
                await asyncio.sleep(_FULL_SPOOL_RETRY_S)

    async def replay(self, delivery: Delivery) -> Outcome:
        """Write a batch of the spool, however long that takes."""
        delivery.replayed = True
        await self._write_when_available(delivery)
        return Outcome.WRITTEN

    async def spill(self, delivery: Delivery, spool: Spool) -> Outcome | None:
        """Append the unwritten parts of the batch to the spool; None where it is full now and trying again makes sense."""
        parts = delivery.unwritten()
        # The sink gives them their numbers. Redis may have written one whose answer never came.
        attempted = [part for part in parts if part.number is not None]
        for part in parts:
            part.assign_number()
        try:
            await spool.append(parts, durable=self._source.redelivers, attempted=attempted)
        except SpoolFull as error:
            self._repeated.write(
                (error.event, without_numbers(error.cause)),
                log.error,
                error.event,
                count=len(delivery.batch.events),
                source=self._source.name,
                cause=error.cause,
            )
            # The broker keeps the events of a source that redelivers; a stop has no time for another attempt.
            return None if self._source.redelivers or self.stopping else Outcome.LOST
        return Outcome.SPOOLED

    async def spill_at_stop(self, delivery: Delivery) -> Outcome:
        """Return the outcome of a delivery that the stop has cut short: one attempt to spool it, no attempt to write it.

        A batch that is redelivered needs none; but where its append has begun, it may be on the disk already: then it is
        written from there, and comes twice.
        """
        spool, is_redelivered = self.spool, self._accounts.are_redelivered(delivery.batch.events)
        if spool is None or (is_redelivered and not spool.has_begun(delivery.unwritten())):
            outcome = None
        else:
            outcome = await self.spill(delivery, spool)
        return outcome or (Outcome.RETURNED if is_redelivered else Outcome.LOST)

    async def _write(self, delivery: Delivery) -> bool:
        """Write once the sink takes the batch; return False if it is stale by then, or the spool has to take it."""
        if self.spool is None or delivery.session is None:
            return await self._write_when_available(delivery)
        try:
            async with asyncio.timeout(None) as limit:
                self._check_spill_later(delivery.session, delivery, limit)
                return await self._write_when_available(delivery)
        except TimeoutError:
            return False
        finally:
            if self._patience is not None:
                self._patience.cancel()

    async def _write_when_available(self, delivery: Delivery) -> bool:
        session = delivery.session

        def give_up() -> bool:
            return self.spool is not None and session is not None and self._should_spill(session, delivery, away=True)

        health = self._context.health
        try:
            written = await health.retry_until_available(
                self._name, partial(self._write_once, delivery), give_up=give_up
            )
        except SinkUnavailable:
            return False
        if written is None:
            return False
        delivery.batch.written = written
        self._context.backpressure.written(written)
        return True

    async def _write_once(self, delivery: Delivery) -> Written | None:
        """Route, wait for room, and write; None if the delivery is stale.

        Raises:
            SinkUnavailable: the sink takes no writes now.
        """
        context = self._context
        while delivery.counts is None:
            delivery.set_routed(await self._route(delivery))
        if context.pauses.names:
            await self._wait_for_paused(delivery, delivery.counts)
        await context.backpressure.admit(self._name, delivery.batch.queues)
        # Only now: the session may have ended during a long wait.
        if self.is_stale(delivery):
            # AmqpSource.connect waits for the sink; probe so that it learns that the sink is back.
            await context.sink.probe()
            return None
        loop = asyncio.get_running_loop()
        began = loop.time()
        with context.backpressure.writing(delivery.batch):
            written = await context.sink.write(delivery.batch)
        if written.size:
            context.writes.observe(loop.time() - began, SECONDS_BUCKETS)
        return written

    async def _route(self, delivery: Delivery) -> Counts:
        router = delivery.router or self.router
        if PoisonGuard.has_redelivered(delivery.batch):
            return await self._guard.route(delivery.batch, router)
        return await router.route_in_turns(delivery.batch)

    async def _wait_for_paused(self, delivery: Delivery, counts: Counts) -> None:
        """Return once no route is paused that has made a message of the delivery."""
        pauses = self._context.pauses
        matched = {name for name, of_route in counts.routes.items() if of_route.matched}
        while (held := matched & pauses.names) and not self.ignores_pauses:
            if self.stopping and not self._is_for_the_disk(delivery):
                self.on_held()
            await pauses.wait(self._name, held)

    def _is_for_the_disk(self, delivery: Delivery) -> bool:
        """Whether it is on the disk, or a stop puts it there: then those behind it go there too, and none has to wait."""
        if delivery.replayed:
            return True
        is_spooled = self.spool is not None and delivery.session is not None
        return is_spooled and not self._accounts.are_redelivered(delivery.batch.events)

    def _check_spill_later(self, session: Session, delivery: Delivery, limit: asyncio.Timeout) -> None:
        patience_s = _PATIENCE_WITH_BROKER_S if self._source.redelivers else _PATIENCE_S
        loop = asyncio.get_running_loop()
        self._patience = loop.call_later(patience_s, self._check_spill, session, delivery, limit)

    def _check_spill(self, session: Session, delivery: Delivery, limit: asyncio.Timeout) -> None:
        if self._should_spill(session, delivery):
            limit.reschedule(asyncio.get_running_loop().time())
        else:
            self._check_spill_later(session, delivery, limit)

    def _should_spill(self, session: Session, delivery: Delivery, *, away: bool = False) -> bool:
        """Whether not to wait for the write any longer: the delivery is stale, or the spool has to take it."""
        if self._accounts.are_redelivered(delivery.batch.events):
            return session.ended or session.full
        return away or session.full or self.stopping
