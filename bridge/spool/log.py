"""The log of one source's spool: records are appended at the end and removed at the start, in files of a few MiB.

Every call blocks, and all calls come from one thread. Memory holds the places of one file's records at most.

Not sqlite3, which was tried first and is fast enough (WAL, synchronous=FULL, 250 events a transaction: 415,000
events/s; this: 560,000): of 200 committed records, one flipped byte in its WAL lost 93 at the median without a sign,
and missing records can't be counted (observed).
"""

from __future__ import annotations

import errno
import os
import struct
import time
import zlib
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bridge.spool.record import Record, scan
from bridge.spool.segment import Handles, Segment, is_there, replace, sync_directory

#: Damaged places are copied to files for people to examine, at most so many.
_MAX_QUARANTINED_FILES: Final = 100
_SUFFIX: Final = ".spool"
_NUMBERS: Final = struct.Struct("<QQ")
_CRC: Final = struct.Struct("<I")


@dataclass(slots=True, frozen=True)
class Edge:
    """A place between two records: the number of the next record, and of its first event."""

    record: int = 0
    event: int = 0


@dataclass(slots=True, frozen=True)
class Entry:
    """Events of the log, up to `end`; without a payload they are lost, because it can't be read."""

    events: int
    payload: bytes | None
    end: Edge


@dataclass(slots=True)
class Damage:
    """Found when the log was opened: `torn` events, whose write was never confirmed, and a lost position."""

    torn: int = 0
    position: bool = False


class DirectoryLost(OSError):
    """The directory of a log was removed, and can't be made again now."""


