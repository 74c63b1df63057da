"""Tables and arrays among the headers of AMQP: each ends where it says, and is read as the library reads it."""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest
from pamqp.header import ContentHeader

from bridge.sources.amqp.field_table import read_properties
from bridge.sources.amqp.properties import details
from tests.sources.amqp.test_deliveries import EVERY_TYPE, EVERYTHING

#: A value of ten bytes.
_TEXT = b"S" + struct.pack(">I", 5) + b"later"


def _container(letter: bytes, fields: bytes, size: int) -> bytes:
    return letter + struct.pack(">I", size) + fields


#: The value of the header `a`, by its defect. There are enough bytes behind it for the fields that are too long.
OVERRUN = {
    "a name": _container(b"F", b"\5later" + b"V", 3),
    "a value": _container(b"F", b"\1b" + _TEXT, 5),
    "a type": _container(b"F", b"\1b" + b"V", 2),
    "a table in a table": _container(b"F", b"\1b" + _container(b"F", b"\1cV", 3), 4),
    "an array in a table": _container(b"F", b"\1b" + _container(b"A", b"VVV", 3), 4),
    "a value of an array": _container(b"A", _TEXT, 3),
    "a table in an array": _container(b"A", _container(b"F", b"\1cV", 3), 2),
}


def _header(fields: bytes, size: int = -1) -> bytes:
    size = len(fields) if size < 0 else size
    return struct.pack(">HHQHI", 60, 0, 0, 0x2000, size) + fields


@pytest.mark.parametrize("case", OVERRUN)
def test_a_table_whose_fields_do_not_end_at_its_end_is_refused(case: str) -> None:
    """A field that begins within a table or array, and ends behind it: the bytes behind the end are never read twice."""
    with pytest.raises(ValueError, match="a table is cut off"):
        read_properties(_header(b"\1a" + OVERRUN[case] + b"\1zV"))


def test_the_headers_themselves_end_at_their_end() -> None:
    """As each table in them: the properties behind are none of them."""
    with pytest.raises(ValueError, match="a table is cut off"):
        read_properties(_header(b"\1a" + _TEXT, 5))


def test_mutated_headers_are_refused_or_read_as_the_library_reads_them() -> None:
    """Of 4,000 headers with bytes and sizes changed, hundreds are still read, and all of these as pamqp reads them."""
    chance = random.Random(12)
    whole = ContentHeader(body_size=7, properties=EVERYTHING).marshal()
    nested = b"".join(b"\1" + name + b"F" + struct.pack(">I", len(EVERY_TYPE)) + EVERY_TYPE for name in (b"a", b"b"))
    array = b"\1cA" + struct.pack(">I", 13) + b"F\0\0\0\3\1dV" + b"I\0\0\0\1"
    read = 0
    for _ in range(4000):
        header = bytearray(chance.choice((whole, _header(EVERY_TYPE), _header(nested), _header(array))))
        for _ in range(chance.randrange(1, 4)):
            header[chance.randrange(12, len(header))] = chance.choice((0, 1, 2, 5, 70, 127, 128, chance.randrange(256)))
        try:
            ours = read_properties(bytes(header))
        except (ValueError, RecursionError):
            continue
        library: Any = ContentHeader()
        library.unmarshal(bytes(header))
        assert details(ours, "x", False) == details(library.properties, "x", False), bytes(header).hex()
        read += 1
    assert read > 400
