"""A record of the spool, and how it lies on the disk.

    head     the magic HEAD, record number 8, first event's number 8, events 4, payload's length 4, payload's CRC-32 4,
             CRC-32 of all that 4
    payload
    foot     the same as the head, with the magic FOOT

Records and events are numbered without gaps, so that what is missing is counted exactly; and one damaged place never
takes both the head and the foot of a record, so that its count survives as well.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

HEAD: Final = b"\xb5\x0dSP"
FOOT: Final = b"\xb5\x0dPS"
_FIELDS: Final = struct.Struct("<4sQQIII")
_CRC: Final = struct.Struct("<I")
SIZE: Final = _FIELDS.size + _CRC.size


@dataclass(slots=True, frozen=True)
class Record:
    """Where a record begins in its file, and what its head or foot says of it."""

    at: int
    number: int
    first: int
    events: int
    length: int
    crc: int
    #: Whether the head can't be read: all this is from the foot, and the payload is given up.
    headless: bool = False

    @property
    def end(self) -> int:
        """Where the next one begins."""
        return self.at + 2 * SIZE + self.length

    def packed(self, payload: bytes) -> bytes:
        """Return the record's bytes."""
        said = (self.number, self.first, self.events, self.length, self.crc)
        head, foot = (_FIELDS.pack(magic, *said) for magic in (HEAD, FOOT))
        return b"".join((head, _CRC.pack(zlib.crc32(head)), payload, foot, _CRC.pack(zlib.crc32(foot))))

    def payload(self, data: bytes) -> bytes | None:
        """Return the payload out of the record's bytes, or None if it is not what was written."""
        found = data[SIZE : SIZE + self.length]
        whole = not self.headless and len(found) == self.length and zlib.crc32(found) == self.crc
        return found if whole else None


def scan(data: bytes) -> Iterator[Record]:
    """Yield the records of a file, in order; what is damaged is passed over.

    The last one may reach beyond the end of the file: it was torn while it was written.
    """
    at = 0
    while at < len(data):
        record = _read(data, at, HEAD)
        if record is None:
            record = _next(data, at)
            if record is None:
                return
        yield record
        at = record.end


def _next(data: bytes, at: int) -> Record | None:
    """Return the first record whose head or foot can be read behind `at`."""
    prefix = HEAD[:2]
    place = data.find(prefix, at + 1)
    while place >= 0:
        if record := _read(data, place, HEAD):
            return record
        foot = _read(data, place, FOOT)
        if foot is not None:
            begin = place - SIZE - foot.length
            if begin >= at:
                return Record(begin, foot.number, foot.first, foot.events, foot.length, foot.crc, headless=True)
        place = data.find(prefix, place + 1)
    return None


def _read(data: bytes, at: int, magic: bytes) -> Record | None:
    if at + SIZE > len(data):
        return None
    fields = data[at : at + _FIELDS.size]
    if fields[:4] != magic or _CRC.unpack_from(data, at + _FIELDS.size)[0] != zlib.crc32(fields):
        return None
    _, number, first, events, length, crc = _FIELDS.unpack(fields)
    return Record(at, number, first, events, length, crc)