class Log:
    """The records in `directory`, which is made if it is missing; a new file is begun after `segment_bytes`.

    Raises:
        OSError: the directory can't be read or written.
    """

    def __init__(self, directory: Path, segment_bytes: int, handles: Handles | None = None) -> None:
        self.damage = Damage()
        #: How often the directory was made again because somebody has removed it.
        self.restored = 0
        self._handles = handles or Handles()
        self._directory = directory
        self._segment_bytes = segment_bytes
        #: Whether records may be appended to the last segment: this process has begun it.
        self._appends = False
        self._unsynced = False
        self._segments: deque[Segment] = deque()
        directory.mkdir(parents=True, exist_ok=True)
        self._position = os.open(directory / "position", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            for path in sorted(directory.glob(f"*{_SUFFIX}")):
                self._segments.append(Segment(path, None, path.stat().st_size))
            self._hold()
            position = self._read_position()
            self._end = self._find_end(position or Edge())
            self._start = position or self._find_start()
        except BaseException:
            self._close_files()
            raise

    @property
    def events(self) -> int:
        """How many events the log holds, including those that can't be read."""
        return self._end.event - self._start.event

    @property
    def size(self) -> int:
        """How many bytes of the disk the log takes."""
        return sum(segment.size for segment in self._segments)

    def append(self, payloads: Sequence[tuple[bytes, int]], *, sync: bool) -> None:
        """Append a record for each payload and its number of events, all or none; with `sync` they survive a power cut.

        Raises:
            DirectoryLost: the directory was removed, and can't be made again; nothing was appended.
            OSError: the disk refuses; nothing was appended.
        """
        self.restore()
        segment = self._writable()
        edge = self._end
        parts: list[bytes] = []
        records: list[Record] = []
        offset = segment.size
        for payload, events in payloads:
            record = Record(offset, edge.record, edge.event, events, len(payload), zlib.crc32(payload))
            records.append(record)
            parts.append(record.encode(payload))
            edge, offset = _edge_after(record), record.end
        data = b"".join(parts)
        assert segment.file is not None  # noqa: S101 - `_writable` has opened it
        try:
            if os.pwrite(segment.file, data, segment.size) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # a disk that fills up writes only a part
            self._unsynced = True
            if sync:
                self.sync()
        except OSError:
            os.ftruncate(segment.file, segment.size)
            raise
        segment.size = offset
        if segment.records is not None:
            segment.records.extend(records)
        self._end = edge

    def sync(self) -> None:
        """Sync the appended records to the disk.

        Raises:
            OSError: the disk refuses.
        """
        if self._unsynced and self._appends and (file := self._segments[-1].file) is not None:
            os.fdatasync(file)
        self._unsynced = False

    def read(self, max_bytes: int) -> list[Entry]:
        """Return the oldest entries: about `max_bytes`, and at least one unless the log is empty."""
        entries: list[Entry] = []
        while not entries and self.events:
            self._drop_emptied()
            if not self._segments:
                entries.append(Entry(self.events, None, self._end))  # somebody has removed the files
            elif not self._records(self._segments[0]):
                self._drop_first()
            else:
                entries = self._read_first(max_bytes)
        return entries

    def remove(self, entry: Entry) -> None:
        """Remove `entry`, the oldest one."""
        self._start = entry.end
        records = self._segments[0].records if self._segments else None
        while records and records[0].first_event < entry.end.event:
            records.popleft()
        os.pwrite(self._position, _encode_position(self._start), 0)
        self._drop_emptied()

    @property
    def is_there(self) -> bool:
        """Whether somebody has neither removed nor moved the directory, nor a file in it that is open."""
        kept = [(self._directory / "position", self._position), *((each.path, each.file) for each in self._segments)]
        return all(file is None or is_there(path, file) for path, file in kept)

    def restore(self) -> None:
        """Make the directory again, if it is not there, with all that its open files held.

        The events of other files that are missing are read as lost.

        Raises:
            DirectoryLost: it can't be made again.
        """
        if self.is_there:
            return
        try:
            self._move_left()
            self._directory.mkdir(parents=True, exist_ok=True)
            for segment in list(self._segments):
                if segment.file is None:
                    if not segment.path.exists():
                        self._segments.remove(segment)
                elif not is_there(segment.path, segment.file):
                    segment.file = replace(segment.file, segment.path, segment.read())
            # Last: until then all is tried again.
            position = self._directory / "position"
            if not is_there(position, self._position):
                self._position = replace(self._position, position, _encode_position(self._start))
            sync_directory(self._directory)
        except OSError as error:
            raise DirectoryLost(error.errno, error.strerror, str(self._directory)) from None
        self.restored += 1

    def _move_left(self) -> None:
        """Move events away that another process, which has ended, has left: the next start adopts them."""
        position = self._directory / "position"
        if not position.exists() or is_there(position, self._position):
            return
        ours = {each.path for each in self._segments if each.file is not None and is_there(each.path, each.file)}
        if any(path.stat().st_size for path in self._directory.glob(f"*{_SUFFIX}") if path not in ours):
            left = self._directory.parent / f"process-left-{time.time_ns()}"
            left.mkdir()
            self._directory.rename(left / self._directory.name)

    def close(self) -> None:
        """Sync everything to the disk, and close the files."""
        with suppress(OSError):
            self.sync()
            os.fdatasync(self._position)
        self._close_files()

    def _hold(self) -> None:
        """Hold the oldest files open, as many as may be."""
        for segment in self._segments:
            if not segment.hold(self._handles):
                return

    def _close_files(self) -> None:
        for segment in self._segments:
            segment.release(self._handles)
        self._segments.clear()
        self._appends = False
        os.close(self._position)

    def _read_file(self, segment: Segment, offset: int = 0, size: int | None = None) -> bytes:
        return segment.read(offset, size) if segment.file is not None or self._is_ours(segment) else b""

    def _is_ours(self, segment: Segment) -> bool:
        """Whether the file of this name is not one that another process has made since the directory was removed."""
        path, file = (
            (self._directory / "position", self._position) if segment.file is None else (segment.path, segment.file)
        )
        return is_there(path, file) or not path.exists()

    def _read_first(self, max_bytes: int) -> list[Entry]:
        segment = self._segments[0]
        entries: list[Entry] = []
        size = 0
        for record in self._records(segment):
            if entries and size >= max_bytes:
                break
            data = self._read_file(segment, record.offset, record.end - record.offset) if record.length else b""
            payload = record.payload(data)
            if data and payload is None:
                self._quarantine(segment.path, record.offset, data)
            entries.append(Entry(record.events, payload, _edge_after(record)))
            size += record.length
        return entries

    def _records(self, segment: Segment) -> deque[Record]:
        """Return the records of the oldest file; a gap in the numbers becomes a record that can't be read."""
        if segment.records is None:
            segment.records = deque()
            data = self._read_file(segment)
            expected, end = self._start, 0
            for record in scan(data):
                if record.end > len(data) or record.number < expected.record:
                    end = record.end
                    continue
                if record.first_event > expected.event:
                    lost = record.first_event - expected.event
                    segment.records.append(Record(end, record.number - 1, expected.event, lost, 0, 0, headless=True))
                    self._quarantine(segment.path, end, data[end : record.offset])
                segment.records.append(record)
                expected, end = _edge_after(record), record.end
        return segment.records

    def _writable(self) -> Segment:
        if self._appends and self._segments[-1].size < self._segment_bytes:
            return self._segments[-1]
        if self._appends:
            self.sync()
        path = self._directory / f"{self._end.record:020d}{_SUFFIX}"
        # A file that has this name already is truncated: no record in it could be read.
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            sync_directory(self._directory)
        except OSError:
            os.close(file)
            raise
        for same in [segment for segment in self._segments if segment.path == path]:
            same.release(self._handles)
            self._segments.remove(same)
        self._handles.free -= 1
        if self._appends and self._handles.free < 0:
            self._segments[-1].release(self._handles)
        self._segments.append(Segment(path, file, 0))
        self._appends = True
        return self._segments[-1]

    def _drop_emptied(self) -> None:
        while len(self._segments) > 1 and self._segments[0].records is not None and not self._segments[0].records:
            self._drop_first()

    def _drop_first(self) -> None:
        # The position first: with an older one, the deleted records would be missing after a power cut.
        os.fdatasync(self._position)
        segment = self._segments.popleft()
        if self._is_ours(segment):
            segment.path.unlink(missing_ok=True)
        segment.release(self._handles)
        if not self._segments:
            self._appends = False
        self._hold()

    def _find_end(self, least: Edge) -> Edge:
        """Return the edge after the last record, at least `least`; cut a torn record behind it."""
        end = least
        for segment in reversed(self._segments):
            data = segment.read()
            whole = 0
            for record in scan(data):
                if record.end > len(data):
                    self.damage.torn += record.events
                    break
                whole = record.end
                if record.number >= end.record:
                    end = _edge_after(record)
            if whole < len(data):
                self._quarantine(segment.path, whole, data[whole:])
                os.truncate(segment.path, whole)
                segment.size = whole
            if whole:
                break
        return end

    def _find_start(self) -> Edge:
        """Return the edge before the oldest record, if the position is lost: removed records then come once more."""
        for segment in self._segments:
            for record in scan(segment.read()):
                return Edge(record.number, record.first_event)
        return self._end

    def _read_position(self) -> Edge | None:
        data = os.pread(self._position, _NUMBERS.size + _CRC.size, 0)
        if data == _encode_position(edge := Edge(*_NUMBERS.unpack(data[: _NUMBERS.size].ljust(_NUMBERS.size, b"\0")))):
            return edge
        self.damage.position = bool(data)
        return None

    def _quarantine(self, path: Path, offset: int, data: bytes) -> None:
        """Copy damaged bytes to a file of their own; all these files together hold at most `segment_bytes`."""
        # The disk may be full: the damaged bytes are lost either way.
        with suppress(OSError):
            directory = self._directory / "quarantine"
            directory.mkdir(exist_ok=True)
            sizes = [quarantined.stat().st_size for quarantined in directory.iterdir()]
            room = self._segment_bytes - sum(sizes)
            file = directory / f"{path.stem}-{offset}"
            if room > 0 and len(sizes) < _MAX_QUARANTINED_FILES and not file.exists():
                file.write_bytes(data[:room])


def _edge_after(record: Record) -> Edge:
    return Edge(record.number + 1, record.first_event + record.events)


def _encode_position(edge: Edge) -> bytes:
    numbers = _NUMBERS.pack(edge.record, edge.event)
    return numbers + _CRC.pack(zlib.crc32(numbers))
