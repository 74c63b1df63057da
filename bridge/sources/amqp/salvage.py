"""Reads as many properties of an AMQP message as it can, after `field_table.read_properties` has refused one."""

from __future__ import annotations

import struct
from typing import Final

from pamqp.commands import Basic

from bridge.sources.amqp.field_table import HEADER_BYTES, MORE_FLAGS, PROPERTIES, field_end, short_text, value_of

_ERRORS: Final = (ValueError, RecursionError, OverflowError, OSError, IndexError, struct.error)
#: The sizes of the properties that are neither text nor a table.
_SIZES: Final = {"delivery_mode": 1, "priority": 1, "timestamp": 8}


def salvage(header: bytes) -> tuple[Basic.Properties, set[str], set[str] | None]:
    """Return the properties that can be read, the names of the others, and those of the headers that can't be read.

    These are None if nobody knows where the next header begins. "headers" is among the unreadable properties then, and
    wherever one of them can't be read.
    """
    properties, unreadable, lost = Basic.Properties(), set[str](), set[str]()
    flagged: list[str] = []
    try:
        at = HEADER_BYTES
        (flags,) = more = struct.unpack_from(">H", header, at)
        while more[0] & MORE_FLAGS:
            at += 2
            more = struct.unpack_from(">H", header, at)
        at += 2
        flagged = [name for name, flag in Basic.Properties.flags.items() if flags & flag]
        while flagged:
            name = flagged[0]
            end = _end(name, header, at)
            if name == "headers":
                properties.headers, known = _headers(header, at + 4, end)  # type: ignore[assignment] # it has the values of one
                if known is None or known:
                    unreadable.add(name)
                    lost = known  # type: ignore[assignment] # both are None, or both are not
            else:
                try:
                    value, _ = PROPERTIES.get(name, short_text)(header, at)
                    setattr(properties, name, value)
                except _ERRORS:
                    unreadable.add(name)
            at = end
            del flagged[0]
    except _ERRORS:
        unreadable.update(flagged)
        if "headers" in flagged:
            return properties, unreadable, None
    return properties, unreadable, lost


def _end(name: str, header: bytes, at: int) -> int:
    """Return where a property ends. Raises IndexError or struct.error if it is cut off."""
    if name in _SIZES:
        end = at + _SIZES[name]
    elif name == "headers":
        end = at + 4 + struct.unpack_from(">I", header, at)[0]
    else:
        end = at + 1 + header[at]
    if end > len(header):
        raise IndexError
    return end


def _headers(header: bytes, at: int, end: int) -> tuple[dict[str, object], set[str] | None]:
    """Return the headers between `at` and `end`, and the names of those that can't be read; None if any may be one."""
    headers: dict[str, object] = {}
    lost: set[str] = set()
    while at < end:
        try:
            field_ends = field_end(header, at)
        except (IndexError, ValueError):
            return headers, None
        if field_ends > end:
            return headers, None
        name_ends = at + 1 + header[at]
        name = header[at + 1 : name_ends].decode("utf-8", "backslashreplace")
        try:
            headers[name], value_ends = value_of(header, name_ends)
            if value_ends != field_ends:
                raise ValueError("it ends elsewhere")
        except _ERRORS:
            headers.pop(name, None)
            lost.add(name)
        at = field_ends
    return headers, lost
