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
the properties with their length.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from bridge.errors import BadEvent
from bridge.model.event import Details, Event
from bridge.topics.pattern import remember

#: The first two bytes of an acknowledgement; the packet id follows.
PUBACK: Final = b"\x40\x02"

#: Flags in the first byte of a message; its QoS is in the bits between them.
DUP, RETAIN = 8, 1
NOT_UTF8: Final = "the topic is not UTF-8"
NOT_MQTT: Final = "the broker sent what is not MQTT"
#: MQTT 5 allows it only with a topic alias, and the bridge offers none.
NO_TOPIC: Final = "a message without a topic"

#: First byte of a message -> size of its packet id in bytes. Without QoS 2: paho has to answer those messages.
_ID_BYTES: Final = {first: (first & 2) for first in range(0x30, 0x40) if not first & 4}
_PUBLISH: Final = 3
#: Larger than any answer to the bridge's requests. A message may be as large as MQTT allows: 256 MiB.
_MAX_OTHER_BYTES: Final = 1 << 20

#: The packet's size in bytes; `unpack_from` of a message (topic, packet id, the properties' length, the rest), None for
#: other packets; the message's `raw` if it has no properties; DUP.
_Shape = tuple[int, Callable[[bytes, int], tuple[Any, ...]] | None, bytes, bool]
_PREFIX_BYTES: Final = 5
_MAX_SHAPES: Final = 4096


class PacketReader:
    """Takes the messages out of the bytes of one connection; `malformed` says why it can read no more, "" if it can."""

    def __init__(self, source: str, *, v5: bool) -> None:
        self.malformed = ""
        self._source = source
        self._v5 = v5
        self._shapes: dict[bytes, _Shape] = {}
        self._topics: dict[bytes, str] = {}
        self._others: list[bytes] = []
        self._deferred = b""
        # An incomplete packet, in pieces: a large one is joined only once.
        self._pieces: list[bytes] = []
        self._pieces_size = 0
        self._needed_size = 0

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
        if self._pieces:
            self._pieces.append(data)
            self._pieces_size += len(data)
            if self._pieces_size < self._needed_size:
                return []
            data = b"".join(self._pieces)
            self._pieces.clear()
        events: list[Event] = []
        try:
            at, self._needed_size = self._parse(data, max_packets, events)
        except ValueError as error:
            self.malformed = f"{NOT_MQTT}: {error}"
        else:
            if self._needed_size:
                self._pieces.append(data[at:])
                self._pieces_size = len(data) - at
            else:
                self._deferred = data[at:]
        return events

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
        length, start = _variable_int(data, at + 1)
        if start > len(data):
            return len(data) - at + 1, None, b"", False
        packet_size = start - at + length
        if first not in _ID_BYTES:
            if first >> 4 != _PUBLISH and packet_size > _MAX_OTHER_BYTES:
                raise ValueError(f"a packet of {packet_size} bytes which is no message")
            return packet_size, None, b"", False
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
        remember(self._topics, topic_bytes, topic)
        return topic


def _split_properties(raw: bytes, data: bytes, at: int, stop: int) -> tuple[bytes, bytes]:
    """Return the `raw` and the body of a message that ends at `stop` and whose properties begin at `at`."""
    length, body_at = _variable_int(data, at)
    body_at += length
    if body_at > stop:
        raise ValueError("a message shorter than its properties")
    return raw[:1] + data[at:body_at], data[body_at:stop]


def _variable_int(data: bytes, at: int) -> tuple[int, int]:
    """Return the Variable Byte Integer at `at` and its end; the end is beyond `data` if bytes of it are missing."""
    number = 0
    for place, byte in enumerate(data[at : at + 4]):
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return number, at + place + 1
    if len(data) - at >= 4:
        raise ValueError("a length of more than four bytes")
    return number, len(data) + 1


