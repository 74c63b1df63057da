"""The batch: what one write holds, all of it or nothing."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from bridge.event import Event, Gate
from bridge.message import Message


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
class Entry:
    """What one event comes to: its messages and its dead letters, written together; either may be empty."""

    event: Event
    messages: list[Message] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)

    @property
    def gate(self) -> Gate | None:
        """The event's gate: see `bridge.event.Gate`."""
        return self.event.gate


@dataclass(slots=True, eq=False)
class Writer:
    """Who writes batches, strictly one after another; Redis remembers the number of the last one under this name.

    An attempt that Redis reads late, when a later batch has been written already (a closed
    connection's data can arrive minutes after), has a smaller number and writes nothing.
    """

    name: str = field(default_factory=lambda: secrets.token_hex(8))
    last: int = 0

    def next(self) -> int:
        """Return the number of the batch that is written now."""
        self.last += 1
        return self.last


@dataclass(slots=True, eq=False)
class Batch:
    """The entries of one write, in the order received.

    `number` is given by the first attempt and stays with the batch through every other, so that a
    write whose reply was lost is not done twice. `halves` is set once Redis has refused the whole for good;
    `written`, once the write is confirmed, so that a half that waits for the other is not written
    again even after Redis has forgotten its number. `refused` is 1 where the one event of the batch
    was to be a message and has become a dead letter.
    """

    entries: list[Entry]
    writer: Writer = field(default_factory=Writer)
    number: int | None = None
    halves: tuple[Batch, Batch] | None = None
    written: Written | None = None
    refused: int = 0


@dataclass(slots=True, frozen=True)
class Written:
    """What a confirmed write did.

    `messages` were written, `duplicates` are events that had been written before, `refused` those
    that Redis will never take: they became dead letters.
    """

    messages: int
    duplicates: int
    refused: int = 0
