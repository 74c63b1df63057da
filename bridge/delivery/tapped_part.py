"""A part of a batch that has its outcome, as taps look at it: the class of each event, and its messages in Redis."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from bridge.delivery.left_out import LeftOut
from bridge.model.accounting import Outcome
from bridge.model.batch import Batch, DeadLetter
from bridge.model.repeats import written_letters
from bridge.routing.routes import RouteTable


@dataclass(eq=False)
class Part:
    """A batch that was written as one, or not at all; `table` has the routes of its source, None where there are none.

    `lines` are those that were made of it, by the event's position and by what a tap may see.
    """

    batch: Batch
    outcome: Outcome
    redelivers: bool
    table: RouteTable | None
    lines: dict[tuple[int, bool], bytes] = field(default_factory=dict)

    @cached_property
    def letters(self) -> dict[int, DeadLetter]:
        """The first dead letter of each event that has one, and that was not left out."""
        return dict(reversed(written_letters(self.batch)))

    def written_messages(self, index: int) -> Iterator[tuple[str, bytes]]:
        """Yield the queue and the body of each message of the event at `index` that is in Redis by this write."""
        is_written = self.batch.written is not None or self.outcome is Outcome.WRITTEN
        return self._messages(index) if is_written and index not in self.left_out.duplicates else iter(())

    @cached_property
    def left_out(self) -> LeftOut:
        """The messages that the write has left out, by event and route."""
        return LeftOut(self.batch)

    def _messages(self, index: int) -> Iterator[tuple[str, bytes]]:
        for number, (queue, column) in enumerate(self.batch.queues.items(), 1):
            indexes = column.event_indexes  # they ascend
            for place in range(bisect_left(indexes, index), len(indexes)):
                if indexes[place] != index:
                    break
                if (number, place) not in self.left_out.places:
                    yield queue, column.messages[place][1]

    @cached_property
    def _made(self) -> frozenset[int]:
        """The events of which the routes have made something, whether it was written or not."""
        columns = [column.event_indexes for column in self.batch.queues.values()]
        return frozenset().union(*columns, [index for index, _ in self.batch.dead_letters])

    def class_of(self, index: int) -> str:
        """Return the class of the event at `index`, by the word that the accounts have for it."""
        event = self.batch.events[index]
        if self.batch.written is None and self.outcome is not Outcome.WRITTEN:
            is_returned = self.outcome is Outcome.LOST and self.redelivers and event.token is not None
            return Outcome.RETURNED.value if is_returned else self.outcome.value
        if index in self.left_out.duplicates and index in self._made:
            return "deduplicated"
        has_messages = next(self._messages(index), None) is not None
        if index in self.letters:
            return "dead-lettered"
        if has_messages:
            return "enqueued"
        if index in self.batch.expired:
            return "expired"
        return "filtered" if self.table is None or self.table.matches(event.topic) else "unmatched"