# Identifiers of the properties that a message may have. `_FIXED_BYTES` gives the size of a value; those of
# `_PREFIXED_FIELDS` stand behind their size in two bytes; of a user property, both name and value.
_EXPIRY, _CONTENT_TYPE, _RESPONSE_TOPIC, _CORRELATION, _SUBSCRIPTION, _USER = 2, 3, 8, 9, 11, 38
_FIXED_BYTES: Final = {1: 1, _EXPIRY: 4, 35: 2}
_PREFIXED_FIELDS: Final = frozenset((_CONTENT_TYPE, _RESPONSE_TOPIC, _CORRELATION, _USER))
#: More bytes than the start of a property takes, without its value.
_LONGEST_START: Final = 8


def details(raw: bytes) -> Details:
    """Return the headers and the meta of an event that has this `raw`.

    Raises:
        BadEvent: MQTT 5 doesn't allow a property or its value.
    """
    headers: dict[str, object] = {}
    meta: dict[str, object] = {
        "qos": raw[0] >> 1 & 3,
        "retain": bool(raw[0] & RETAIN),
        "redelivered": bool(raw[0] & DUP),
    }
    if len(raw) > 2:
        _add_properties(raw, headers, meta)
    return headers, meta


def subscription_ids(raw: bytes) -> list[int]:
    """Return the identifiers of the subscriptions that brought an event, up to the first unreadable property."""
    ids = []
    try:
        for identifier, value, _ in _properties(raw):
            if identifier == _SUBSCRIPTION:
                ids.append(_variable_int(value, 0)[0])
    except ValueError:
        pass  # `details` raises it as a BadEvent
    return ids


def _add_properties(raw: bytes, headers: dict[str, object], meta: dict[str, object]) -> None:
    values: dict[int, bytes] = {}
    try:
        for identifier, value, second in _properties(raw):
            if identifier == _USER:
                headers[value.decode()] = second.decode()
            elif identifier in values and identifier != _SUBSCRIPTION:
                raise ValueError(f"property {identifier} stands twice")
            else:
                values[identifier] = value
        for name, identifier in (("reply_to", _RESPONSE_TOPIC), ("content_type", _CONTENT_TYPE)):
            meta[name] = values[identifier].decode() if identifier in values else None
    except ValueError as error:
        raise BadEvent("decode", f"a property can't be read: {error}"[:300]) from None
    correlation = values.get(_CORRELATION)
    meta["correlation_id"] = correlation.decode("utf-8", "backslashreplace") if correlation is not None else None
    meta["expires_in"] = int.from_bytes(values[_EXPIRY]) if _EXPIRY in values else None


def _properties(raw: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield each property's identifier and its value; of a user property name and value, else the third is empty.

    Raises:
        ValueError: MQTT knows no such property, or it is cut off.
    """
    _, at = _variable_int(raw, 1)
    # With some bytes behind the end, a start that is cut off needs no check. 50,000 properties fit into 256 KiB: these steps are few on purpose.
    end, raw = len(raw), raw + bytes(_LONGEST_START)
    while at < end:
        identifier = raw[at]
        value_at = at + 1
        if identifier in _PREFIXED_FIELDS:
            value_at = at + 3
            stop = value_at + (raw[at + 1] << 8 | raw[at + 2])
        elif identifier == _SUBSCRIPTION:
            stop = at + 2 if raw[at + 1] < 0x80 else _variable_int(raw, value_at)[1]
        elif identifier in _FIXED_BYTES:
            stop = value_at + _FIXED_BYTES[identifier]
        else:
            raise ValueError(f"{identifier} is no property of a message")
        value, second = raw[value_at:stop], b""
        if identifier == _USER and stop < end:
            value_at = stop + 2
            stop = value_at + (raw[stop] << 8 | raw[stop + 1])
            second = raw[value_at:stop]
        elif identifier == _USER:
            stop = end + 1
        if stop > end:
            raise ValueError(f"property {identifier} is cut off")
        at = stop
        yield identifier, value, second
