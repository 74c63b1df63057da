"""The memory of topics: nearly all of them recur, and made-up ones must not fill it."""

from __future__ import annotations

from collections import deque
from typing import Final, TypeVar

#: It forgets the oldest topic for a new one once it holds so many, or its values take so many bytes.
MAX_KNOWN_TOPICS: Final = 8192
MAX_KNOWN_BYTES: Final = 16 << 20
#: Longer topics, in characters or bytes, are not remembered.
_MAX_KNOWN_LENGTH: Final = 256

_Key = TypeVar("_Key", str, bytes)
_Value = TypeVar("_Value")


class TopicMemory(dict[_Key, _Value]):
    """The results of look-ups by topic. A dict, since a known topic is looked up for every event; `remember` alone adds."""

    __slots__ = ("_longest", "_order", "_size")

    def __init__(self, longest: int = _MAX_KNOWN_LENGTH) -> None:
        super().__init__()
        self._longest = longest
        #: The topics, oldest first, each with the bytes of its value. The dict's own order would take time to find it: the
        #: places of deleted keys lie before it.
        self._order: deque[tuple[_Key, int]] = deque()
        self._size = 0

    def remember(self, topic: _Key, value: _Value, size: int = 0) -> None:
        """Keep `value` for a topic that is not known, unless that is too long; `size` are its bytes, beside the topic's."""
        if len(topic) > self._longest or size > MAX_KNOWN_BYTES:
            return
        self[topic] = value
        self._order.append((topic, size))
        self._size += size
        while len(self._order) > MAX_KNOWN_TOPICS or self._size > MAX_KNOWN_BYTES:
            oldest, its_size = self._order.popleft()
            self._size -= its_size
            del self[oldest]
