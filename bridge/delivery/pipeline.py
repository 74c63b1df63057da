"""The dispatcher of one source: receive -> route -> write -> settle.

Two tasks with a place for one batch between them: while a batch is being written, the next one is
routed, and what arrives meanwhile is the one after. Batches are written and settled in the order
received, and an event is settled only after the write that holds all its messages is confirmed.

With a spool there is a third: what the sink does not take goes to the disk instead, and everything
that follows goes behind it, until `drain` has written it all.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Final

from bridge.backoff import Backoff
from bridge.delivery.outlet import SinkContext
from bridge.delivery.poison import PoisonGuard
from bridge.errors import SinkUnavailable
from bridge.model.batch import Batch, BatchSequence, Written
from bridge.model.event import Event
from bridge.observe.logs import LogThrottle, logger
from bridge.routing.router import Counts, Router
from bridge.sources.contract import Session, Source
from bridge.spool import Spool, SpoolFull

log = logger()
#: A write that lasts this long while the window is full is for the spool: where what is not received is lost, and where
#: the broker keeps it, though perhaps not for ever (mosquitto: 1,000 messages beyond the window).
_PATIENCE_S: Final = 0.05
_PATIENCE_WITH_BROKER_S: Final = 1.0
#: Between two writes to the spool: what is received meanwhile goes with the next one.
_GATHER_S: Final = 0.02
_GATHER_DURABLE_S: Final = 0.004
#: A spool that is full is tried again after this long, by what waits for it.
_FULL_AGAIN_S: Final = 0.5


@dataclass(slots=True, eq=False)
class _Work:
    """A batch on its way; `counts` once it is routed, `done` once it is accounted for.

    `session` has delivered it; without one it was in the spool.
    """

    session: Session | None
    batch: Batch
    counts: Counts | None = None
    done: bool = False


class Dispatcher:
    """Moves the events of `source` into the sink, which knows it as `name`; `counts` tells what has become of them."""

    def __init__(self, name: str, source: Source, router: Router, outlet: SinkContext) -> None:
        self.counts = Counts()
        #: How many batches were finished.
        self.moved = 0
        self.spool: Spool | None = None
        #: Set when the bridge stops: what the sink does not take at once is kept for the next start.
        self.stopping = False
        self._name = name
        self._source = source
        self._router = router
        self._suspicion = PoisonGuard(source.name, router, outlet.attempts)
        self._outlet = outlet
        self._next: asyncio.Queue[_Work] = asyncio.Queue(maxsize=1)
        self._left: deque[_Work] = deque()
        self._last: _Work | None = None
        self._working = False
        #: Not while something out of the spool is being written.
        self._resting = asyncio.Event()
        self._resting.set()
        self._timer: asyncio.TimerHandle | None = None
        self._writer = BatchSequence()
        self._throttle = LogThrottle()

    async def intake(self, session: Session) -> None:
        """Receive and route until the session is paused and everything it delivered is settled.

        Raises:
            Disconnected: the session has ended; what it delivered goes on to be written.
        """
        while events := await session.receive():
            work = _Work(session, Batch(events, self._writer))
            if not (self._spooling or PoisonGuard.has_redelivered(work.batch)):
                work.counts = self._router.route(work.batch)
            try:
                await self._next.put(work)
            except asyncio.CancelledError:
                self._last = work
                raise
        await self.idle()

    async def idle(self) -> None:
        """Return once everything that was received is settled: written, or kept in the spool."""
        await self._next.join()

    async def write(self) -> None:
        """Write and settle what `intake` hands over, for ever; cancelled, leave the rest to `give_up_rest`."""
        while True:
            work = await self._next.get()
            self._working = True
            try:
                await self._finish(work)
            except asyncio.CancelledError:
                if not work.done:
                    self._left.appendleft(work)
                raise
            finally:
                self._next.task_done()
                self._working = False
            self.moved += 1
            if self._spooling:
                await asyncio.sleep(_GATHER_DURABLE_S if self._source.redelivers else _GATHER_S)

    async def drain(self) -> None:
        """Write what the spool holds, oldest first, for ever."""
        assert self.spool is not None  # noqa: S101 - whoever calls this has set it
        async for kept in self.spool.kept():
            if self.stopping:
                return
            if kept.lost:
                self.counts.received += kept.lost
                self.counts.lost += kept.lost
                log.error("spool.corrupt", source=self._source.name, lost=kept.lost)
            self._resting.clear()
            if not kept.lost:
                await self._deliver(_Work(None, kept.batch))
            await self.spool.forget(kept)
            self._resting.set()
            self.moved += 1

    async def drained(self) -> None:
        """Return once `drain`, which is told to stop, has finished what it was writing."""
        await self._resting.wait()

    def leave(self, session: Session) -> None:
        """Count what `session` still held when `intake` was cancelled; what comes again was never counted."""
        if not self._source.redelivers:
            self.counts.received += session.waiting
            self.counts.lost += session.waiting

    async def give_up_rest(self) -> None:
        """Keep what `write`, which has been cancelled, will not write, where there is a spool; count what is lost.

        Cancelled, since a disk may take too long, it counts as lost what may not be kept.
        """
        while not self._next.empty():
            self._left.append(self._next.get_nowait())
        if self._last is not None:
            self._left.append(self._last)
        try:
            while self._left:
                work = self._left[0]
                spool = None if self._comes_again(work.batch.events) else self.spool
                if spool is None or not await self._keep(work, spool):
                    self._give_up(work.batch)
                self._left.popleft()
        finally:
            for work in self._left:
                self._give_up(work.batch)

    @property
    def busy(self) -> bool:
        """Whether something waits to be written, or is being written."""
        return self._working or not self._next.empty() or self._spooling

    @property
    def _spooling(self) -> bool:
        return self.spool is not None and self.spool.holds

    async def _finish(self, work: _Work) -> None:
        while True:
            if self._is_void(work):
                # Not written yet, and delivered again: writing it now would make a duplicate.
                work.done = True
                self._give_up(work.batch)
                return
            if not self._spooling and await self._deliver(work):
                return
            if self.spool is not None and not self._is_void(work):
                if await self._keep(work, self.spool):
                    return
                await asyncio.sleep(_FULL_AGAIN_S)

    async def _deliver(self, work: _Work) -> bool:
        """Write and settle; return False if it is void by now, or is taking too long and the spool is there for it."""
        written = await self._write(work)
        if written is None:
            return False
        work.done = True
        assert work.counts is not None  # noqa: S101 - what is written was routed
        self._outlet.pressure.written(written)
        self._account(work.batch, work.counts, written)
        if work.session is not None:
            await work.session.acknowledge(work.batch.events)
        return True

    async def _keep(self, work: _Work, spool: Spool) -> bool:
        """Bring to the spool what is not written, and settle; return False if that can be tried again later."""
        events = work.batch.events
        parts = [part for part in work.batch.unsplit_parts() if part.written is None]
        for part in parts:
            part.assign_number()
        try:
            await spool.append(parts, durable=self._source.redelivers)
        except SpoolFull as error:
            suppressed = self._throttle.allow("spool.full", error.cause, count=len(events))
            if suppressed is not None:
                log.error("spool.full", source=self._source.name, cause=error.cause, repeated=suppressed)
            if self._source.redelivers or self.stopping:
                return False
            work.done = True
            self._give_up(work.batch)
        else:
            work.done = True
            self._account_parts(work.batch)
        if work.session is not None:
            await work.session.acknowledge(events)
        return True

    def _account(self, batch: Batch, counts: Counts, written: Written) -> None:
        counts.messages = written.messages
        counts.duplicates = written.duplicates
        counts.routed -= written.refused
        counts.dead_lettered += written.refused
        self.counts.add(counts)
        self._report_dead_letters(batch)

    def _account_parts(self, batch: Batch) -> None:
        """Count what was written of a batch whose rest was not, or went to the spool, where it is counted once it is."""
        for part in batch.unsplit_parts():
            if part.written is not None:
                self._account(part, _counts(part), part.written)

    def _give_up(self, batch: Batch) -> None:
        """Count what is not written: it comes again, or is lost."""
        self._account_parts(batch)
        events = sum(len(part.events) for part in batch.unsplit_parts() if part.written is None)
        self.counts.received += events
        if self._comes_again(batch.events):
            self.counts.returned += events
        else:
            self.counts.lost += events

    def _is_void(self, work: _Work) -> bool:
        return work.session is not None and work.session.ended and self._comes_again(work.batch.events)

    def _comes_again(self, events: list[Event]) -> bool:
        return self._source.redelivers and all(event.token is not None for event in events)

    async def _write(self, work: _Work) -> Written | None:
        """Write as soon as the sink takes it; return None if that has become void, or the spool has to take it."""
        if self.spool is None or work.session is None:
            return await self._attempt(work)
        try:
            async with asyncio.timeout(None) as limit:
                self._look_later(work, limit)
                return await self._attempt(work)
        except TimeoutError:
            return None
        finally:
            if self._timer is not None:
                self._timer.cancel()

    async def _attempt(self, work: _Work) -> Written | None:
        # At most 2 s, so that the bridge goes on soon after Redis does.
        backoff = Backoff(first_s=0.05, max_s=2.0)
        while True:
            try:
                if work.counts is None:
                    work.counts = await self._route_with_care(work.batch)
                await self._outlet.pressure.admit(self._name, work.batch.queues)
                # Only now: the session may have ended during a long wait.
                written = None if self._is_void(work) else await self._outlet.sink.write(work.batch)
                if written is None:
                    await self._outlet.sink.probe()  # who connects anew may wait until the sink is back
            except SinkUnavailable as error:
                wait = backoff.next(denied=error.denied)
                self._outlet.state.lost(self._name, error.cause, wait)
                if self.spool is not None and work.session is not None and self._should_leave(work, away=True):
                    return None
                await asyncio.sleep(wait)
            else:
                self._outlet.state.found(self._name)
                return written

    async def _route_with_care(self, batch: Batch) -> Counts:
        if PoisonGuard.has_redelivered(batch):
            return await self._suspicion.route(batch)
        return self._router.route(batch)

    def _look_later(self, work: _Work, limit: asyncio.Timeout) -> None:
        patience_s = _PATIENCE_WITH_BROKER_S if self._source.redelivers else _PATIENCE_S
        self._timer = asyncio.get_running_loop().call_later(patience_s, self._look, work, limit)

    def _look(self, work: _Work, limit: asyncio.Timeout) -> None:
        if self._should_leave(work):
            limit.reschedule(asyncio.get_running_loop().time())
        else:
            self._look_later(work, limit)

    def _should_leave(self, work: _Work, *, away: bool = False) -> bool:
        """Whether a write is not to be waited for: it is void, or for the spool."""
        assert work.session is not None  # noqa: S101 - only what was just delivered is left
        if self._comes_again(work.batch.events):
            return work.session.ended or work.session.full
        return away or work.session.full or self.stopping

    def _report_dead_letters(self, batch: Batch) -> None:
        for letter in batch.every_dead_letter():
            suppressed = self._throttle.allow(letter.route, letter.reason)
            if suppressed is not None:
                log.warning(
                    "event.dead_lettered",
                    source=self._source.name,
                    route=letter.route or None,
                    reason=letter.reason,
                    error=letter.detail,
                    topic=letter.event.topic,
                    repeated=suppressed,
                )


def _counts(part: Batch) -> Counts:
    """Return what `Router.route` has counted of the events of a half; dropped ones it can't tell from filtered ones."""
    received = len(part.events)
    dead = {owner for owner, _ in part.dead_letters}
    routed = {owner for column in part.queues.values() for owner in column.event_indexes} - dead
    filtered = received - len(dead) - len(routed)
    # What Redis has refused was to be a message then.
    return Counts(received, len(routed) + part.refused, filtered=filtered, dead_lettered=len(dead) - part.refused)
