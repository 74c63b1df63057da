"""The offset of an event of a RabbitMQ stream: the header `x-stream-offset`, which the broker adds.

A header of this name that a producer has set is replaced; all of them are sorted by name (RabbitMQ 3.10.8 and 4.0.5, observed).
"""

from __future__ import annotations

from typing import Any, Final

from bridge.errors import BadEvent
from bridge.model.event import Event
from bridge.sources.amqp.field_table import field_end

OFFSET_HEADER: Final = "x-stream-offset"
_NAME_AND_TYPE: Final = bytes([len(OFFSET_HEADER)]) + OFFSET_HEADER.encode() + b"l"
_CONTENT_TYPE, _CONTENT_ENCODING, _HEADERS, _MORE_FLAGS = 1 << 15, 1 << 14, 1 << 13, 1
_FLAGS_AT: Final = 12


def offset_in(header: bytes, at: int = 0) -> int | None:
    """Return the offset in the content header that begins at `at`, None if it has none.

    Also of a header that can't be decoded otherwise: no other name or value is read, but only where it ends.
    """
    flags = int.from_bytes(header[at + _FLAGS_AT : at + _FLAGS_AT + 2], "big")
    if not flags & _HEADERS or flags & _MORE_FLAGS:
        return None
    try:
        table_at = at + _FLAGS_AT + 2
        for flag in (_CONTENT_TYPE, _CONTENT_ENCODING):
            if flags & flag:
                table_at += 1 + header[table_at]
        field_at = table_at + 4
        end = field_at + int.from_bytes(header[table_at:field_at], "big")
        while not header.startswith(_NAME_AND_TYPE, field_at):
            field_at = field_end(header, field_at)
            if field_at >= end:
                return None
    except (IndexError, ValueError):
        return None
    value_at = field_at + len(_NAME_AND_TYPE)
    return (
        _number(int.from_bytes(header[value_at : value_at + 8], "big", signed=True))
        if value_at + 8 <= min(end, len(header))
        else None
    )


def offset_of(event: Event) -> int | None:
    """Return the offset of an event that an AMQP source has received, None if it is not of a stream."""
    raw = event.raw
    if isinstance(raw, bytes):
        # As in `deliveries.read`: the content header stands behind the exchange and the routing key.
        exchange_end = 10 + raw[9]
        return offset_in(raw, exchange_end + 1 + raw[exchange_end] + 8)
    try:
        return _number(event.readable_details()[0].get(OFFSET_HEADER))
    except BadEvent:
        return None


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None
