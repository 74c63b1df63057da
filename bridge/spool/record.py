"""A record of the spool, and its layout on the disk.

    head     the magic HEAD, record number 8, first event's number 8, events 4, payload's length 4, payload's CRC-32 4,
             CRC-32 of the fields before it 4
    payload
    foot     the same as the head, with the magic FOOT

Records and events are numbered without gaps, so that missing ones are counted exactly. One damaged place never takes
both the head and the foot of a record, so that its number of events survives as well.
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
#: Bytes of a head, and of a foot.
SIZE: Final = _FIELDS.size + _CRC.size


@dataclass(slots=True, frozen=True)
class Record:
    """Where a record begins in its file, and the fields of its head or foot."""

    offset: int
    number: int
    first_event: int
    events: int
    length: int
    crc: int
    #: Whether the head can't be read: the fields are the foot's, and the payload is given up.
    headless: bool = False

    @property
    def end(self) -> int:
        """Where the next record begins."""
        return self.offset + 2 * SIZE + self.length

    def encode(self, payload: bytes) -> bytes:
        """Return the record's bytes."""
        fields = (self.number, self.first_event, self.events, self.length, self.crc)
        head, foot = (_FIELDS.pack(magic, *fields) for magic in (HEAD, FOOT))
        return b"".join((head, _CRC.pack(zlib.crc32(head)), payload, foot, _CRC.pack(zlib.crc32(foot))))

    def payload(self, data: bytes) -> bytes | None:
        """Return the payload from the record's bytes, or None if it is damaged."""
        payload = data[SIZE : SIZE + self.length]
        whole = not self.headless and len(payload) == self.length and zlib.crc32(payload) == self.crc
        return payload if whole else None


def scan(data: bytes) -> Iterator[Record]:
    """Yield the records of a file, in order; damaged places are passed over.

    The last record may reach beyond the end of the file: its write was interrupted.
    """
    offset = 0
    while offset < len(data):
        record = _read(data, offset, HEAD)
        if record is None:
            record = _find_next(data, offset)
            if record is None:
                return
        yield record
        offset = record.end


def _find_next(data: bytes, start: int) -> Record | None:
    """Return the first record behind `start` whose head or foot can be read."""
    prefix = HEAD[:2]
    place = data.find(prefix, start + 1)
    while place >= 0:
        if record := _read(data, place, HEAD):
            return record
        foot = _read(data, place, FOOT)
        if foot is not None:
            offset = place - SIZE - foot.length
            if offset >= start:
                return Record(offset, foot.number, foot.first_event, foot.events, foot.length, foot.crc, headless=True)
        place = data.find(prefix, place + 1)
    return None


def _read(data: bytes, offset: int, magic: bytes) -> Record | None:
    if offset + SIZE > len(data):
        return None
    fields = data[offset : offset + _FIELDS.size]
    if fields[:4] != magic or _CRC.unpack_from(data, offset + _FIELDS.size)[0] != zlib.crc32(fields):
        return None
    _, number, first_event, events, length, crc = _FIELDS.unpack(fields)
    return Record(offset, number, first_event, events, length, crc)
