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

_EVENT: Final = "deduplicate: the event was written before"


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
    def places(self) -> frozenset[tuple[int, int]]:
        """The messages that were left out for their own keys: of each the number of its column, from 1, and its place there."""
        return frozenset((one.column, one.place) for one in self._batch.suppressed)

    @cached_property
    def duplicates(self) -> frozenset[int]:
        """The events of which nothing was written, since all their messages were left out."""
        written = self._batch.written
        return frozenset(written.duplicate_indexes if written is not None else ())

    def result(self, index: int, result: Result) -> Result:
        """Return `result`, the dry run of the event at `index`, without the messages that were left out.

        A route of which none is left has the verdict `deduplicated`.
        """
        if index not in self.events and index not in self.duplicates:
            return result
        return replace(result, routes=[self._route(index, one) for one in result.routes])

    def _route(self, index: int, one: RouteResult) -> RouteResult:
        made, left_out = len(one.messages) + one.deduplicated, self._by_route[index, one.route]
        if one.verdict != "message" or (left_out < made and index not in self.duplicates):
            return replace(one, deduplicated=max(one.deduplicated, left_out))
        gone = replace(one, verdict="deduplicated", messages=[], gates=[], deduplicated=made)
        return gone if left_out >= made else replace(gone, _why=partial(str, _EVENT))
