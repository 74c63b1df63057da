"""The offset in a content header: the broker's own, whatever the producer has set."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from bridge.model.event import Event
from bridge.sources.amqp.offsets import offset_in, offset_of
from bridge.sources.amqp.properties import details

_FIELD = b"\x0fx-stream-offset" + b"l" + struct.pack(">q", 77)


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
        (_raw(0x2000, b"", b"\x01\xfft\x01"), None),
        (_raw(0x8000, b"\xffa", b""), None),
        (_header(content_type="text/plain"), None),
        (_header(headers={"x-stream-offset": 5}), 5),
        (_header(headers={"x-stream-offset": "5"}), None),
        (_header(headers={"x-stream-offset": -5}), None),
    ],
)
def test_the_offset_of_a_header(header: bytes, offset: int | None) -> None:
    """It is the last field; where it stands elsewhere, the header is read whole."""
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
