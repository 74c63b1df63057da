"""The batch: what one write holds, all of it or nothing."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from bridge.model.event import Event
from bridge.model.message import Message


@dataclass(slots=True, frozen=True, eq=False)
class DeadLetter:
    """An event that will never become the message it was meant to be, and why.

    `route` is empty where the event never reached one. `reason` is a constant for machines
    (`decode`, `too-large`, `missing-field`, `wrong-type`, `not-json`, `option`, `unmatched`,
    `refused-by-redis`), `detail` a sentence for people.
    """

    event: Event
    reason: str
    detail: str
    route: str = ""


@dataclass(slots=True, eq=False)
class Column:
    """The messages for one queue, in the order of the events: each one's redis_message_id and body, and its event.

    `event_indexes` are positions in the batch's `events`; an event can own several messages, or none.
    """

    event_indexes: list[int] = field(default_factory=list)
    messages: list[tuple[bytes, bytes]] = field(default_factory=list)

    def part(self, start: int, stop: int) -> Column:
        """Return the messages of the events from `start` to `stop`, who then count from 0."""
        chosen = [place for place, owner in enumerate(self.event_indexes) if start <= owner < stop]
        return Column(
            [self.event_indexes[place] - start for place in chosen],
            [self.messages[place] for place in chosen],
        )


@dataclass(slots=True, eq=False)
class BatchSequence:
    """Who writes batches, strictly one after another; Redis remembers the number of the last one under this name.

    An attempt that Redis reads late, when a later batch has been written already (a closed
    connection's data can arrive minutes after), has a smaller number and writes nothing. The batch itself
    has been written then, since its number came first: so a number is never given to other events again, and a
    writer that outlives its process is made anew with the `last` number that it may have used.
    """

    name: str = field(default_factory=lambda: secrets.token_hex(8))
    last: int = 0

    def next(self) -> int:
        """Return the number of the batch that is written now."""
        self.last += 1
        return self.last


@dataclass(slots=True, eq=False)
class Batch:
    """The events of one write, in the order received, and what they have come to.

    `queues` holds the messages by queue, `dead_letters` each with the position of its event; an event may have
    come to nothing (filtered, or dropped). Columns, and no object per event: this is the hot path.

    `number` stays with the batch through every attempt, so that a write whose reply was lost is not done twice, nor
    one that is tried again after a crash. `halves` is set once Redis has refused the whole for good;
    `written`, once the write is confirmed, so that a half that waits for the other is not written
    again even after Redis has forgotten its number. `refused` is 1 where the one event of the batch
    was to be a message and has become a dead letter.
    """

    events: list[Event]
    sequence: BatchSequence = field(default_factory=BatchSequence)
    queues: dict[str, Column] = field(default_factory=dict)
    dead_letters: list[tuple[int, DeadLetter]] = field(default_factory=list)
    number: int | None = None
    halves: tuple[Batch, Batch] | None = None
    written: Written | None = None
    refused: int = 0

    def column(self, queue: str) -> Column:
        """Return the messages for `queue`, to add to."""
        found = self.queues.get(queue)
        if found is None:
            found = self.queues[queue] = Column()
        return found

    def add(self, owner: int, messages: Iterable[Message]) -> None:
        """Add the messages of the event at the position `owner`, behind those of earlier ones."""
        for message in messages:
            column = self.column(message.queue)
            column.event_indexes.append(owner)
            column.messages.append((message.id, message.body))

    def extend(self, other: Batch) -> None:
        """Add the events of `other`, which is not numbered, and what they come to, behind these."""
        start = len(self.events)
        self.events.extend(other.events)
        for queue, theirs in other.queues.items():
            ours = self.column(queue)
            ours.event_indexes += [start + owner for owner in theirs.event_indexes]
            ours.messages += theirs.messages
        self.dead_letters += [(start + owner, letter) for owner, letter in other.dead_letters]

    def every_dead_letter(self) -> Iterator[DeadLetter]:
        """Return the dead letters, those of refused events in its halves included."""
        for part in self.halves or ():
            yield from part.every_dead_letter()
        if self.halves is None:
            for _, letter in self.dead_letters:
                yield letter

    def unsplit_parts(self) -> Iterator[Batch]:
        """Return the batches that are written each by itself: this one, or what it was halved into."""
        if self.halves is None:
            yield self
        else:
            for half in self.halves:
                yield from half.unsplit_parts()

    def assign_number(self) -> int:
        """Return the number, which is the writer's next where there is none yet."""
        if self.number is None:
            self.number = self.sequence.next()
        self.sequence.last = max(self.sequence.last, self.number)
        return self.number

    def split(self) -> tuple[Batch, Batch]:
        """Return the two halves of the events, each with what it comes to.

        Each has a writer of its own, named after this batch: the same after a crash between the two, which then writes
        only the second, while Redis has this batch's number only where it took the whole.
        """
        middle = len(self.events) // 2
        return self._part("a", 0, middle), self._part("b", middle, len(self.events))

    def _part(self, half: str, start: int, stop: int) -> Batch:
        queues = {queue: column.part(start, stop) for queue, column in self.queues.items()}
        return Batch(
            self.events[start:stop],
            BatchSequence(f"{self.sequence.name}:{self.assign_number()}{half}"),
            {queue: column for queue, column in queues.items() if column.event_indexes},
            [(owner - start, letter) for owner, letter in self.dead_letters if start <= owner < stop],
        )


@dataclass(slots=True, frozen=True)
class Written:
    """What a confirmed write did.

    `messages` were written, `duplicates` are events that had been written before, `refused` those
    that Redis will never take: they became dead letters. `lengths` are those of the queues' lists right after it, 0
    where nothing was pushed; `size` is what was sent, in bytes.
    """

    messages: int
    duplicates: int
    refused: int = 0
    lengths: dict[str, int] = field(default_factory=dict, compare=False)
    size: int = field(default=0, compare=False)
