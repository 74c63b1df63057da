"""Reads MQTT packets in bulk: one pass over the received bytes makes an event of each message; paho gets the rest.

A PUBLISH of QoS 0 or 1, byte by byte:

    3x             x is dup (8) + QoS (2 x 0 or 1) + retain (1)
    length         of all that follows: 1 to 4 bytes of 7 bits, the lowest first, 80 set in all but the last
    topic          its size (2 bytes), then UTF-8
    packet id      2 bytes; at QoS 1 only
    properties     MQTT 5 only: their length (written as above), then for each its identifier (1 byte) and its value
    body           the rest

    32 0e | 00 03 61 2f 62 | 00 07 | 02 01 01 | 7b 20 20 7d      "a/b", packet id 7, one property, the body {  }

The first five bytes (type, length, size of the topic) tell where each part begins. Real messages have few different
prefixes of five bytes. For each of them the reader keeps a "shape": one struct that unpacks a whole message at once.

An event's token is its packet id, the two bytes as they were received; None at QoS 0. Its `raw` is the first byte, then
the properties with their length (see `properties.py`). Of a message that is too large, the reader keeps the beginning only.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from typing import Any, Final

from bridge.model.event import Event
from bridge.sources.mqtt.oversized import NO_TOPIC, NOT_UTF8, OversizedMessage
from bridge.sources.mqtt.properties import DUP, details, variable_int
from bridge.topics.memory import TopicMemory

#: The first two bytes of an acknowledgement; the packet id follows.
PUBACK: Final = b"\x40\x02"

NOT_MQTT: Final = "the broker sent what is not MQTT"

#: First byte of a message -> size of its packet id in bytes. Without QoS 2: paho has to answer those messages.
_ID_BYTES: Final = {first: (first & 2) for first in range(0x30, 0x40) if not first & 4}
#: Larger than any answer to the bridge's requests.
MAX_OTHER_BYTES: Final = 1 << 20
#: The largest packet that MQTT allows.
MAX_PACKET_BYTES: Final = 268_435_460

#: The packet's size in bytes; `unpack_from` of a message (topic, packet id, the properties' length, the rest), None for
#: other packets; the message's `raw` if it has no properties; DUP.
_Shape = tuple[int, Callable[[bytes, int], tuple[Any, ...]] | None, bytes, bool]
_PREFIX_BYTES: Final = 5
_MAX_SHAPES: Final = 4096


class PacketReader:
    """Takes the messages out of the bytes of one connection; `malformed` says why it can read no more, "" if it can.

    A message of more than `max_bytes`, with its topic and properties, is never held: its event has `skipped`.
    """

    def __init__(self, source: str, *, v5: bool, max_bytes: int = MAX_PACKET_BYTES) -> None:
        self.malformed = ""
        self._source = source
        self._v5 = v5
        self._max_bytes = max_bytes
        self._oversized: OversizedMessage | None = None
        self._shapes: dict[bytes, _Shape] = {}
        self._topics: TopicMemory[bytes, str] = TopicMemory()
        self._others: list[bytes] = []
        self._deferred = b""
        # An incomplete packet, in pieces: a large one is joined only once.
        self._pieces: list[bytes] = []
        self._pieces_size = 0
        self._needed_size = 0

    @property
    def is_mid_packet(self) -> bool:
        """Whether a packet is incomplete."""
        return bool(self._pieces) or self._oversized is not None

    def pop_others(self) -> bytes:
        """Return the other packets, whole, and forget them."""
        others = b"".join(self._others)
        self._others.clear()
        return others

    def pop_deferred(self) -> bytes:
        """Return the bytes behind the last packet that `feed` was allowed to read, and forget them.

        The caller feeds them again before any new bytes.
        """
        deferred, self._deferred = self._deferred, b""
        return deferred

    def feed(self, data: bytes, max_packets: int) -> list[Event]:
        """Return the events that `data` completes; read at most `max_packets` packets."""
        events: list[Event] = []
        if self._oversized is not None:
            self._hold(data, events)
            return events
        if self._pieces:
            self._pieces.append(data)
            self._pieces_size += len(data)
            if self._pieces_size < self._needed_size:
                return []
            data = b"".join(self._pieces)
            self._pieces.clear()
        try:
            at, self._needed_size = self._parse(data, max_packets, events)
        except ValueError as error:
            self.malformed = f"{NOT_MQTT}: {error}"
        else:
            if self._needed_size:
                self._hold(data[at:], events)
            else:
                self._deferred = data[at:]
        return events

    def _hold(self, data: bytes, events: list[Event]) -> None:
        """Keep the first bytes of an incomplete packet; of a message that is too large only the beginning, until its end."""
        message = self._oversized
        if message is None:
            self._pieces.append(data)
            self._pieces_size = len(data)
            return
        try:
            self._deferred = message.feed(data)
        except ValueError as error:
            self.malformed = f"{NOT_MQTT}: {error}"
            return
        if message.complete:
            self._oversized = None
            events.append(message.event(self._source))

    def _parse(self, data: bytes, max_packets: int, events: list[Event]) -> tuple[int, int]:
        """Append the events; return the position after the last whole packet, and the least size of an incomplete one.

        That size is 0 if no incomplete packet follows.

        Raises:
            ValueError: the bytes are not MQTT.
        """
        # All names in here are local, and a usual message costs two look-ups, one unpack and one event.
        source, shape_of, topic_of, add = self._source, self._shapes.get, self._topics.get, events.append
        now_ms = time.time_ns() // 1_000_000
        at, end = 0, len(data)
        for _ in range(max_packets):
            if at >= end:
                break
            size, unpack, raw, redelivered = shape_of(data[at : at + _PREFIX_BYTES]) or self._shape(data, at)
            stop = at + size
            if stop > end:
                return at, size
            if unpack is None:
                self._others.append(data[at:stop])
                at = stop
                continue
            topic_bytes, token, has_properties, body = unpack(data, at)
            if has_properties:
                raw, body = _split_properties(raw, data, stop - len(body) - 1, stop)
            topic = topic_of(topic_bytes)
            if topic is None:
                topic = self._topic(topic_bytes)
            add(Event(source, topic, body, now_ms, token or None, raw, details, size=size))
            if not topic:
                events[-1].defect = NOT_UTF8
            if redelivered:
                events[-1].redelivered = True
            at = stop
        return at, 0

    def _shape(self, data: bytes, at: int) -> _Shape:
        """Return the shape of the packet at `at`; if too few of its bytes are there, a shape that is larger than `data`."""
        first = data[at]
        length, start = variable_int(data, at + 1)
        if start > len(data):
            return len(data) - at + 1, None, b"", False
        packet_size = start - at + length
        if first not in _ID_BYTES:
            if packet_size > MAX_OTHER_BYTES:
                raise ValueError(f"a packet of {packet_size} bytes which is no message of QoS 0 or 1")
            return packet_size, None, b"", False
        if packet_size > self._max_bytes:
            self._oversized = OversizedMessage(first, start - at, packet_size, v5=self._v5)
            return len(data) - at + 1, None, b"", False
        if start + 2 > len(data) and length >= 2:
            return len(data) - at + 1, None, b"", False
        topic_size = int.from_bytes(data[start : start + 2])
        body_size = length - 2 - topic_size - _ID_BYTES[first] - self._v5
        if body_size < 0:
            raise ValueError("a message shorter than its topic")
        # The first byte of the properties' length is 0 if there are none; before MQTT 5 it takes no byte at all.
        properties_length = "B" if self._v5 else "0s"
        layout = f">{start + 2 - at}x{topic_size}s{_ID_BYTES[first]}s{properties_length}{body_size}s"
        shape = (packet_size, struct.Struct(layout).unpack_from, bytes((first, 0)), bool(first & DUP))
        if start + 2 <= at + _PREFIX_BYTES:
            if len(self._shapes) >= _MAX_SHAPES:
                self._shapes.clear()
            self._shapes[data[at : at + _PREFIX_BYTES]] = shape
        return shape

    def _topic(self, topic_bytes: bytes) -> str:
        if not topic_bytes:
            raise ValueError(NO_TOPIC)
        try:
            topic = topic_bytes.decode()
        except UnicodeDecodeError:
            return ""
        self._topics.remember(topic_bytes, topic)
        return topic


def _split_properties(raw: bytes, data: bytes, at: int, stop: int) -> tuple[bytes, bytes]:
    """Return the `raw` and the body of a message that ends at `stop` and whose properties begin at `at`."""
    length, body_at = variable_int(data, at)
    body_at += length
    if body_at > stop:
        raise ValueError("a message shorter than its properties")
    return raw[:1] + data[at:body_at], data[body_at:stop]
