"""The batch: the events of one write, which Redis takes whole or not at all."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final, NamedTuple, Protocol

from bridge.errors import DeadLetterReason
from bridge.model.column import Column, GatedMessage
from bridge.model.event import Event
from bridge.model.message import Message

#: The bounds of one batch, so that no single write keeps Redis busy for long: of its events when they are received, and
#: of the messages and dead letters that they become. A larger event is a batch of its own.
MAX_BATCH_EVENTS: Final = 1000
MAX_BATCH_BYTES: Final = 4 * 1024 * 1024
#: A dead letter costs several times as much as a message: other sources do not wait for a thousand of them.
MAX_BATCH_DEAD_LETTERS: Final = 100


class OpenSpan(Protocol):
    """The span of an event's write: it ends once the event has its outcome."""

    def end(self, outcome: str) -> None:
        """End it; `outcome` is that of the batch."""
        ...


@dataclass(slots=True, frozen=True, eq=False)
class DeadLetter:
    """An event that can never become its message, and why.

    `reason` is for machines, `detail` a sentence for people. `route` is empty if the event failed before any route.
    `is_body_usable` is False if the body is larger than the source's `max_body`: no retry could use it.
    """

    event: Event
    reason: DeadLetterReason
    detail: str
    route: str = ""
    is_body_usable: bool = True


@dataclass(slots=True, eq=False)
class BatchSequence:
    """Numbers batches that are written strictly one after another, as Kafka's idempotent producer does.

    Redis remembers under `name` the number of the last batch written. A smaller number than that means "already
    written": an attempt whose data Redis reads late (those of a closed connection can arrive minutes after) writes
    nothing. Therefore no number is ever given to other events: a sequence that continues after a restart starts with
    the `last` number that it may have used.
    """

    name: str = field(default_factory=lambda: secrets.token_hex(8))
    last: int = 0

    def next(self) -> int:
        """Return the number of the next batch."""
        self.last += 1
        return self.last


