"""The log of one source's spool: records appended at one end and removed at the other, in files of a few MiB.

Everything here blocks, and belongs to one thread. At most one file's records are known by their places in memory.

Not sqlite3, which was tried first and is fast enough (WAL, synchronous=FULL, 250 events a transaction: 415,000 events/s;
this: 560,000): of 200 committed records, one flipped byte in its WAL lost 93 at the median without a word, and nobody
can count what is not there (observed).
"""

from __future__ import annotations

import errno
import os
import struct
import zlib
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bridge.spool.record import Record, scan

#: Damaged places are kept for people to look at, so many of them at most.
_MOST_QUARANTINED: Final = 100
_SUFFIX: Final = ".spool"
_NUMBERS: Final = struct.Struct("<QQ")
_CRC: Final = struct.Struct("<I")


@dataclass(slots=True, frozen=True)
class Edge:
    """Where one of the log's ends is: the number of the next record, and of its first event."""

    record: int = 0
    event: int = 0


@dataclass(slots=True, frozen=True)
class Entry:
    """Events of the log, up to `end`; without a payload they are lost: what was written can't be read."""

    events: int
    payload: bytes | None
    end: Edge


@dataclass(slots=True)
class _Segment:
    """One file; `places` of the records that are not removed, while it is the oldest one."""

    path: Path
    size: int
    places: deque[Record] | None = None


@dataclass(slots=True)
class Damage:
    """What was found when the log was opened: unconfirmed events at its end that were torn, and a lost position."""

    torn: int = 0
    position: bool = False


