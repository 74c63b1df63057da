"""The offset in a content header: the broker's own, whatever the producer has set."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from bridge.model.event import Event
from bridge.sources.amqp.offsets import offset_in, offset_of
from bridge.sources.amqp.properties import details, readable_details

_FIELD = b"\x0fx-stream-offset" + b"l" + struct.pack(">q", 77)

_FORGED = b"\x0fx-stream-offset" + b"l" + struct.pack(">q", 5000)
_SIZED = struct.pack(">I", 2) + b"ab"
#: A field of each type that RabbitMQ sends; `F` and `A` are as unreadable as they may be.
_EACH_TYPE = b"".join(
    b"\x01" + kind + kind + value
    for kind, value in (
        *((kind.to_bytes(), b"\xff") for kind in b"tbB"), *((kind.to_bytes(), b"\xff" * 2) for kind in b"su"),
        *((kind.to_bytes(), b"\xff" * 4) for kind in b"Iif"), *((kind.to_bytes(), b"\xff" * 8) for kind in b"lLdT"),
        (b"D", b"\xff" * 5), (b"V", b""), *((kind.to_bytes(), _SIZED) for kind in b"SAFx"),
    )
)  # fmt: skip


def _header(**properties: Any) -> bytes:
    return bytes(ContentHeader(0, 3, Basic.Properties(**properties)).marshal())


def _raw(flags: int, before: bytes, table: bytes, behind: bytes = b"") -> bytes:
    return (
        b"\x00\x3c\x00\x00"
        + bytes(8)
        + struct.pack(">H", flags)
        + before
        + struct.pack(">I", len(table))
        + table
        + behind
    )


@pytest.mark.parametrize(
    ("header", "offset"),
    [
        (_raw(0x2000, b"", _FIELD), 77),
        (_raw(0xE000, b"\x01a\x02bc", b"\x01kS\x00\x00\x00\x01v" + _FIELD), 77),
        (_raw(0x2400, b"", b"\x01kt\x01" + _FIELD, b"\x03abc"), 77),
        # A correlation id that looks like the field.
        (_raw(0x2400, b"", b"\x01kt\x01", bytes([len(_FIELD)]) + _FIELD), None),
        (_raw(0x2000, b"", _FIELD + b"\x01kt\x01"), 77),
        # Names that are no UTF-8 make the event a dead letter, of which the offset is known all the same.
        (_raw(0x2000, b"", b"\x01\xfft\x01" + _FIELD), 77),
        (_raw(0x2000, b"", _FIELD + b"\x03z\xffzt\x01"), 77),
        (_raw(0xA000, b"\x03te\xe9", _FIELD + b"\x04zoneS\x00\x00\x00\x01v"), 77),
        (_raw(0x2000, b"", b"\x01\xfft\x01"), None),
        # A value that looks like the field, behind it and before it.
        (_raw(0x2000, b"", _FIELD + b"\x01zS" + struct.pack(">I", len(_FORGED)) + _FORGED), 77),
        (_raw(0x2000, b"", b"\x01aS" + struct.pack(">I", len(_FORGED)) + _FORGED + _FIELD), 77),
        (_raw(0x2000, b"", b"\x01aS" + struct.pack(">I", len(_FORGED)) + _FORGED), None),
        (_raw(0x2000, b"", _EACH_TYPE + _FIELD), 77),
        (_raw(0x2000, b"", b"\x01a?" + _FIELD), None),
        (_raw(0x2000, b"", _FIELD[:-1]), None),
        (_raw(0x2000, b"", b"\x01aS\xff\xff\xff\xff" + _FIELD), None),
        (_raw(0x2000, b"", b""), None),
        (_raw(0x8000, b"\xffa", b""), None),
        (_header(content_type="text/plain"), None),
        # RabbitMQ's own is a 64-bit number.
        (_header(headers={"x-stream-offset": 5}), None),
        (_raw(0x2000, b"", b"\x0fx-stream-offsetl" + struct.pack(">q", -5)), None),
        (_header(headers={"x-stream-offset": "5"}), None),
        (_header(headers={"x-stream-offset": -5}), None),
    ],
)
def test_the_offset_of_a_header(header: bytes, offset: int | None) -> None:
    """It is the field of that name, wherever it stands; a value or another property that looks alike is none."""
    assert offset_in(header) == offset
    assert offset_in(b"before" + header + b"behind", 6) == offset


def test_the_offset_of_an_event() -> None:
    """On the fast path out of the delivery's bytes, on the other one out of the properties that the library has read."""
    routing = b"\x00\x08exchange\x03key"
    delivery = struct.pack(">Q", 1) + routing + b"\xce\x02" + bytes(6) + _raw(0x2000, b"", _FIELD)
    assert offset_of(Event("s", "key", b"{}", 0, raw=delivery)) == 77
    properties = Basic.Properties(headers={"x-stream-offset": 78})
    read = Event("s", "key", b"{}", 0, raw=(properties, "exchange", False), read=lambda raw: details(*raw))
    assert offset_of(read) == 78
    # The library gets no header that it can't read.
    unreadable = Event(
        "s",
        "key",
        b"{}",
        0,
        raw=(_raw(0x2000, b"", _FIELD + b"\x03badT" + b"\x7f" * 8), "", False),
        read=lambda raw: readable_details(*raw),
    )
    assert offset_of(unreadable) == 77