@dataclass(slots=True, eq=False)
class Batch:
    """The events of one write, in the order received, with their messages and dead letters.

    `queues` holds the messages by queue, `dead_letters` each with the position of its event. An event may have
    neither (filtered, or dropped). Columns instead of an object per event: this is the hot path.

    `number` stays with the batch through every attempt, so that a write whose reply was lost is not repeated, nor
    one that is tried again after a crash.
    `halves` is set once it is certain that Redis has not written the whole, and never will: the parts that are written
    instead.
    `merged` holds the number and the number of events of each spooled batch that this one is made of, oldest first; it is
    empty if they are one. `number` is the last one's.
    `parts_of` holds the batches with numbers, none with events, that this one was cut out of: see `cut`.
    `unanswered` counts the attempts to write the whole, if that is large, which have ended without a reply.
    `written` is set once the write is confirmed: a half that waits for the other one is then not written again, even
    after Redis has forgotten its number.
    `refused` holds the positions of the events that became dead letters because Redis has refused a message of theirs.
    `expired` holds the positions of the events of which nothing was made because their time was up.
    `spans` are those that routing has opened, with tracing; the whole batch keeps them, also once it is split.
    """

    events: list[Event]
    sequence: BatchSequence = field(default_factory=BatchSequence)
    queues: dict[str, Column] = field(default_factory=dict)
    dead_letters: list[tuple[int, DeadLetter]] = field(default_factory=list)
    number: int | None = None
    halves: tuple[Batch, ...] | None = None
    merged: tuple[tuple[int, int], ...] = ()
    parts_of: tuple[Batch, ...] = ()
    unanswered: int = 0
    written: Written | None = None
    refused: list[int] = field(default_factory=list)
    expired: list[int] = field(default_factory=list)
    spans: Sequence[OpenSpan] = ()

    @property
    def size(self) -> int:
        """The bytes of the messages, and those of the events that are dead letters."""
        messages = sum([len(body) for column in self.queues.values() for _, body in column.messages])
        return messages + sum([letter.event.size for _, letter in self.dead_letters])

    @property
    def suppressed(self) -> Sequence[GatedMessage]:
        """The messages that the write has left out for their own keys; none before it is confirmed."""
        return () if self.written is None else self.written.suppressed

    def column(self, queue: str) -> Column:
        """Return the messages for `queue`, to add to."""
        column = self.queues.get(queue)
        if column is None:
            column = self.queues[queue] = Column()
        return column

    def add(self, event_index: int, messages: Iterable[Message], route: str = "") -> int:
        """Add the messages of the event at `event_index`, behind those of earlier events; return their bytes.

        `route` has made them; it is named where the source's events are deduplicated.
        """
        size = 0
        for order, message in enumerate(messages):
            column = self.column(message.queue)
            if message.gate is not None:
                column.gates[len(column.messages)] = order, message.gate
            column.event_indexes.append(event_index)
            column.messages.append((message.id, message.body))
            if route:
                column.routes.append(route)
            size += len(message.body)
        return size

    def refuse(self, event_indexes: Collection[int], cause: str) -> None:
        """Make dead letters of the events at `event_indexes`, since Redis will never take a message of theirs.

        None of their messages is written then, so that a retry of the dead letter makes none twice.
        """
        columns = ((queue, column.without(event_indexes)) for queue, column in self.queues.items())
        self.queues = {queue: column for queue, column in columns if column.messages}
        self.refused += event_indexes
        letters = [DeadLetter(self.events[event_index], "refused-by-redis", cause) for event_index in event_indexes]
        self.dead_letters += zip(event_indexes, letters, strict=True)

    def extend(self, other: Batch) -> None:
        """Add the events of `other`, with their messages and dead letters, behind these."""
        start = len(self.events)
        self.events.extend(other.events)
        for queue, theirs in other.queues.items():
            self.column(queue).extend(theirs, start)
        self.dead_letters += [(start + event_index, letter) for event_index, letter in other.dead_letters]
        self.expired += [start + event_index for event_index in other.expired]
        if other.spans:
            self.spans = [*self.spans, *other.spans]

    def every_dead_letter(self) -> Iterator[DeadLetter]:
        """Return the dead letters, including those of events that Redis has refused in a half."""
        for part in self.halves or ():
            yield from part.every_dead_letter()
        if self.halves is None:
            for _, letter in self.dead_letters:
                yield letter

    def unsplit_parts(self) -> Iterator[Batch]:
        """Return the batches that are written each by itself: this one, or the parts that it was split into."""
        if self.halves is None:
            yield self
        else:
            for half in self.halves:
                yield from half.unsplit_parts()

    def assign_number(self) -> int:
        """Return the batch's number; the first call takes the sequence's next one."""
        if self.number is None:
            self.number = self.sequence.next()
        self.sequence.last = max(self.sequence.last, self.number)
        return self.number

    def cut(self, at: int) -> Batch:
        """Keep the events before `at`, which are routed, and return a batch of the others, which are not.

        If the batch has a number already, that stands for all its events. Then the parts have sequences of their own, named
        after the number and the place, so that after a crash only the same part counts as written; and the sink makes sure
        first that an earlier process has not written the whole, and nobody will.
        """
        rest = Batch(self.events[at:], self.sequence)
        del self.events[at:]
        if self.number is not None:
            whole = Batch([], self.sequence, number=self.number)
            name = f"{self.sequence.name}:{self.number}"
            self.sequence, self.number = BatchSequence(f"{name}<{at}"), None
            rest.sequence = BatchSequence(f"{name}>{at}")
            self.parts_of = rest.parts_of = (*self.parts_of, whole)
            self.assign_number()
            rest.assign_number()
        return rest

    def unmerged(self) -> list[Batch]:
        """Return the batches that this one was `merged` of, each with its own number again, and not routed."""
        name = self.sequence.name
        return [
            Batch(self.events[start:stop], BatchSequence(name, last=number), number=number)
            for number, start, stop in self._merged_spans()
        ]

    def _merged_spans(self) -> list[tuple[int, int, int]]:
        """Return the number of each batch that this one was merged of, and from where to where its events are."""
        stops = accumulate(count for _, count in self.merged)
        return [(number, stop - count, stop) for (number, count), stop in zip(self.merged, stops, strict=True)]

    def split(self) -> tuple[Batch, ...]:
        """Return two batches, each with half of the events, their messages and dead letters; or those that were `merged`.

        Each has a sequence of its own, named after this batch, and therefore the same one after a crash: the next
        attempt writes only the missing part. A merged batch is not merged again after a crash.
        """
        number, count = self.assign_number(), len(self.events)
        spans = self._merged_spans()
        if spans and spans[-1][2] == count:
            return tuple(self._part(str(spooled), start, stop) for spooled, start, stop in spans)
        return self._part(f"{number}a", 0, count // 2), self._part(f"{number}b", count // 2, count)

    def _part(self, name: str, start: int, stop: int) -> Batch:
        queues = {queue: column.part(start, stop) for queue, column in self.queues.items()}
        return Batch(
            self.events[start:stop],
            BatchSequence(f"{self.sequence.name}:{name}"),
            {queue: column for queue, column in queues.items() if column.event_indexes},
            [(index - start, letter) for index, letter in self.dead_letters if start <= index < stop],
            unanswered=min(self.unanswered, 1),
            refused=[index - start for index in self.refused if start <= index < stop],
            expired=[index - start for index in self.expired if start <= index < stop],
        )


class Trimmed(NamedTuple):
    """How many older dead letters a write has trimmed, by the bound that was reached."""

    max_size: int = 0
    max_length: int = 0
    max_age: int = 0
    #: Not 0 if others went whose number is not known.
    uncounted: int = 0

    @property
    def counted(self) -> int:
        """How many are known to have gone."""
        return self.max_size + self.max_length + self.max_age

    def plus(self, other: Trimmed) -> Trimmed:
        """Return the sums."""
        return Trimmed(*map(sum, zip(self, other, strict=True)))


@dataclass(slots=True, frozen=True)
class Written:
    """The result of a confirmed write.

    `messages` counts the messages written. `duplicates` counts the events that had been written before, or of which
    every message was left out for a key of its own; their positions are `duplicate_indexes`. `refused` counts the
    events that became dead letters because Redis will never take them. `lengths` gives each queue's length right after
    the write, 0 if no message was added to it. `size` counts the bytes sent. `trimmed` counts the dead letters that
    made room for those of the batch. `suppressed` has the messages that were left out for their own keys; of a batch
    that was written in parts, their places are those in the parts. `left_out` has the positions of events that are no
    duplicates, each with a route of which nothing was written, message or dead letter: its message was there before.
    """

    messages: int
    duplicates: int = 0
    refused: int = 0
    lengths: dict[str, int] = field(default_factory=dict, compare=False)
    size: int = field(default=0, compare=False)
    duplicate_indexes: Sequence[int] = field(default=(), compare=False)
    trimmed: Trimmed = field(default=Trimmed(), compare=False)
    suppressed: Sequence[GatedMessage] = field(default=(), compare=False)
    left_out: Sequence[tuple[int, str]] = field(default=(), compare=False)
