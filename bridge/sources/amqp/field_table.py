"""Decodes the properties of an AMQP message in linear time.

pamqp 4.0.1 copies the rest of the bytes for each field: 128 KiB of headers, one frame, cost 0.4 s (observed).

    class (2) | weight (2) | body size (8) | flags (2, and 2 more while the lowest bit is set) | values

A table is its size (4), then for each field its name behind its size (1), the type (1) and the value. An array is the same
without names.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from pamqp.commands import Basic

from bridge.config.wording import quoted

HEADER_BYTES: Final = 12
MORE_FLAGS: Final = 1
#: Seconds above the year 2106 are taken for milliseconds, as pamqp takes them.
_MAX_SECONDS: Final = 0xFFFFFFFF

_Value = tuple[object, int]


def read_properties(header: bytes) -> Basic.Properties:
    """Return the properties of a content header.

    Raises:
        ValueError: a value is cut off or malformed (text that is not UTF-8, an unknown type, a time that does not exist).
        RecursionError: tables are nested too deeply.
    """
    properties = Basic.Properties()
    try:
        at = HEADER_BYTES
        (flags,) = more = struct.unpack_from(">H", header, at)
        while more[0] & MORE_FLAGS:
            at += 2
            more = struct.unpack_from(">H", header, at)
        at += 2
        for name, flag in Basic.Properties.flags.items():
            if flags & flag:
                value, at = PROPERTIES.get(name, short_text)(header, at)
                setattr(properties, name, value)
    except (struct.error, IndexError):
        raise ValueError("it is cut off") from None
    except (OverflowError, OSError) as error:  # of a time
        raise ValueError(str(error)) from None
    return properties


def field_end(data: bytes, at: int) -> int:
    """Return where the field of a table at `at` ends; its name and its value are not decoded.

    Raises:
        IndexError: it is cut off.
        ValueError: its type is unknown.
    """
    type_at = at + 1 + data[at]
    kind = data[type_at]
    size = _SIZES.get(kind)
    if size is not None:
        return type_at + 1 + size
    if kind in _SIZED:
        return type_at + 5 + int.from_bytes(data[type_at + 1 : type_at + 5], "big")
    raise ValueError(f"unknown type {quoted(chr(kind))}")


def _cut(data: bytes, at: int, size: int) -> tuple[bytes, int]:
    end = at + size
    if end > len(data):
        raise ValueError("it is cut off")
    return data[at:end], end


def short_text(data: bytes, at: int) -> _Value:
    """Return the short text at `at`, and where it ends. Raises ValueError if it is cut off, or not UTF-8."""
    raw, end = _cut(data, at + 1, data[at])
    return raw.decode(), end


def _sized(data: bytes, at: int) -> tuple[bytes, int]:
    return _cut(data, at + 4, struct.unpack_from(">I", data, at)[0])


def _long_text(data: bytes, at: int) -> _Value:
    raw, end = _sized(data, at)
    try:
        return raw.decode(), end
    except UnicodeDecodeError:
        return raw, end


def _fixed(layout: str, convert: Callable[[Any], object] | None = None) -> Callable[[bytes, int], _Value]:
    unpack, size = struct.Struct(layout).unpack_from, struct.calcsize(layout)

    def read(data: bytes, at: int) -> _Value:
        (value,) = unpack(data, at)
        return value if convert is None else convert(value), at + size

    return read


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds / 1000 if seconds > _MAX_SECONDS else seconds, UTC)


def _decimal(data: bytes, at: int) -> _Value:
    places, digits = struct.unpack_from(">Bi", data, at)
    return Decimal(digits) * Decimal(10) ** -places, at + 5


def _end(data: bytes, at: int) -> int:
    """Return where the table or array at `at` ends."""
    end: int = at + 4 + struct.unpack_from(">I", data, at)[0]
    if end > len(data):
        raise ValueError("a table is cut off")
    return end


def _exactly(at: int, end: int) -> int:
    # A field beyond the end would be read again as a field of the table around it, and so twice as often at each level.
    if at != end:
        raise ValueError("a table is cut off")
    return end


def value_of(data: bytes, at: int) -> _Value:
    """Return the value of a table behind its type at `at`, and where it ends."""
    read = _TYPES.get(data[at])
    if read is None:
        raise ValueError(f"unknown type {quoted(chr(data[at]))}")
    return read(data, at + 1)


def _table(data: bytes, at: int) -> _Value:
    end, at = _end(data, at), at + 4
    table = {}
    while at < end:
        name, at = short_text(data, at)
        table[name], at = value_of(data, at)
    return table, _exactly(at, end)


def _array(data: bytes, at: int) -> _Value:
    end, at = _end(data, at), at + 4
    values = []
    while at < end:
        value, at = value_of(data, at)
        values.append(value)
    return values, _exactly(at, end)


def _nothing(_data: bytes, at: int) -> _Value:
    return None, at


PROPERTIES: Final[dict[str, Callable[[bytes, int], _Value]]] = {
    "headers": _table, "delivery_mode": _fixed(">B"), "priority": _fixed(">B"), "timestamp": _fixed(">Q", _time),
}  # fmt: skip
#: https://www.rabbitmq.com/amqp-0-9-1-errata.html
_TYPES: Final[dict[int, Callable[[bytes, int], _Value]]] = {
    ord(letter): read
    for letter, read in {
        "t": _fixed(">?"), "b": _fixed(">b"), "B": _fixed(">B"), "s": _fixed(">h"), "u": _fixed(">H"), "I": _fixed(">i"),
        "i": _fixed(">I"), "l": _fixed(">q"), "L": _fixed(">q"), "f": _fixed(">f"), "d": _fixed(">d"), "D": _decimal,
        "S": _long_text, "A": _array, "T": _fixed(">Q", _time), "F": _table, "V": _nothing, "\0": _nothing, "x": _sized,
    }.items()
}  # fmt: skip
#: How many bytes a value of each type takes, unless it is of those behind a size (4).
_SIZES: Final = {
    ord(letter): size
    for letters, size in (("V\0", 0), ("tbB", 1), ("su", 2), ("Iif", 4), ("D", 5), ("lLdT", 8))
    for letter in letters
}
_SIZED: Final = frozenset(b"SAFx")
