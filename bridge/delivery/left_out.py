"""The messages that a write has left out, as its reply says.

A dry run of an event can't know them: it has not Redis's keys, and not those of the events before.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cached_property, partial
from typing import Final

from bridge.dry_run.results import Result, RouteResult
from bridge.model.batch import Batch
from bridge.model.repeats import repeated_messages

_EVENT: Final = "deduplicate: the event was written before"
#: The verdicts of a route that has made something of the event.
_MAKES: Final = frozenset({"message", "dead-letter"})


class LeftOut:
    """The messages that the write of one batch has left out; none, as long as it is not written."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    @cached_property
    def _by_route(self) -> Counter[tuple[int, str]]:
        """The number of messages that were left out for their own keys, by the event's position and the route."""
        return Counter((one.event_index, one.gate.rule.route) for one in self._batch.suppressed)

    @cached_property
    def events(self) -> frozenset[int]:
        """The events of which messages were left out for their own keys."""
        return frozenset(index for index, _ in self._by_route)

    @cached_property
    @cached_property
    def places(self) -> frozenset[tuple[int, int]]:
        """The messages that were left out: of each the number of its column, from 1, and its place there."""
        own = {(one.column, one.place) for one in self._batch.suppressed}
        return frozenset(own.union((number, place) for number, place, _ in repeated_messages(self._batch)))

    @cached_property
    def _before(self) -> frozenset[tuple[int, str]]:
        """The routes of which nothing was written for an event, by its position; others have written something of it."""
        written = self._batch.written
        return frozenset(written.left_out if written is not None else ())

    @cached_property
    def duplicates(self) -> frozenset[int]:
        """The events of which nothing was written, since all of it was there."""
        written = self._batch.written
        return frozenset(written.duplicate_indexes if written is not None else ())

    def result(self, index: int, result: Result) -> Result:
        """Return `result`, the dry run of the event at `index`, without the messages that were left out.

        A route of which none is left has the verdict `deduplicated`.
        """
        if index in self.events or index in self.duplicates or self._before:
            return replace(result, routes=[self._route(index, one) for one in result.routes])
        return result

    def _route(self, index: int, one: RouteResult) -> RouteResult:
        made, left_out = len(one.messages) + one.deduplicated, self._by_route[index, one.route]
        is_for_keys = 0 < made <= left_out
        is_repeated = index in self.duplicates or (index, one.route) in self._before
        if one.verdict not in _MAKES or not (is_for_keys or is_repeated):
            return replace(one, deduplicated=max(one.deduplicated, left_out))
        gone = replace(one, verdict="deduplicated", messages=[], gates=[], deduplicated=made, dead_letter=None)
        return gone if is_for_keys else replace(gone, _why=partial(str, _EVENT))
