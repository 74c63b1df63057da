"""The highest id among a log's events: what its reader goes on from."""

from __future__ import annotations

import pytest

from bridge.model.entry_ids import entry_order, highest_id
from tests.support.batches import event


@pytest.mark.parametrize(
    ("ids", "highest"),
    [
        ("150 160", "160"),
        ("150 200*", "200"),
        ("500* 600* 100*", "600"),
        ("700 500* 600*", "700"),
        ("100* 9 10", "10"),
        ("5-9* 5-10* 5-2*", "5-10"),
    ],
)
def test_the_highest_id(ids: str, highest: str) -> None:
    """New events come in the order of their ids; those with a star were delivered before, and stand anywhere."""
    events = [event(deduplication_key=each.strip("*").encode(), redelivered="*" in each) for each in ids.split()]
    assert highest_id(events) == highest.encode()


def test_ids_are_compared_as_numbers() -> None:
    """The second number counts within a millisecond, and may be missing."""
    assert entry_order(b"9-1") < entry_order(b"10-0") < entry_order(b"10-2") < entry_order(b"10-10")
    assert entry_order(b"7") == (7, 0)
