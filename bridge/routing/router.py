"""The stage between a source and the sink: the events of a batch become its messages and dead letters."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import NoReturn

from bridge.config import SourceConfig
from bridge.errors import BadEvent
from bridge.model.batch import Batch, Column, DeadLetter
from bridge.model.event import Event
from bridge.model.message import MessageIds
from bridge.routing import decoding as codecs
from bridge.routing.decoding import Decode
from bridge.routing.deduplication import Deduplication
from bridge.routing.routes import ROUTE_ERRORS, Matches, Route, RouteTable


@dataclass(slots=True)
class Counts:
    """What has become of a source's events.

    received = routed + filtered + unmatched + dead_lettered + returned + lost, once nothing is in
    flight. `messages` were written; `unmatched` counts only what was dropped; `returned` went
    back to the broker unwritten; `lost` was not written either, and comes from nobody again;
    `duplicates` are those of the others that had been written before.
    """

    received: int = 0
    routed: int = 0
    filtered: int = 0
    unmatched: int = 0
    dead_lettered: int = 0
    returned: int = 0
    lost: int = 0
    messages: int = 0
    duplicates: int = 0

    def add(self, other: Counts) -> None:
        """Add the counts of `other`."""
        self.received += other.received
        self.routed += other.routed
        self.filtered += other.filtered
        self.unmatched += other.unmatched
        self.dead_lettered += other.dead_lettered
        self.returned += other.returned
        self.lost += other.lost
        self.messages += other.messages
        self.duplicates += other.duplicates


@dataclass(slots=True, eq=False)
class Router:
    """Routes the events of one source.

    Size check, decode, route, build every message: what would damage a worker ends here, as a
    dead letter, and the next event flows.
    """

    table: RouteTable
    decode: Decode
    max_body_bytes: int
    dead_letter_unmatched: bool
    deduplication: Deduplication | None = None

    def route(self, batch: Batch) -> Counts:  # noqa: C901, PLR0912 - one loop, in one place, since a call costs more than most of its lines
        """Add to `batch` what its events come to, and return their counts."""
        counts = Counts(received=len(batch.events))
        stamp = MessageIds(time.time_ns() // 1_000_000)
        # Locals, and no call that can be saved: this runs for every event.
        decode, max_body_bytes, deduplication = self.decode, self.max_body_bytes, self.deduplication
        topic: str | None = None
        matches: Matches = ()
        last: Route | None = None
        column = Column()
        filtered = 0
        for owner, event in enumerate(batch.events):
            if event.topic is not topic:  # most often it is the very same text as before
                topic = event.topic
                matches = self.table.matches(topic)
            if not matches:
                self._unmatched(batch, owner, event, counts)
                continue
            try:
                if event.defect or len(event.body) > max_body_bytes:
                    self._refuse(event)
                payload = decode(event)
            except BadEvent as error:
                batch.dead_letters.append((owner, DeadLetter(event, error.reason, error.detail)))
                counts.dead_lettered += 1
                self._identify(event)
                continue
            fits, failed = False, False
            for route, captures in matches:
                try:
                    message = route.run(event, payload, captures, stamp)
                except ROUTE_ERRORS as error:
                    bad = route.dead_letter_reason(error)
                    if bad is not None:
                        batch.dead_letters.append((owner, DeadLetter(event, bad.reason, bad.detail, route.name)))
                        failed = True
                    continue
                if message is not None:
                    fits = True
                    if route is not last:
                        last, column = route, batch.column(route.queue)
                    column.event_indexes.append(owner)
                    column.messages.append(message)
            if failed:
                counts.dead_lettered += 1
            elif not fits:
                filtered += 1
                continue
            if deduplication is not None:  # only of what is written: another event costs Redis no key
                deduplication.mark(event, payload)
        counts.filtered = filtered
        counts.routed = counts.received - counts.unmatched - counts.dead_lettered - filtered
        return counts

    def payload(self, event: Event) -> object:
        """Return the decoded body.

        Raises:
            BadEvent: it is too large, or not what `decode` says.
        """
        if event.defect or len(event.body) > self.max_body_bytes:
            self._refuse(event)
        return self.decode(event)

    def _refuse(self, event: Event) -> NoReturn:
        if event.defect:
            raise BadEvent("decode", event.defect)
        raise BadEvent("too-large", f"the body has {len(event.body)} bytes, max_body is {self.max_body_bytes}")

    def _unmatched(self, batch: Batch, owner: int, event: Event, counts: Counts) -> None:
        if self.dead_letter_unmatched:
            detail = f"no route's topic fits {event.topic[:200]!r}"
            batch.dead_letters.append((owner, DeadLetter(event, "unmatched", detail)))
            counts.dead_lettered += 1
            self._identify(event)
        else:
            counts.unmatched += 1

    def _identify(self, event: Event) -> None:
        """Mark what is a dead letter before any route: by whatever of it can be read."""
        if self.deduplication is None:
            return
        try:
            payload = self.payload(event)
        except BadEvent:
            payload = None
        self.deduplication.mark(event, payload, quiet=True)


def make(config: SourceConfig, table: RouteTable) -> Router:
    """Return the router of the source that `config` describes."""
    return Router(
        table=table,
        decode=codecs.decoder("json" if config.traits.presents_json(config) else config.decode),
        max_body_bytes=config.max_body,
        dead_letter_unmatched=config.dead_letter_unmatched,
        deduplication=table.deduplication,
    )
