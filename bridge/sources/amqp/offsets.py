"""The offset of an event of a RabbitMQ stream: the header `x-stream-offset`, which the broker adds behind all others.

A header of this name that a producer has set is replaced (RabbitMQ 3.10.8 and 4.0.5, observed).
"""

from __future__ import annotations

from typing import Any, Final

from bridge.errors import BadEvent
from bridge.model.event import Event
from bridge.sources.amqp.field_table import read_properties

OFFSET_HEADER: Final = "x-stream-offset"
_NAME_AND_TYPE: Final = bytes([len(OFFSET_HEADER)]) + OFFSET_HEADER.encode() + b"l"
_CONTENT_TYPE, _CONTENT_ENCODING, _HEADERS, _MORE_FLAGS = 1 << 15, 1 << 14, 1 << 13, 1
_FLAGS_AT: Final = 12


def offset_in(header: bytes, at: int = 0) -> int | None:
    """Return the offset in the content header that begins at `at`, None if it has none.

    Also of a header that can't be decoded otherwise: only its last field is read.
    """
    flags = int.from_bytes(header[at + _FLAGS_AT : at + _FLAGS_AT + 2], "big")
    if not flags & _HEADERS or flags & _MORE_FLAGS:
        return None
    try:
        table_at = at + _FLAGS_AT + 2
        for flag in (_CONTENT_TYPE, _CONTENT_ENCODING):
            if flags & flag:
                table_at += 1 + header[table_at]
    except IndexError:
        return None
    end = table_at + 4 + int.from_bytes(header[table_at : table_at + 4], "big")
    if header[end - 8 - len(_NAME_AND_TYPE) : end - 8] == _NAME_AND_TYPE:
        return int.from_bytes(header[end - 8 : end], "big")
    try:
        return _number(read_properties(header[at:]).headers)
    except (ValueError, RecursionError):
        return None


def offset_of(event: Event) -> int | None:
    """Return the offset of an event that an AMQP source has received, None if it is not of a stream."""
    raw = event.raw
    if isinstance(raw, bytes):
        # As in `deliveries.read`: the content header stands behind the exchange and the routing key.
        exchange_end = 10 + raw[9]
        return offset_in(raw, exchange_end + 1 + raw[exchange_end] + 8)
    try:
        return _number(event.details()[0])
    except BadEvent as error:
        return error.offset if isinstance(error, UnreadableEntry) else None


class UnreadableEntry(BadEvent):
    """An event of a stream whose properties can't be read, but for its `offset`."""

    def __init__(self, detail: str, offset: int) -> None:
        super().__init__("decode", detail)
        self.offset = offset


def _number(headers: Any) -> int | None:
    offset = headers.get(OFFSET_HEADER) if headers else None
    return offset if isinstance(offset, int) and offset >= 0 else None
