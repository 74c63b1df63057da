"""Overlapping subscriptions of MQTT: an event that fits several of them counts once.

A broker may send one copy per subscription that fits (MQTT 5, 3.3.4). mosquitto 2.0.11 does so with MQTT 5 always, with
3.1.1 for retained messages only (observed). Copies are told apart by subscription identifiers, not by comparing them:
two equal readings are two events. One wider subscription instead would bring what nobody asked for.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Final, cast

from bridge.model.event import Event
from bridge.sources.mqtt.packets import PUBACK, RETAIN, subscriptions
from bridge.topics.mqtt import covers

#: An identifier has 28 bits: 14 for the set of filters, 14 for the filter.
_BITS: Final = 14
_MASK: Final = (1 << _BITS) - 1
_MOST_REMEMBERED: Final = 65_536


class OverlapIds:
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


class CopyFilter:
    """Lets each event through once, of those that one connection brings; `acknowledge` takes the tokens of copies.

    A copy is acknowledged after its event: what came by this connection and is younger is not settled before it.
    What comes again after a lost connection is judged as if it came for the first time, whichever of its copies that is.
    """

    def __init__(self, copies: OverlapIds, acknowledge: Callable[[list[bytes]], None]) -> None:
        self._copies = copies
        self._acknowledge = acknowledge
        # The youngest event that has a token and is not settled: copies of it are acknowledged after it.
        self._youngest: Event | None = None
        # The topics of retained messages, which have no identifiers here and come once per subscription that fits.
        self._retained: set[str] = set()

    def kept(self, events: list[Event]) -> list[Event]:
        """Return the events that count."""
        kept = []
        for event in events:
            if not self._is_copy(event):
                kept.append(event)
                if event.token is not None:
                    self._youngest = event
            elif event.token is not None:
                token = cast("bytes", event.token)
                if self._youngest is None:
                    self._acknowledge([token])
                else:
                    self._youngest.token = PUBACK.join((cast("bytes", self._youngest.token), token))
        return kept

    def acknowledged(self, token: object) -> None:
        """What was received up to the event with this token is settled."""
        if self._youngest is not None and token is self._youngest.token:
            self._youngest = None

    def _is_copy(self, event: Event) -> bool:
        raw = cast("bytes", event.raw)
        if numbers := subscriptions(raw):
            return not self._copies.counts(event.topic, numbers)
        return bool(raw[0] & RETAIN) and self._retained_again(event.topic)

    def _retained_again(self, topic: str) -> bool:
        """Tell whether the retained message of `topic` has come before, without identifiers."""
        if topic in self._retained:
            return True
        if len(self._retained) < _MOST_REMEMBERED and self._copies.shared_by_several(topic):
            self._retained.add(topic)
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
