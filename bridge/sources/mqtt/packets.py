"""MQTT packets in bulk: one pass over what was received makes an event of each message; the rest is for paho.

A PUBLISH of QoS 0 or 1, byte by byte:

    3x             x is dup (8) + QoS (2 x 0 or 1) + retain (1)
    length         of all that follows: 1 to 4 bytes of 7 bits, the lowest first, 80 set in all but the last
    topic          its size (2 bytes), then UTF-8
    packet id      2 bytes; at QoS 1 only
    properties     MQTT 5 only: their length (written as above), then for each its identifier (1 byte) and its value
    body           what is left

    32 0e | 00 03 61 2f 62 | 00 07 | 02 01 01 | 7b 20 20 7d      "a/b", packet id 7, one property, the body {  }

What stands where follows from the first five bytes: the type, the length, and the size of the topic. Real messages have
few such beginnings, so for each there is a "shape": one struct that takes a whole message apart at once.

An event's token is its packet id, as it stands here (at QoS 0 there is none); its `raw` is the first byte and the
properties, with their length.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from bridge.errors import BadEvent
from bridge.model.event import Details, Event
from bridge.topics.pattern import remember

#: The beginning of an acknowledgement; the packet id is the rest of it.
PUBACK: Final = b"\x40\x02"

#: What a first byte says of a message, besides its QoS in between.
DUP, RETAIN = 8, 1
NOT_UTF8: Final = "the topic is not UTF-8"
NOT_MQTT: Final = "the broker sent what is not MQTT"
#: It would stand for a topic alias, and none were offered.
NO_TOPIC: Final = "a message without a topic"

#: How many bytes of packet id follow for each first byte that announces a message; at QoS 2 paho has to answer.
_ID_BYTES: Final = {first: (first & 2) for first in range(0x30, 0x40) if not first & 4}
_PUBLISH: Final = 3
#: Larger than any answer to what the bridge asks. A message may be as large as MQTT allows: 256 MiB.
_MOST_OTHER_BYTES: Final = 1 << 20

#: How long a packet is; what takes a message apart (topic, packet id, the properties' length, the rest); its `raw`; DUP.
_Shape = tuple[int, Callable[[bytes, int], tuple[Any, ...]] | None, bytes, bool]
_BEGINNING: Final = 5
_MOST_SHAPES: Final = 4096


class PacketReader:
    """Takes the messages out of what one connection receives; `malformed` says why nothing more can be read."""

    def __init__(self, source: str, *, v5: bool) -> None:
        self.malformed = ""
        self._source = source
        self._v5 = v5
        self._shapes: dict[bytes, _Shape] = {}
        self._topics: dict[bytes, str] = {}
        self._others: list[bytes] = []
        self._later = b""
        # The beginning of a packet that is not whole, in pieces: a large one is put together once.
        self._pieces: list[bytes] = []
        self._have = 0
        self._need = 0

    def others(self) -> bytes:
        """Return the packets that are no messages for us, whole, and forget them."""
        others = b"".join(self._others)
        self._others.clear()
        return others

    def later(self) -> bytes:
        """Return what stands behind the packets that `feed` was to take, and forget it: to be fed before all else."""
        later, self._later = self._later, b""
        return later

    def feed(self, data: bytes, most: int) -> list[Event]:
        """Return the events that are whole with `data`, of at most `most` packets."""
        if self._pieces:
            self._pieces.append(data)
            self._have += len(data)
            if self._have < self._need:
                return []
            data = b"".join(self._pieces)
            self._pieces.clear()
        events: list[Event] = []
        try:
            at, self._need = self._pass(data, most, events)
        except ValueError as error:
            self.malformed = f"{NOT_MQTT}: {error}"
        else:
            if self._need:
                self._pieces.append(data[at:])
                self._have = len(data) - at
            else:
                self._later = data[at:]
        return events

    def _pass(self, data: bytes, most: int, events: list[Event]) -> tuple[int, int]:
        """Append the events; return where it ended, and how long the packet there is at least, if it is not whole."""
        # All names in here are local, and a usual message costs two look-ups, one unpack and one event.
        source, shape_of, topic_of, add = self._source, self._shapes.get, self._topics.get, events.append
        now_ms = time.time_ns() // 1_000_000
        at, end = 0, len(data)
        for _ in range(most):
            if at >= end:
                break
            length, unpack, raw, again = shape_of(data[at : at + _BEGINNING]) or self._shape(data, at)
            stop = at + length
            if stop > end:
                return at, length
            if unpack is None:
                self._others.append(data[at:stop])
                at = stop
                continue
            name, token, count, body = unpack(data, at)
            if count:
                raw, body = _with_properties(raw, data, stop - len(body) - 1, stop)
            topic = topic_of(name)
            if topic is None:
                topic = self._topic(name)
            add(Event(source, topic, body, now_ms, token or None, raw, details))
            if not topic:
                events[-1].defect = NOT_UTF8
            if again:
                events[-1].redelivered = True
            at = stop
        return at, 0

    def _shape(self, data: bytes, at: int) -> _Shape:
        """Return the shape of the packet at `at`: if it is not whole, one that is longer than what is there."""
        first = data[at]
        length, start = _number(data, at + 1)
        if start > len(data):
            return len(data) - at + 1, None, b"", False
        whole = start - at + length
        if first not in _ID_BYTES:
            if first >> 4 != _PUBLISH and whole > _MOST_OTHER_BYTES:
                raise ValueError(f"a packet of {whole} bytes which is no message")
            return whole, None, b"", False
        if start + 2 > len(data) and length >= 2:
            return len(data) - at + 1, None, b"", False
        size = int.from_bytes(data[start : start + 2])
        body = length - 2 - size - _ID_BYTES[first] - self._v5
        if body < 0:
            raise ValueError("a message shorter than its topic")
        count = "B" if self._v5 else "0s"
        form = f">{start + 2 - at}x{size}s{_ID_BYTES[first]}s{count}{body}s"
        shape = (whole, struct.Struct(form).unpack_from, bytes((first, 0)), bool(first & DUP))
        if start + 2 <= at + _BEGINNING:
            if len(self._shapes) >= _MOST_SHAPES:
                self._shapes.clear()
            self._shapes[data[at : at + _BEGINNING]] = shape
        return shape

    def _topic(self, name: bytes) -> str:
        if not name:
            raise ValueError(NO_TOPIC)
        try:
            topic = name.decode()
        except UnicodeDecodeError:
            return ""
        remember(self._topics, name, topic)
        return topic


def _with_properties(raw: bytes, data: bytes, at: int, stop: int) -> tuple[bytes, bytes]:
    """Return the `raw` and the body of a message that ends at `stop`, its properties beginning at `at`."""
    length, cut = _number(data, at)
    cut += length
    if cut > stop:
        raise ValueError("a message shorter than its properties")
    return raw[:1] + data[at:cut], data[cut:stop]


def _number(data: bytes, at: int) -> tuple[int, int]:
    """Return the number at `at`, and where it ends; beyond the end of `data` if it is not whole."""
    number = 0
    for place, byte in enumerate(data[at : at + 4]):
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return number, at + place + 1
    if len(data) - at >= 4:
        raise ValueError("a length of more than four bytes")
    return number, len(data) + 1


# The properties a message may have, by their identifiers: those of a fixed size, and those whose parts say theirs.
_EXPIRY, _CONTENT_TYPE, _RESPONSE_TOPIC, _CORRELATION, _SUBSCRIPTION, _USER = 2, 3, 8, 9, 11, 38
_FIXED_BYTES: Final = {1: 1, _EXPIRY: 4, 35: 2}
_PARTS: Final = {_CONTENT_TYPE: 1, _RESPONSE_TOPIC: 1, _CORRELATION: 1, _USER: 2}


def details(raw: bytes) -> Details:
    """Return the headers and the meta of an event that has this `raw`.

    Raises:
        BadEvent: a property is not what MQTT 5 allows.
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


