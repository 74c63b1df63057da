"""The ids of a log's events: two numbers, `milliseconds-number` in Redis Streams."""

from __future__ import annotations

from collections.abc import Sequence

from bridge.model.event import Event


def entry_order(entry_id: bytes) -> tuple[int, int]:
    """Return the two numbers of an id."""
    milliseconds, _, number = entry_id.partition(b"-")
    return int(milliseconds), int(number or 0)


def highest_id(events: Sequence[Event]) -> bytes:
    """Return the highest id of `events`, which one reader of one log has received in this order.

    A new event is later than all before it. One that is delivered again, to its reader or to another one, is anywhere.
    """
    candidates = []
    for event in reversed(events):
        candidates.append(event.deduplication_key)
        if not event.redelivered:
            break
    return max(candidates, key=entry_order)
