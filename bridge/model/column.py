"""The messages of a batch for one queue."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from bridge.model.message import Gate


@dataclass(slots=True, eq=False)
class Column:
    """The messages of a batch for one queue, in the order of the events.

    `messages` holds a redis_message_id and a body for each. `event_indexes` holds, at the same place, the position of
    the message's event in the batch's `events`; one event can have several messages, or none. `routes` holds, at the
    same place again, the message's route, where the source's events are deduplicated. `gates` holds the gates of the
    messages that have one, by the place, each with the message's number among those of its route and event; it is empty
    where no route has a key of its own.
    """

    event_indexes: list[int] = field(default_factory=list)
    messages: list[tuple[bytes, bytes]] = field(default_factory=list)
    routes: list[str] = field(default_factory=list)
    gates: dict[int, tuple[int, Gate]] = field(default_factory=dict)

    def extend(self, other: Column, start: int) -> None:
        """Add the messages of `other` behind these; its events stand `start` places further on."""
        shift = len(self.messages)
        self.event_indexes += [start + event_index for event_index in other.event_indexes]
        self.messages += other.messages
        self.routes += other.routes
        self.gates.update((shift + place, gate) for place, gate in other.gates.items())

    def part(self, start: int, stop: int) -> Column:
        """Return the messages of the events from `start` to `stop`, whose positions then count from 0."""
        part = self._only([place for place, index in enumerate(self.event_indexes) if start <= index < stop])
        part.event_indexes = [index - start for index in part.event_indexes]
        return part

    def without(self, event_indexes: Collection[int]) -> Column:
        """Return the messages of all other events."""
        return self._only([place for place, index in enumerate(self.event_indexes) if index not in event_indexes])

    def _only(self, places: list[int]) -> Column:
        return Column(
            [self.event_indexes[place] for place in places],
            [self.messages[place] for place in places],
            [self.routes[place] for place in places] if self.routes else [],
            {new: self.gates[old] for new, old in enumerate(places) if old in self.gates} if self.gates else {},
        )


class GatedMessage(NamedTuple):
    """A message with a gate: where it stands in its batch. `column` is the number of its column, from 1."""

    event_index: int
    number: int
    column: int
    place: int
    gate: Gate


def gated_messages(columns: Iterable[Column]) -> list[GatedMessage]:
    """Return the messages of a batch's columns that have a gate, in the order of the batch."""
    found = [
        GatedMessage(column.event_indexes[place], number, at, place, gate)
        for at, column in enumerate(columns, 1)
        for place, (number, gate) in column.gates.items()
    ]
    found.sort(key=lambda message: message[:3])
    return found
