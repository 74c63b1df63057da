"""The accounts of one source: each event that it received is counted once, by its outcome."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from bridge.errors import DeadLetterReason
from bridge.model.batch import Batch, DeadLetter, Written
from bridge.model.event import Event
from bridge.model.repeats import repeated_messages, written_letters

#: What was done to a body before it could be read (see `bridge.routing.repair`).
Repair = Literal["bom", "charset", "lenient", "empty", "compressed"]


class Outcome(enum.Enum):
    """The fate of a batch. It decides whether the batch is acknowledged, and how its events are counted."""

    #: Redis has confirmed the write. Acknowledge; count as routing and Redis said.
    WRITTEN = "written"
    #: The disk holds it. Acknowledge; count once it is replayed.
    SPOOLED = "spooled"
    #: Its session has ended, or a stop cut it short, and the broker redelivers all of it. Do not acknowledge; count as
    #: returned.
    RETURNED = "returned"
    #: There is no room for it, or no time left at a stop. Acknowledge, which frees the window; count as lost. An event
    #: that the broker redelivers is neither acknowledged nor lost: it is returned.
    LOST = "lost"


@dataclass(slots=True)
class Missed:
    """The events that a source never saw, as far as it knows: they have no outcome, and no account has them.

    `events` were deleted by their server before they were read, at most so many. `gaps` are stretches of time of whose events
    nobody knows the number.
    """

    events: int = 0
    gaps: int = 0

    def add(self, other: Missed) -> None:
        """Add those of `other`."""
        self.events += other.events
        self.gaps += other.gaps


@dataclass(slots=True)
class RouteCounts:
    """The events that came to one route, in numbers.

    The route made messages of those that `matched`, and a dead letter of those that are `dead_lettered`. Its `when` was
    false for those that are `filtered`, and the time of those that are `expired` was up. An event may come to several
    routes. `deduplicated` counts messages of the events that `matched`: they were not written, since their own key was
    there.
    """

    matched: int = 0
    filtered: int = 0
    dead_lettered: int = 0
    expired: int = 0
    deduplicated: int = 0

    @property
    def came(self) -> int:
        """The number of all events."""
        return self.matched + self.filtered + self.dead_lettered + self.expired

    def add(self, other: RouteCounts) -> None:
        """Add the counts of `other`."""
        self.matched += other.matched
        self.filtered += other.filtered
        self.dead_lettered += other.dead_lettered
        self.expired += other.expired
        self.deduplicated += other.deduplicated


@dataclass(slots=True)
class Counts:
    """The fate of a source's events, in numbers.

    Events are `received` from the broker, or `recovered` from the spool of an earlier run. Each gets exactly one class:
    `returned` (not written, and its broker redelivers it) or `lost` (not written, and nobody redelivers it); or the
    first that fits of `dead_lettered` (a route failed, or it could be given to none), `enqueued` (at least one message
    of it was written), `deduplicated` (everything of it had been written before, or had a key that was there),
    `expired` (its time was up), `filtered` (routes had its topic, and no `when` was true), or `unmatched` (no route had
    its topic, and it was dropped). So `came` = `settled` + the events in flight + those in the spool, at every moment.

    `messages` counts written messages. `trimmed` counts dead letters, of any source, that made room for newer ones of
    this source or were too old. `invalid_traces` counts events whose trace was malformed, or a part of it, and left
    out: whatever their class is; not those of a batch that was written in parts. `reasons` divides `dead_lettered`; an
    event with several dead letters counts by the first. `routes` has the routes by name, as far as events came to them.
    `repaired` has the repairs of bodies, whatever the events' class is; not those of a batch that was written in parts.
    None of the three is compared.
    """

    received: int = 0
    recovered: int = 0
    enqueued: int = 0
    filtered: int = 0
    unmatched: int = 0
    deduplicated: int = 0
    expired: int = 0
    dead_lettered: int = 0
    returned: int = 0
    lost: int = 0
    messages: int = 0
    trimmed: int = 0
    invalid_traces: int = 0
    reasons: dict[DeadLetterReason, int] = field(default_factory=dict, compare=False)
    routes: dict[str, RouteCounts] = field(default_factory=dict, compare=False)
    repaired: dict[Repair, int] = field(default_factory=dict, compare=False)

    @property
    def came(self) -> int:
        """The number of all events."""
        return self.received + self.recovered

    @property
    def settled(self) -> int:
        """The number of the events that have their class."""
        dropped = self.filtered + self.unmatched + self.deduplicated + self.expired
        return self.enqueued + dropped + self.dead_lettered + self.returned + self.lost

    def route(self, name: str) -> RouteCounts:
        """Return the counts of a route, to add to."""
        counts = self.routes.get(name)
        if counts is None:
            counts = self.routes[name] = RouteCounts()
        return counts

    def count_dead_lettered(self, reason: DeadLetterReason, events: int = 1) -> None:
        """Count events that became dead letters."""
        self.dead_lettered += events
        self.reasons[reason] = self.reasons.get(reason, 0) + events

    def add(self, other: Counts) -> None:
        """Add the counts of `other`."""
        self.received += other.received
        self.recovered += other.recovered
        self.enqueued += other.enqueued
        self.filtered += other.filtered
        self.unmatched += other.unmatched
        self.deduplicated += other.deduplicated
        self.expired += other.expired
        self.dead_lettered += other.dead_lettered
        self.returned += other.returned
        self.lost += other.lost
        self.messages += other.messages
        self.trimmed += other.trimmed
        self.invalid_traces += other.invalid_traces
        for reason, count in other.reasons.items():
            self.reasons[reason] = self.reasons.get(reason, 0) + count
        for repair, count in other.repaired.items():
            self.repaired[repair] = self.repaired.get(repair, 0) + count
        for name, counts in other.routes.items():
            self.route(name).add(counts)


class Accounts:
    """Adds up the counts of one source: the only place that does.

    `redelivers` says whether the source's broker redelivers events that were not acknowledged; a connection may bring the
    news that it does not. An event without a token (MQTT at QoS 0) comes only once, whatever its source does.
    """

    def __init__(self, *, redelivers: bool) -> None:
        self.counts = Counts()
        self.redelivers = redelivers

    def are_redelivered(self, events: Sequence[Event]) -> bool:
        """Whether the broker redelivers all of `events` unless they are acknowledged."""
        return self.redelivers and all(event.token is not None for event in events)

    def record(self, batch: Batch, routed: Counts | None, outcome: Outcome) -> None:
        """Give the events of `batch` their class by its outcome; `routed` is what `Router.route` returned for it.

        They were counted as received, or recovered, before. Spooled ones get their class once they are replayed.
        """
        if outcome is Outcome.WRITTEN and routed is not None:
            routed.received = 0
            self.counts.add(routed)
            for part in batch.unsplit_parts():
                if part.written is not None:
                    self._add_written(part, part.written)
            return
        for part in batch.unsplit_parts():
            if part.written is not None:
                self.counts.add(_count_routed(part))
                self._add_written(part, part.written)
            elif outcome is not Outcome.SPOOLED:
                self._add_unwritten(part.events, outcome)

    def receive(self, events: int, *, returned: int = 0, lost: int = 0) -> None:
        """Count the events that came from the broker; of those so many were never handed over: returned, or lost."""
        self.counts.received += events
        self.counts.returned += returned
        self.counts.lost += lost

    def recover(self, events: int) -> None:
        """Count the events of an earlier run in the spool."""
        self.counts.recovered += events

    def lose_spooled(self, events: int) -> None:
        """Count events that the spool has lost."""
        self.counts.lost += events

    def _add_written(self, part: Batch, written: Written) -> None:
        """Add what Redis said of a part, and correct the classes that routing gave its events."""
        counts = self.counts
        counts.messages += written.messages
        counts.trimmed += written.trimmed.counted
        reasons = _reasons(part) if part.refused or written.duplicates else {}
        if part.refused:
            # Some were dead letters before, for another reason.
            before = _letters(part.dead_letters)
            counts.enqueued -= len(part.refused) - len(before.keys() & set(part.refused))
            for event_index in part.refused:
                if event_index in before:
                    counts.count_dead_lettered(before[event_index], -1)
            counts.count_dead_lettered("refused-by-redis", len(part.refused))
        if written.duplicates:
            enqueued = _enqueued(part)
            for event_index in written.duplicate_indexes:
                if event_index in reasons:
                    counts.count_dead_lettered(reasons[event_index], -1)
                elif event_index in enqueued:
                    counts.enqueued -= 1
                else:
                    continue  # it was filtered, expired, or dropped, as it was before
                counts.deduplicated += 1
        if written.suppressed or written.duplicates or written.left_out:
            self._add_left_out(part, written)

    def _add_left_out(self, part: Batch, written: Written) -> None:
        """Add the messages that were left out; an event is no dead letter if that is left out, and something was written."""
        for message in written.suppressed:
            self.counts.route(message.gate.rule.route).deduplicated += 1
        for *_, route in repeated_messages(part):
            self.counts.route(route).deduplicated += 1
        before, after = _letters(part.dead_letters), _letters(written_letters(part))
        for index in before.keys() & {index for index, _ in written.left_out} - {*part.refused}:
            self.counts.count_dead_lettered(before[index], -1)
            if index in after:
                self.counts.count_dead_lettered(after[index])
            else:
                self.counts.enqueued += 1

    def _add_unwritten(self, events: Sequence[Event], outcome: Outcome) -> None:
        returned = len(events)
        if outcome is Outcome.LOST:
            returned = sum(event.token is not None for event in events) if self.redelivers else 0
        self.counts.returned += returned
        self.counts.lost += len(events) - returned


def _count_routed(part: Batch) -> Counts:
    """Return the counts that `Router.route` had for a part of a split batch.

    It can't tell dropped events from filtered ones, and does not know the routes.
    """
    counts = Counts()
    # Redis has refused some of those that were enqueued, or dead letters before: see `_add_written`.
    letters = _letters(part.dead_letters)
    for reason in letters.values():
        counts.count_dead_lettered(reason)
    counts.enqueued = len(_enqueued(part).union(part.refused) - letters.keys())
    counts.expired = len(part.expired)
    counts.filtered = len(part.events) - counts.settled
    return counts


def _enqueued(part: Batch) -> set[int]:
    """Return the positions of the events that have a message."""
    return {event_index for column in part.queues.values() for event_index in column.event_indexes}


def _letters(letters: Sequence[tuple[int, DeadLetter]]) -> dict[int, DeadLetterReason]:
    """Return the first reason of each event that was a dead letter before Redis has refused a message."""
    return {index: letter.reason for index, letter in reversed(letters) if letter.reason != "refused-by-redis"}


def _reasons(part: Batch) -> dict[int, DeadLetterReason]:
    """Return the first reason of each event that has a dead letter; the refusal by Redis where that is one."""
    return _letters(part.dead_letters) | dict.fromkeys(part.refused, "refused-by-redis")