class Log:
    """The records of `directory`, which is made where it is missing; its files are closed at `segment_bytes`.

    Raises:
        OSError: the directory can't be read or written.
    """

    def __init__(self, directory: Path, segment_bytes: int) -> None:
        self.damage = Damage()
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._file: int | None = None
        self._unsynced = False
        directory.mkdir(parents=True, exist_ok=True)
        self._position = os.open(directory / "position", os.O_RDWR | os.O_CREAT, 0o600)
        paths = sorted(directory.glob(f"*{_SUFFIX}"))
        self._segments = deque(_Segment(path, path.stat().st_size) for path in paths)
        out = self._read_position()
        self._in = self._find_end(out or Edge())
        self._out = out or self._find_beginning()

    @property
    def events(self) -> int:
        """How many events it holds, what can't be read among them."""
        return self._in.event - self._out.event

    @property
    def size(self) -> int:
        """How many bytes of the disk it takes."""
        return sum(segment.size for segment in self._segments)

    def append(self, payloads: Sequence[tuple[bytes, int]], *, sync: bool) -> None:
        """Add a record for each payload and its number of events, all or none; with `sync` they survive a power cut.

        Raises:
            OSError: it could not be done, and nothing of it is there.
        """
        segment = self._writable()
        assert self._file is not None  # noqa: S101 - `_writable` has opened it
        edge = self._in
        parts: list[bytes] = []
        places: list[Record] = []
        at = segment.size
        for payload, events in payloads:
            record = Record(at, edge.record, edge.event, events, len(payload), zlib.crc32(payload))
            places.append(record)
            parts.append(record.packed(payload))
            edge, at = _behind(record), record.end
        data = b"".join(parts)
        try:
            if os.pwrite(self._file, data, segment.size) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # a disk that fills takes a part
            self._unsynced = True
            if sync:
                self.sync()
        except OSError:
            os.ftruncate(self._file, segment.size)
            raise
        segment.size = at
        if segment.places is not None:
            segment.places.extend(places)
        self._in = edge

    def sync(self) -> None:
        """Bring what was appended to the disk.

        Raises:
            OSError: it could not be done.
        """
        if self._unsynced and self._file is not None:
            os.fdatasync(self._file)
        self._unsynced = False

    def read(self, most_bytes: int) -> list[Entry]:
        """Return the oldest entries: about `most_bytes`, at least one if there is one."""
        entries: list[Entry] = []
        while not entries and self.events:
            self._drop_emptied()
            if not self._segments:
                entries.append(Entry(self.events, None, self._in))  # files that somebody has removed
            elif not self._places(self._segments[0]):
                self._drop_first()
            else:
                entries = self._read_first(most_bytes)
        return entries

    def remove(self, entry: Entry) -> None:
        """Forget `entry`, the oldest one."""
        self._out = entry.end
        places = self._segments[0].places if self._segments else None
        while places and places[0].first < entry.end.event:
            places.popleft()
        os.pwrite(self._position, _checked(self._out), 0)
        self._drop_emptied()

    def close(self) -> None:
        """Bring everything to the disk, and close it."""
        with suppress(OSError):
            self.sync()
            os.fdatasync(self._position)
        if self._file is not None:
            os.close(self._file)
            self._file = None
        os.close(self._position)

    def _read_first(self, most_bytes: int) -> list[Entry]:
        segment = self._segments[0]
        entries: list[Entry] = []
        size = 0
        with segment.path.open("rb") as file:
            for record in self._places(segment):
                if entries and size >= most_bytes:
                    break
                file.seek(record.at)
                data = file.read(record.end - record.at) if record.length else b""
                payload = record.payload(data)
                if data and payload is None:
                    self._quarantine(segment.path, record.at, data)
                entries.append(Entry(record.events, payload, _behind(record)))
                size += record.length
        return entries

    def _places(self, segment: _Segment) -> deque[Record]:
        """Return where the records of the oldest file are; a gap in the numbers is a record that can't be read."""
        if segment.places is None:
            segment.places = deque()
            data = segment.path.read_bytes()
            expected, end = self._out, 0
            for record in scan(data):
                if record.end > len(data) or record.number < expected.record:
                    end = record.end
                    continue
                if record.first > expected.event:
                    lost = record.first - expected.event
                    segment.places.append(Record(end, record.number - 1, expected.event, lost, 0, 0, headless=True))
                    self._quarantine(segment.path, end, data[end : record.at])
                segment.places.append(record)
                expected, end = _behind(record), record.end
        return segment.places

    def _writable(self) -> _Segment:
        if self._file is not None and self._segments[-1].size < self._segment_bytes:
            return self._segments[-1]
        if self._file is not None:
            self.sync()
        path = self._directory / f"{self._in.record:020d}{_SUFFIX}"
        # What has the name already is a file in which nothing could be read.
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            _sync_directory(self._directory)
        except OSError:
            os.close(file)
            raise
        if self._file is not None:
            os.close(self._file)
        self._file = file
        self._segments = deque(segment for segment in self._segments if segment.path != path)
        self._segments.append(_Segment(path, 0))
        return self._segments[-1]

    def _drop_emptied(self) -> None:
        while len(self._segments) > 1 and self._segments[0].places is not None and not self._segments[0].places:
            self._drop_first()

    def _drop_first(self) -> None:
        # First the position: without it, what is deleted would be missing after a power cut.
        os.fdatasync(self._position)
        segment = self._segments.popleft()
        if not self._segments and self._file is not None:
            os.close(self._file)
            self._file = None
        segment.path.unlink(missing_ok=True)

    def _find_end(self, least: Edge) -> Edge:
        """Return what follows the last record, and cut what was torn behind it."""
        end = least
        for segment in reversed(self._segments):
            data = segment.path.read_bytes()
            whole = 0
            for record in scan(data):
                if record.end > len(data):
                    self.damage.torn += record.events
                    break
                whole = record.end
                if record.number >= end.record:
                    end = _behind(record)
            if whole < len(data):
                self._quarantine(segment.path, whole, data[whole:])
                os.truncate(segment.path, whole)
                segment.size = whole
            if whole:
                break
        return end

    def _find_beginning(self) -> Edge:
        """Return the oldest record's edge where the position is lost: what was removed already comes once more."""
        for segment in self._segments:
            for record in scan(segment.path.read_bytes()):
                return Edge(record.number, record.first)
        return self._in

    def _read_position(self) -> Edge | None:
        data = os.pread(self._position, _NUMBERS.size + _CRC.size, 0)
        if data == _checked(edge := Edge(*_NUMBERS.unpack(data[: _NUMBERS.size].ljust(_NUMBERS.size, b"\0")))):
            return edge
        self.damage.position = bool(data)
        return None

    def _quarantine(self, path: Path, at: int, data: bytes) -> None:
        """Keep what is damaged: the first of it, as much as one file of the log may hold."""
        # The disk may be full: what is damaged is lost either way.
        with suppress(OSError):
            directory = self._directory / "quarantine"
            directory.mkdir(exist_ok=True)
            sizes = [kept.stat().st_size for kept in directory.iterdir()]
            room = self._segment_bytes - sum(sizes)
            file = directory / f"{path.stem}-{at}"
            if room > 0 and len(sizes) < _MOST_QUARANTINED and not file.exists():
                file.write_bytes(data[:room])


def _behind(record: Record) -> Edge:
    return Edge(record.number + 1, record.first + record.events)


def _checked(edge: Edge) -> bytes:
    numbers = _NUMBERS.pack(edge.record, edge.event)
    return numbers + _CRC.pack(zlib.crc32(numbers))


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
