"""The stage between a source and the sink: the router turns a batch's events into messages and dead letters."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Final

from bridge.config import SourceConfig
from bridge.errors import BadEvent, DeadLetterReason
from bridge.model.accounting import Counts
from bridge.model.batch import MAX_BATCH_BYTES, MAX_BATCH_DEAD_LETTERS, Batch, Column, DeadLetter
from bridge.model.event import Event
from bridge.model.message import FREE_MESSAGE_BYTES, MessageIds, check_growth
from bridge.routing import decoding
from bridge.routing.decoding import Decode
from bridge.routing.deduplication import Deduplication
from bridge.routing.routes import ROUTE_ERRORS, Matches, Route, RouteTable

#: A batch ends after this time of routing, so that no source waits long for its turn. The clock is asked only at bodies
#: that can take milliseconds: 1,000 smaller ones take 20 ms at the worst.
_MAX_ROUTING_S: Final = 0.025
_LARGE_BODY: Final = 4096


@dataclass(slots=True, eq=False)
class Router:
    """Routes the events of one source: size check, decode, match the topic, build every message.

    An event that would damage a Dramatiq worker becomes a dead letter here, and the next event flows.
    """

    table: RouteTable
    decode: Decode
    max_body_bytes: int
    dead_letter_unmatched: bool
    deduplication: Deduplication | None = None

    def route(self, batch: Batch) -> Counts:  # noqa: C901, PLR0912, PLR0915 - one loop without helpers: a call costs more than most of its lines
        """Add the messages and dead letters of `batch.events` to `batch`, and return the events' counts.

        Once these fill a batch, the events behind are left: `Counts.received` says how many were routed, at least one.
        """
        counts = Counts(received=len(batch.events))
        ids = MessageIds(time.time_ns() // 1_000_000)
        # This runs for every event: attributes become locals, and no call is made that can be avoided.
        decode, deduplication = self.decode, self.deduplication
        unexamined_bytes = min(_LARGE_BODY, self.max_body_bytes)
        topic: str | None = None
        matches: Matches = ()
        last_route: Route | None = None
        column = Column()
        filtered = 0
        # A batch with a number is cut at the same place after a crash.
        room, end = MAX_BATCH_BYTES, time.monotonic() + _MAX_ROUTING_S if batch.number is None else math.inf
        for index, event in enumerate(batch.events):
            if room <= 0:
                counts.received = index
                break
            if event.topic is not topic:  # mostly the same string object as the event before
                topic = event.topic
                matches = self.table.matches(topic)
            if not matches:
                room = self._count_unmatched(batch, index, event, counts, room)
                continue
            try:
                if event.defect or len(event.body) > unexamined_bytes:
                    self._refuse_unusable(event)
                    if time.monotonic() > end:
                        room = 0  # this event is the batch's last
                payload = decode(event)
            except BadEvent as error:
                room = _add_dead_letter(batch, index, self.dead_letter(event, error.reason, error.detail), room)
                counts.dead_lettered += 1
                continue
            fits, failed = False, False
            for route, captures in matches:
                try:
                    message = route.run(event, payload, captures, ids)
                    if message is None:
                        continue
                    size = len(message[1])
                    if size > FREE_MESSAGE_BYTES:
                        check_growth(size, event.size)
                except ROUTE_ERRORS as error:
                    cause = route.dead_letter_reason(error)
                    if cause is not None:
                        letter = DeadLetter(event, cause.reason, cause.detail, route.name)
                        room = _add_dead_letter(batch, index, letter, room)
                        failed = True
                    continue
                fits = True
                room -= size
                if route is not last_route:
                    last_route, column = route, batch.column(route.queue)
                column.event_indexes.append(index)
                column.messages.append(message)
                if deduplication is not None:
                    column.routes.append(route.name)
            if failed:
                counts.dead_lettered += 1
            elif not fits:
                filtered += 1
                continue
            if deduplication is not None:  # filtered and dropped events cost Redis no key
                deduplication.mark(event, payload)
        counts.filtered = filtered
        counts.routed = counts.received - counts.unmatched - counts.dead_lettered - filtered
        return counts

    def payload(self, event: Event) -> object:
        """Return the decoded body.

        Raises:
            BadEvent: the body is too large, or not of the format that `decode` names.
        """
        self._refuse_unusable(event)
        return self.decode(event)

    def dead_letter(self, event: Event, reason: DeadLetterReason, detail: str) -> DeadLetter:
        """Return the dead letter of an event that failed before any route."""
        return DeadLetter(event, reason, detail, is_body_usable=event.body_size <= self.max_body_bytes)

    def _refuse_unusable(self, event: Event) -> None:
        if event.body_size > self.max_body_bytes:
            raise BadEvent("too-large", f"the body has {event.body_size} bytes, max_body is {self.max_body_bytes}")
        if event.defect:
            raise BadEvent("decode", event.defect)

    def _count_unmatched(self, batch: Batch, index: int, event: Event, counts: Counts, room: int) -> int:
        if not self.dead_letter_unmatched:
            counts.unmatched += 1
            return room
        counts.dead_lettered += 1
        detail = f"no route's topic fits {event.topic[:200]!r}"
        return _add_dead_letter(batch, index, self.dead_letter(event, "unmatched", detail), room)


def _add_dead_letter(batch: Batch, index: int, letter: DeadLetter, room: int) -> int:
    """Add the dead letter of the event at `index`; return how many of the `room` bytes are left, 0 if the batch is full."""
    batch.dead_letters.append((index, letter))
    return room - letter.event.size if len(batch.dead_letters) < MAX_BATCH_DEAD_LETTERS else 0


def make(config: SourceConfig, table: RouteTable) -> Router:
    """Return the router of the source that `config` describes."""
    return Router(
        table=table,
        decode=decoding.decoder("json" if config.traits.presents_json(config) else config.decode),
        max_body_bytes=config.max_body,
        dead_letter_unmatched=config.dead_letter_unmatched,
        deduplication=table.deduplication,
    )
