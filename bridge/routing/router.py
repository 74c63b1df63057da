"""The stage between a source and the sink: the router turns a batch's events into messages and dead letters."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import NoReturn

from bridge.config import SourceConfig
from bridge.errors import BadEvent, DeadLetterReason
from bridge.model.accounting import Counts
from bridge.model.batch import Batch, Column, DeadLetter
from bridge.model.event import Event
from bridge.model.message import MessageIds
from bridge.routing import decoding
from bridge.routing.decoding import Decode
from bridge.routing.deduplication import Deduplication
from bridge.routing.routes import ROUTE_ERRORS, Matches, Route, RouteTable


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

    def route(self, batch: Batch) -> Counts:  # noqa: C901, PLR0912 - one loop without helpers: a call costs more than most of its lines
        """Add the messages and dead letters of `batch.events` to `batch`, and return the events' counts."""
        counts = Counts(received=len(batch.events))
        ids = MessageIds(time.time_ns() // 1_000_000)
        # This runs for every event: attributes become locals, and no call is made that can be avoided.
        decode, max_body_bytes, deduplication = self.decode, self.max_body_bytes, self.deduplication
        topic: str | None = None
        matches: Matches = ()
        last_route: Route | None = None
        column = Column()
        filtered = 0
        for index, event in enumerate(batch.events):
            if event.topic is not topic:  # mostly the same string object as the event before
                topic = event.topic
                matches = self.table.matches(topic)
            if not matches:
                self._count_unmatched(batch, index, event, counts)
                continue
            try:
                if event.defect or len(event.body) > max_body_bytes or event.skipped:
                    self._refuse(event)
                payload = decode(event)
            except BadEvent as error:
                batch.dead_letters.append((index, self.dead_letter(event, error.reason, error.detail)))
                counts.dead_lettered += 1
                continue
            fits, failed = False, False
            for route, captures in matches:
                try:
                    message = route.run(event, payload, captures, ids)
                except ROUTE_ERRORS as error:
                    cause = route.dead_letter_reason(error)
                    if cause is not None:
                        batch.dead_letters.append((index, DeadLetter(event, cause.reason, cause.detail, route.name)))
                        failed = True
                    continue
                if message is not None:
                    fits = True
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
        if event.defect or len(event.body) > self.max_body_bytes or event.skipped:
            self._refuse(event)
        return self.decode(event)

    def dead_letter(self, event: Event, reason: DeadLetterReason, detail: str) -> DeadLetter:
        """Return the dead letter of an event that failed before any route."""
        is_body_usable = len(event.body) <= self.max_body_bytes and not event.skipped
        return DeadLetter(event, reason, detail, is_body_usable=is_body_usable)

    def _refuse(self, event: Event) -> NoReturn:
        if event.defect:
            raise BadEvent("decode", event.defect)
        size = len(event.body) + event.skipped
        raise BadEvent("too-large", f"the body has {size} bytes, max_body is {self.max_body_bytes}")

    def _count_unmatched(self, batch: Batch, index: int, event: Event, counts: Counts) -> None:
        if self.dead_letter_unmatched:
            detail = f"no route's topic fits {event.topic[:200]!r}"
            batch.dead_letters.append((index, self.dead_letter(event, "unmatched", detail)))
            counts.dead_lettered += 1
        else:
            counts.unmatched += 1


def make(config: SourceConfig, table: RouteTable) -> Router:
    """Return the router of the source that `config` describes."""
    return Router(
        table=table,
        decode=decoding.decoder("json" if config.traits.presents_json(config) else config.decode),
        max_body_bytes=config.max_body,
        dead_letter_unmatched=config.dead_letter_unmatched,
        deduplication=table.deduplication,
    )
