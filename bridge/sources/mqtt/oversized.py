"""A message that is too large to be held: its topic, properties and the beginning of its body are kept, and nothing else.

Brokers of MQTT 3.1.1 send it, however large; so do those of MQTT 5 that ignore the Maximum Packet Size of CONNECT. It must
be received and acknowledged: the broker would send it again to each new connection, before the messages behind it.
"""

from __future__ import annotations

import time
from typing import Final

from bridge.model.event import KEPT_BODY_BYTES, Event
from bridge.sources.mqtt.properties import DUP, details, variable_int
from bridge.sources.oversized import ROOM_BYTES

NOT_UTF8: Final = "the topic is not UTF-8"
#: MQTT 5 allows it only with a topic alias, and the bridge offers none.
NO_TOPIC: Final = "a message without a topic"

#: The largest size of all that is before the properties: fixed header, topic, packet id, the properties' length.
_MAX_START_BYTES: Final = 5 + 2 + 65_535 + 2 + 4
_QOS_1: Final = 2


class OversizedMessage:
    """One PUBLISH of QoS 0 or 1 with the first byte `first`, a fixed header of `header_size` and `size` bytes in all."""

    def __init__(self, first: int, header_size: int, size: int, *, v5: bool) -> None:
        self._first = first
        self._topic_at = header_size + 2
        self._size = size
        self._v5 = v5
        self._received = 0
        # The first bytes of the packet; as many at first as tell where its parts begin, then up to the kept part of the body.
        self._kept = bytearray()
        self._keep_size = min(size, _MAX_START_BYTES)
        # Where the parts begin; 0 until that is known.
        self._id_at = self._properties_at = self._body_at = 0

    @property
    def complete(self) -> bool:
        """Whether all its bytes have come."""
        return self._received == self._size

    def feed(self, data: bytes) -> bytes:
        """Take the bytes that are the message's own, and return those behind it.

        Raises:
            ValueError: the bytes are not MQTT.
        """
        own = data[: self._size - self._received]
        self._keep(own)
        if not self._body_at and len(self._kept) == self._keep_size:
            self._find_parts()
            self._keep(own)
        self._received += len(own)
        return data[len(own) :]

    def event(self, source: str) -> Event:
        """Return the event of the complete message."""
        kept = bytes(self._kept)
        topic = defect = ""
        try:
            topic = kept[self._topic_at : self._id_at].decode()
        except UnicodeDecodeError:
            defect = NOT_UTF8
        properties, body = kept[self._properties_at : self._body_at], kept[self._body_at :]
        if self._properties_are_skipped:
            properties = b""
            defect = f"the properties have more than {ROOM_BYTES} bytes: {self._body_at - self._properties_at}"
        event = Event(
            source,
            topic,
            body,
            time.time_ns() // 1_000_000,
            kept[self._id_at : self._properties_at] or None,
            bytes((self._first,)) + (properties or b"\0"),
            details,
            defect=defect,
            redelivered=bool(self._first & DUP),
            size=len(kept),
        )
        event.skip(self._size - self._body_at - len(body))
        return event

    @property
    def _properties_are_skipped(self) -> bool:
        return self._body_at - self._properties_at > ROOM_BYTES

    def _keep(self, own: bytes) -> None:
        """Keep the bytes of `own`, which follow those received, up to `_keep_size`."""
        if len(self._kept) < self._keep_size:
            self._kept += own[len(self._kept) - self._received : self._keep_size - self._received]

    def _find_parts(self) -> None:
        start = bytes(self._kept)
        at = self._topic_at
        self._id_at = at + int.from_bytes(start[at - 2 : at])
        self._properties_at = self._body_at = self._id_at + (2 if self._first & _QOS_1 else 0)
        if self._properties_at + self._v5 > self._size:
            raise ValueError("a message shorter than its topic")
        if self._id_at == at:
            raise ValueError(NO_TOPIC)
        if self._v5:
            length, properties_at = variable_int(start, self._properties_at)
            self._body_at = properties_at + length
            if self._body_at > self._size:
                raise ValueError("a message shorter than its properties")
        if self._properties_are_skipped:
            self._keep_size = self._properties_at
        else:
            self._keep_size = min(self._size, self._body_at + KEPT_BODY_BYTES)
        del self._kept[self._keep_size :]
