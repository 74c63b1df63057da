"""Overlapping subscriptions of MQTT: an event that matches several of them counts once.

A broker may send one copy per matching subscription (MQTT 5, 3.3.4). mosquitto 2.0.11 always does so with MQTT 5, and
with 3.1.1 for retained messages only (observed). Copies are told apart by subscription identifiers, and not by their
content: two equal readings are two events. Subscribing to one wider filter instead would bring unwanted topics.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from itertools import islice
from typing import Final, TypeVar, cast

from bridge.model.event import Event
from bridge.sources.mqtt.packets import PUBACK
from bridge.sources.mqtt.properties import RETAIN, subscription_ids
from bridge.topics.index import PatternIndex
from bridge.topics.mqtt import MqttTopics, covers

#: An identifier has 28 bits: 14 for the set of filters, 14 for the filter.
_BITS: Final = 14
_MASK: Final = (1 << _BITS) - 1
_MAX_RETAINED_TOPICS: Final = 65_536
#: Two topics with the same hash would lose an event; of so many bytes nobody finds a pair.
_HASH_BYTES: Final = 32
_Value = TypeVar("_Value")


class OverlapIds:
    """Decides which copy of an event counts, for one set of filters; `by_filter` has the identifiers to subscribe with.

    Events that a session queued under an earlier configuration bring the identifiers of that time. These belong to
    another set and always count: at worst, a change of overlapping filters makes a duplicate, and never a loss.
    """

    def __init__(self, filters: Sequence[str]) -> None:
        # Of two filters without wildcards only the same one overlaps, where one of them is shared. Those with wildcards are
        # indexed: each filter asks them, and not all others.
        plain = Counter(map(_without_share, filters))
        overlapping = {each for each in filters if plain[_without_share(each)] > 1}
        wild = _index((each, _without_share(each)) for each in filters if _is_wild(each))
        for pattern in filters:
            bare = _without_share(pattern)
            others = (
                each
                for each in wild.overlapping(MqttTopics.tokens(bare))
                if each != pattern and _overlap(bare, _without_share(each))
            )
            # One with wildcards finds another one by itself, but not those without.
            found = list(others) if not _is_wild(pattern) else list(islice(others, 1))
            overlapping.update(found, [pattern] if found else ())
        # Shared ones last: their copy may go to another member of the group, the other copy surely comes here.
        ordered = sorted((each for each in filters if each in overlapping), key=lambda each: each.startswith("$share/"))
        first = (zlib.crc32("\n".join(ordered).encode()) & _MASK) << _BITS
        self.by_filter = dict(zip(ordered, range(first + 1, first + _MASK), strict=False))
        self._known = frozenset(self.by_filter.values())
        # The filters and their identifiers, in the order of these.
        self._filters = [(_without_share(each), number) for each, number in self.by_filter.items()]
        self._index = _index((place, pattern) for place, (pattern, _) in enumerate(self._filters))

    def is_counted(self, topic: str, ids: Sequence[int]) -> bool:
        """Tell whether the copy that the subscriptions `ids` brought is the one that counts."""
        if not self._known.issuperset(ids):
            return True
        fitting = self._fitting(topic)
        return not fitting or min(fitting) in ids

    def matches_several(self, topic: str) -> bool:
        """Tell whether `topic` matches several of the overlapping filters."""
        return len(self._fitting(topic)) > 1

    def _fitting(self, topic: str) -> list[int]:
        """Return the identifiers of the filters that fit, in any order."""
        places = self._index.find(MqttTopics.levels(topic))
        return [number for pattern, number in map(self._filters.__getitem__, places) if covers(pattern, topic)]


class CopyFilter:
    """Drops the copies among one connection's events; `acknowledge` gets those whose event is acknowledged already.

    A copy is acknowledged together with the youngest unacknowledged event, so PUBACKs stay in order. Events redelivered
    after a lost connection are judged as if they were new, whichever of their copies the broker sends again.
    """

    def __init__(self, overlap_ids: OverlapIds, acknowledge: Callable[[list[bytes]], None]) -> None:
        self._overlap_ids = overlap_ids
        self._acknowledge = acknowledge
        # Has a token, to which the tokens of later copies are appended.
        self._youngest_unacknowledged: Event | None = None
        # Hashes of topics, which can have 64 KiB each, of retained messages without identifiers: the broker sends these once
        # per matching subscription.
        self._retained_topics: set[bytes] = set()

    def drop_copies(self, events: list[Event]) -> list[Event]:
        """Return the events that count."""
        counted = []
        for event in events:
            if not self._is_copy(event):
                counted.append(event)
                if event.token is not None:
                    self._youngest_unacknowledged = event
            elif event.token is not None:
                token = cast("bytes", event.token)
                youngest = self._youngest_unacknowledged
                if youngest is None:
                    self._acknowledge([token])
                else:
                    youngest.token = PUBACK.join((cast("bytes", youngest.token), token))
        return counted

    def acknowledged(self, token: object) -> None:
        """Note that every event up to the one with this token is acknowledged."""
        youngest = self._youngest_unacknowledged
        if youngest is not None and token is youngest.token:
            self._youngest_unacknowledged = None

    def _is_copy(self, event: Event) -> bool:
        raw = cast("bytes", event.raw)
        if ids := subscription_ids(raw):
            return not self._overlap_ids.is_counted(event.topic, ids)
        return bool(raw[0] & RETAIN) and self._is_retained_copy(event.topic)

    def _is_retained_copy(self, topic: str) -> bool:
        """Tell whether a retained message of `topic` was received before, without identifiers."""
        hashed = blake2b(topic.encode(), digest_size=_HASH_BYTES).digest()
        if hashed in self._retained_topics:
            return True
        if len(self._retained_topics) < _MAX_RETAINED_TOPICS and self._overlap_ids.matches_several(topic):
            self._retained_topics.add(hashed)
        return False


def _index(patterns: Iterable[tuple[_Value, str]]) -> PatternIndex[_Value]:
    """Return an index of values, each with its filter."""
    index: PatternIndex[_Value] = PatternIndex()
    for value, pattern in patterns:
        index.add(MqttTopics.tokens(pattern), value)
    return index


def _is_wild(pattern: str) -> bool:
    return "+" in pattern or "#" in pattern


def _without_share(pattern: str) -> str:
    """Return `a/#` of `$share/group/a/#`."""
    return pattern.split("/", 2)[2] if pattern.startswith("$share/") and pattern.count("/") > 1 else pattern


def _overlap(first: str, second: str) -> bool:
    """Tell whether some topic matches both filters."""
    levels, other_levels = first.split("/"), second.split("/")
    for level, other_level in zip(levels, other_levels, strict=False):
        if "#" in (level, other_level):
            return True
        if level != other_level and "+" not in (level, other_level):
            return False
    longer = max(levels, other_levels, key=len)
    shortest = min(len(levels), len(other_levels))
    return len(longer) == shortest or longer[shortest] == "#"
