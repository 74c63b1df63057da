"""The dispatcher of one source: receive -> route -> write -> settle.

Two tasks with a place for one batch between them: while a batch is being written, the next one is
routed, and what arrives meanwhile is the one after. Batches are written and settled in the order
received, and an event is settled only after the write that holds all its messages is confirmed.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from bridge.backoff import Backoff
from bridge.batch import Batch, Writer, Written
from bridge.errors import SinkUnavailable
from bridge.event import Event
from bridge.observe.logs import Repeats, logger
from bridge.router import Counts, Router
from bridge.sources.session import Session, Source

log = logger()


class Sink(Protocol):
    """Where batches are written."""

    async def write(self, batch: Batch) -> Written:
        """Write everything, or raise SinkUnavailable; safe to call again with the same batch."""
        ...


class SinkState:
    """Whether the sink takes writes, as its writers see it: said when it changes, and now and then while it lasts."""

    def __init__(self) -> None:
        self._failing: set[str] = set()
        self._repeats = Repeats()

    def lost(self, who: str, cause: str, retry_in_s: float) -> None:
        """A write of `who` has failed; the next attempt follows after `retry_in_s`."""
        left_out = self._repeats.allow("lost", cause)
        if left_out is not None:
            log.error("sink.unavailable", cause=cause, retry_in=round(retry_in_s, 2), repeated=left_out)
        self._failing.add(who)

    def found(self, who: str) -> None:
        """A write of `who` has succeeded; the sink has recovered once everybody's has."""
        if who in self._failing:
            self._failing.remove(who)
            if not self._failing:
                self._repeats = Repeats()
                log.info("sink.recovered")


@dataclass(slots=True, eq=False)
class _Work:
    session: Session
    batch: Batch
    counts: Counts


class Dispatcher:
    """Moves the events of `source` into the sink; `counts` tells what has become of them."""

    def __init__(self, source: Source, router: Router, sink: Sink, state: SinkState) -> None:
        self.counts = Counts()
        self._source = source
        self._router = router
        self._sink = sink
        self._state = state
        self._next: asyncio.Queue[_Work] = asyncio.Queue(maxsize=1)
        self._writer = Writer()
        self._repeats = Repeats()

    async def intake(self, session: Session) -> None:
        """Receive and route until the session is paused and everything it delivered is settled.

        Raises:
            Disconnected: the session has ended; what it delivered goes on to be written.
        """
        while events := await session.receive():
            batch = Batch(events, self._writer)
            counts = self._router.route(batch)
            try:
                await self._next.put(_Work(session, batch, counts))
            except asyncio.CancelledError:
                self._give_up(events)
                raise
        await self.idle()

    async def idle(self) -> None:
        """Return once everything that was received is written and settled."""
        await self._next.join()

    async def write(self) -> None:
        """Write and settle what `intake` hands over, for ever; cancelled, count what is left unwritten."""
        while True:
            work = await self._next.get()
            events = work.batch.events
            try:
                if work.session.ended and self._comes_again(events):
                    # Not written yet, and delivered again: writing it now would make a duplicate.
                    self._give_up(events)
                    continue
                try:
                    written = await self._write(work.batch)
                except asyncio.CancelledError:
                    self._give_up(events)
                    raise
                work.counts.messages = written.messages
                work.counts.duplicates = written.duplicates
                work.counts.routed -= written.refused
                work.counts.dead_lettered += written.refused
                self.counts.add(work.counts)
                self._report_dead_letters(work)
                await work.session.settle(events)
            finally:
                self._next.task_done()

    def leave(self, session: Session) -> None:
        """Count what `session` still held when `intake` was cancelled; what comes again was never counted."""
        if not self._source.redelivers:
            self.counts.received += session.waiting
            self.counts.lost += session.waiting

    def give_up_rest(self) -> None:
        """Count what `intake` handed over and `write`, which has been cancelled, will not write."""
        while not self._next.empty():
            self._give_up(self._next.get_nowait().batch.events)

    def _give_up(self, events: list[Event]) -> None:
        self.counts.received += len(events)
        if self._comes_again(events):
            self.counts.returned += len(events)
        else:
            self.counts.lost += len(events)

    def _comes_again(self, events: list[Event]) -> bool:
        return self._source.redelivers and all(event.token is not None for event in events)

    async def _write(self, batch: Batch) -> Written:
        # At most 2 s, so that the bridge goes on soon after Redis does.
        backoff = Backoff(first_s=0.05, most_s=2.0)
        while True:
            try:
                written = await self._sink.write(batch)
            except SinkUnavailable as error:
                wait = backoff.next()
                self._state.lost(self._source.name, error.cause, wait)
                await asyncio.sleep(wait)
            else:
                self._state.found(self._source.name)
                return written

    def _report_dead_letters(self, work: _Work) -> None:
        for letter in work.batch.every_dead_letter():
            left_out = self._repeats.allow(letter.route, letter.reason)
            if left_out is not None:
                log.warning(
                    "event.dead_lettered",
                    source=self._source.name,
                    route=letter.route or None,
                    reason=letter.reason,
                    error=letter.detail,
                    topic=letter.event.topic,
                    repeated=left_out,
                )