def subscriptions(raw: bytes) -> list[int]:
    """Return the identifiers of the subscriptions that an event came by, as far as they can be read."""
    numbers = []
    try:
        for identifier, parts in _properties(raw):
            if identifier == _SUBSCRIPTION:
                numbers.append(_number(parts[0], 0)[0])
    except ValueError:
        pass  # the details say so, to whom it concerns
    return numbers


def _add_properties(raw: bytes, headers: dict[str, object], meta: dict[str, object]) -> None:
    found: dict[int, bytes] = {}
    try:
        for identifier, parts in _properties(raw):
            if identifier == _USER:
                headers[parts[0].decode()] = parts[1].decode()
            elif identifier in found and identifier != _SUBSCRIPTION:
                raise ValueError(f"property {identifier} stands twice")
            else:
                found[identifier] = parts[0]
        for name, identifier in (("reply_to", _RESPONSE_TOPIC), ("content_type", _CONTENT_TYPE)):
            meta[name] = found[identifier].decode() if identifier in found else None
    except ValueError as error:
        raise BadEvent("decode", f"a property can't be read: {error}"[:300]) from None
    meta["correlation_id"] = found[_CORRELATION].decode("utf-8", "backslashreplace") if _CORRELATION in found else None
    meta["expires_in"] = int.from_bytes(found[_EXPIRY]) if _EXPIRY in found else None


def _properties(raw: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """Yield each property's identifier and value: the parts of a text or binary value, or its bytes.

    Raises:
        ValueError: MQTT knows no such property, or it is cut off.
    """
    _, at = _number(raw, 1)
    while at < len(raw):
        identifier = raw[at]
        parts = []
        at += 1
        for _ in range(_PARTS.get(identifier, 1)):
            if identifier in _PARTS:
                size = int.from_bytes(raw[at : at + 2])
                at += 2
            elif identifier == _SUBSCRIPTION:
                size = _number(raw, at)[1] - at
            elif identifier in _FIXED_BYTES:
                size = _FIXED_BYTES[identifier]
            else:
                raise ValueError(f"{identifier} is no property of a message")
            if at + size > len(raw):
                raise ValueError(f"property {identifier} is cut off")
            parts.append(raw[at : at + size])
            at += size
        yield identifier, parts
