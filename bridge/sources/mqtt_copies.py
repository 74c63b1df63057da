"""Overlapping subscriptions of MQTT: an event that fits several of them counts once.

A broker may send one copy per subscription that fits (MQTT 5, 3.3.4). mosquitto 2.0.11 does so with MQTT 5 always, with
3.1.1 for retained messages only (observed). Copies are told apart by subscription identifiers, not by comparing them:
two equal readings are two events. One wider subscription instead would bring what nobody asked for.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final

from bridge.topics import covers

#: An identifier has 28 bits: 14 for the set of filters, 14 for the filter.
_BITS: Final = 14
_MASK: Final = (1 << _BITS) - 1
_MOST_REMEMBERED: Final = 65_536


class Copies:
    """Which copy of an event counts, for one set of filters; `numbers` are the identifiers to subscribe with.

    A session keeps what it queued under an earlier configuration with the identifiers of then. Those are of another
    set and always count: at worst a change of overlapping filters makes a duplicate, and never a loss.
    """

    def __init__(self, filters: Sequence[str]) -> None:
        wild = [one for one in filters if "+" in one or "#" in one]
        among = {other for one in wild for other in filters if other != one and _overlap(_bare(one), _bare(other))}
        # Shared ones last: their copy may go to another member of the group, the other copy surely comes here.
        overlapping = sorted((one for one in filters if one in among), key=lambda one: one.startswith("$share/"))
        first = (zlib.crc32("\n".join(overlapping).encode()) & _MASK) << _BITS
        self.numbers = dict(zip(overlapping, range(first + 1, first + _MASK), strict=False))
        self._known = frozenset(self.numbers.values())
        self._filters = [(_bare(one), number) for one, number in self.numbers.items()]

    def counts(self, topic: str, numbers: Sequence[int]) -> bool:
        """Tell whether the copy that came by the subscriptions `numbers` is the one that counts."""
        if not self._known.issuperset(numbers):
            return True
        for one, number in self._filters:
            if covers(one, topic):
                return number in numbers
        return True

    def shared_by_several(self, topic: str) -> bool:
        """Tell whether several of the filters fit `topic`."""
        return sum(covers(one, topic) for one, _ in self._filters) > 1


class Retained:
    """The retained messages of one connection: without identifiers, those that came by another subscription already."""

    def __init__(self, copies: Copies) -> None:
        self._copies = copies
        self._seen: set[str] = set()

    def again(self, topic: str) -> bool:
        """Tell whether the retained message of `topic` has come before; it comes once per subscription that fits."""
        if topic in self._seen:
            return True
        if len(self._seen) < _MOST_REMEMBERED and self._copies.shared_by_several(topic):
            self._seen.add(topic)
        return False


def _bare(one: str) -> str:
    return one.split("/", 2)[2] if one.startswith("$share/") and one.count("/") > 1 else one


def _overlap(one: str, other: str) -> bool:
    """Tell whether some topic fits both filters."""
    ours, theirs = one.split("/"), other.split("/")
    for mine, yours in zip(ours, theirs, strict=False):
        if "#" in (mine, yours):
            return True
        if mine != yours and "+" not in (mine, yours):
            return False
    longer = max(ours, theirs, key=len)
    shortest = min(len(ours), len(theirs))
    return len(longer) == shortest or longer[shortest] == "#"
