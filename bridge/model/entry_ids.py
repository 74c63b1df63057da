"""The ids of a log's events: two numbers, `milliseconds-number` in Redis Streams."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from bridge.model.event import Event


def entry_order(entry_id: bytes) -> tuple[int, int]:
    """Return the two numbers of an id."""
    milliseconds, _, number = entry_id.partition(b"-")
    return int(milliseconds), int(number or 0)


def highest_id(events: Sequence[Event]) -> bytes:
    """Return the highest id of `events`, which one reader of one log has received in this order.

    A new event is later than all before it. One that is delivered again, to its reader or to another one, is anywhere.
    """
    last = events[-1]
    if not last.redelivered:
        return last.deduplication_key
    delivered_again = list(takewhile(lambda event: event.redelivered, reversed(events)))
    newest = events[-len(delivered_again) - 1 :][:1] if len(delivered_again) < len(events) else []
    return max((event.deduplication_key for event in [*newest, *delivered_again]), key=entry_order)
