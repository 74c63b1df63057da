"""The accounts of one source: each event that it received is counted once, by its outcome."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from bridge.model.batch import Batch, Written
from bridge.model.event import Event


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
class Counts:
    """The fate of a source's events, in numbers.

    received = routed + filtered + unmatched + dead_lettered + returned + lost, once nothing is in
    flight. `unmatched` counts dropped events only: an unmatched event that became a dead letter is in
    `dead_lettered`. `returned` events were not written, and their broker redelivers them. `lost` events
    were not written, and nobody redelivers them. `messages` counts written messages.
    `duplicates` counts events, each already in one of the numbers above, that had been written before.
    `trimmed` counts dead letters, of any source, that made room for newer ones of this source or were too old.
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
    trimmed: int = 0

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
        self.trimmed += other.trimmed


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
        """Count the events of `batch` by its outcome; `routed` is what `Router.route` returned for it."""
        if outcome is Outcome.WRITTEN and routed is not None and batch.written is not None:
            self._add_written(routed, batch.written)
            return
        for part in batch.unsplit_parts():
            if part.written is not None:
                self._add_written(_count_routed(part), part.written)
            elif outcome is not Outcome.SPOOLED:
                self._add_unwritten(part.events, outcome)

    def record_discarded(self, events: int) -> None:
        """Count events that were never routed: a session ended with them, or the spool has lost them."""
        self.counts.received += events
        self.counts.lost += events

    def _add_written(self, counts: Counts, written: Written) -> None:
        counts.messages = written.messages
        counts.duplicates = written.duplicates
        counts.trimmed = written.trimmed.counted
        counts.routed -= written.refused
        counts.dead_lettered += written.refused
        self.counts.add(counts)

    def _add_unwritten(self, events: Sequence[Event], outcome: Outcome) -> None:
        returned = len(events)
        if outcome is Outcome.LOST:
            returned = sum(event.token is not None for event in events) if self.redelivers else 0
        self.counts.received += len(events)
        self.counts.returned += returned
        self.counts.lost += len(events) - returned


def _count_routed(part: Batch) -> Counts:
    """Return the counts that `Router.route` had for a part of a split batch; it can't tell dropped events from filtered ones."""
    received = len(part.events)
    dead = {event_index for event_index, _ in part.dead_letters}
    routed = {event_index for column in part.queues.values() for event_index in column.event_indexes} - dead
    filtered = received - len(dead) - len(routed)
    # An event that Redis refused was routed: the refusal made a dead letter of it later.
    refused = len(part.refused)
    return Counts(received, len(routed) + refused, filtered=filtered, dead_lettered=len(dead) - refused)
