"""The stage between a source and the sink: events become the entries of a batch."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, fields

from bridge import codecs
from bridge.batch import DeadLetter, Entry
from bridge.codecs import Decode
from bridge.config import SourceConfig
from bridge.errors import BadEvent
from bridge.event import Event
from bridge.routes import RouteTable, fire


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
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


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

    def route(self, events: Iterable[Event]) -> tuple[list[Entry], Counts]:
        """Return one entry per event, in order, and their counts; an entry may be empty (filtered, or dropped)."""
        now_ms = time.time_ns() // 1_000_000
        counts = Counts()
        entries = [self._entry(event, now_ms, counts) for event in events]
        counts.received = len(entries)
        return entries, counts

    def payload(self, event: Event) -> object:
        """Return the decoded body.

        Raises:
            BadEvent: it is too large, or not what `decode` says.
        """
        if event.defect:
            raise BadEvent("decode", event.defect)
        if len(event.body) > self.max_body_bytes:
            raise BadEvent("too-large", f"the body has {len(event.body)} bytes, max_body is {self.max_body_bytes}")
        return self.decode(event)

    def _entry(self, event: Event, now_ms: int, counts: Counts) -> Entry:
        entry = Entry(event)
        matches = self.table.matches(event.topic)
        if not matches:
            if self.dead_letter_unmatched:
                detail = f"no route's topic fits {event.topic[:200]!r}"
                entry.dead_letters.append(DeadLetter(event, "unmatched", detail))
                counts.dead_lettered += 1
            else:
                counts.unmatched += 1
            return entry
        try:
            payload = self.payload(event)
        except BadEvent as error:
            entry.dead_letters.append(DeadLetter(event, error.reason, error.detail))
            counts.dead_lettered += 1
            return entry
        for route, captures in matches:
            try:
                message = fire(route, captures, event, payload, now_ms)
                if message is not None:
                    entry.messages.append(message)
            except BadEvent as error:
                entry.dead_letters.append(DeadLetter(event, error.reason, error.detail, route.name))
        if entry.dead_letters:
            counts.dead_lettered += 1
        elif entry.messages:
            counts.routed += 1
        else:
            counts.filtered += 1
        return entry


def make(config: SourceConfig, table: RouteTable) -> Router:
    """Return the router of the source that `config` describes."""
    # An entry without a chosen field is presented as the JSON object of all its fields.
    whole_entry = config.type == "redis-stream" and config.field is None
    return Router(
        table=table,
        decode=codecs.decoder("json" if whole_entry else config.decode),
        max_body_bytes=config.max_body,
        dead_letter_unmatched=config.dead_letter_unmatched,
    )
