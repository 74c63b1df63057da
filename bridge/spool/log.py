"""The log of one source's spool: records are appended at the end and removed at the start, in files of a few MiB.

Every call blocks, and all calls come from one thread. Memory holds the places of one file's records at most.

Not sqlite3, which was tried first and is fast enough (WAL, synchronous=FULL, 250 events a transaction: 415,000
events/s; this: 560,000): of 200 committed records, one flipped byte in its WAL lost 93 at the median without a sign,
and missing records can't be counted (observed).
"""

from __future__ import annotations

import errno
import os
import zlib
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bridge.spool import quarantine
from bridge.spool.files import Files
from bridge.spool.position import Edge
from bridge.spool.record import Record, scan
from bridge.spool.rights import make_private
from bridge.spool.segment import Handles, Segment


@dataclass(slots=True, frozen=True)
class Entry:
    """Events of the log, up to `end`; without a payload they are lost, because it can't be read."""

    events: int
    payload: bytes | None
    end: Edge


@dataclass(slots=True)
class Damage:
    """Found when the log was opened: `torn` events, whose write was never confirmed, and a lost position.

    Events of `adopted` logs that can't be read are lost.
    """

    torn: int = 0
    position: bool = False
    adopted: int = 0


class Log:
    """The records in `directory`, which is made if it is missing; a new file is begun after `segment_bytes`.

    Raises:
        OSError: the directory can't be read or written.
    """

    def __init__(self, directory: Path, segment_bytes: int, handles: Handles | None = None) -> None:
        self.damage = Damage()
        self._segment_bytes = segment_bytes
        self._unsynced = False
        self.files = Files(directory, handles or Handles())
        try:
            position = self.files.position.read()
            self.damage.position = position is None and not self.files.position.is_empty
            self._end = self._find_end(position or Edge())
            self._number_events()
            self._start = position or self._find_start()
        except BaseException:
            self.files.close()
            raise

    @property
    def events(self) -> int:
        """How many events the log holds, including those that can't be read."""
        return self._end.event - self._start.event

    @property
    def size(self) -> int:
        """How many bytes of the disk the log takes."""
        # A thread may begin a segment meanwhile: the list is taken in one step.
        return sum(segment.size for segment in list(self.files.segments))

    def append(self, payloads: Sequence[tuple[bytes, int]], *, sync: bool) -> None:
        """Append a record for each payload and its number of events, all or none; with `sync` they survive a power cut.

        Raises:
            DirectoryLost: the directory was removed, and can't be made again; nothing was appended.
            OSError: the disk refuses; nothing was appended.
        """
        self.restore()
        self.files.hold()  # another log may have let files go
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
        if not segment.records and self.events:
            segment.records = None  # events of missing files come first: the reader counts them
        if segment.records is not None:
            segment.records.extend(records)
        self._end = edge

    def sync(self) -> None:
        """Sync the appended records to the disk.

        Raises:
            OSError: the disk refuses.
        """
        if self._unsynced and self.files.appends and (file := self.files.segments[-1].file) is not None:
            os.fdatasync(file)
        self._unsynced = False

    def read(self, max_bytes: int) -> list[Entry]:
        """Return the oldest entries: about `max_bytes`, and at least one unless the log is empty."""
        entries: list[Entry] = []
        while not entries and self.events:
            self._drop_emptied()
            if not self.files.segments:
                entries.append(Entry(self.events, None, self._end))  # somebody has removed the files
            elif not self._records(self.files.segments[0]):
                self.files.drop_first()
            else:
                entries = self._read_first(max_bytes)
        return entries

    def remove(self, entry: Entry) -> None:
        """Remove `entry`, the oldest one."""
        self._start = entry.end
        records = self.files.segments[0].records if self.files.segments else None
        while records and records[0].first_event < entry.end.event:
            records.popleft()
        self.files.position.write(self._start)
        self._drop_emptied()

    def copy(self, entries: Sequence[Entry], parent: str) -> Path:
        """Write the payloads of `entries` to a log of the same name in the directory `parent` beside this one; return its path.

        Raises:
            OSError: the disk refuses.
        """
        beside = self.files.directory.parent / parent
        make_private(beside)
        copy = Log(beside / self.files.directory.name, self._segment_bytes)
        try:
            copy.append([(entry.payload, entry.events) for entry in entries if entry.payload is not None], sync=True)
        finally:
            copy.close()
        return copy.files.directory

    def look(self) -> None:
        """Count the events of files that were removed: see `Files.look`."""
        self.files.look(self._start, self._end)

    def restore(self) -> None:
        """Make the directory again, if it is not there: see `Files.restore`.

        Raises:
            DirectoryLost: it can't be made again.
        """
        self.files.restore(self._start, self._end)

    def close(self) -> None:
        """Sync everything to the disk, and close the files."""
        with suppress(OSError):
            self.sync()
            self.files.position.sync()
        self.files.close()

    def _read_first(self, max_bytes: int) -> list[Entry]:
        segment = self.files.segments[0]
        entries: list[Entry] = []
        size = 0
        for record in self._records(segment):
            if entries and size >= max_bytes:
                break
            data = self.files.read(segment, record.offset, record.end - record.offset) if record.length else b""
            payload = record.payload(data)
            if data and payload is None:
                self._quarantine(segment.path, record.offset, data)
            entries.append(Entry(record.events, payload, _edge_after(record)))
            size += record.length
        return entries

    def _records(self, segment: Segment) -> deque[Record]:
        """Return the records of the oldest file; a gap in the numbers becomes a record that can't be read."""
        if segment.records is None:
            data = self.files.read(segment)
            segment.records = deque()
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
        if self.files.appends:
            if self.files.segments[-1].size < self._segment_bytes:
                return self.files.segments[-1]
            self.sync()
        return self.files.begin(self._end.record, self._end.event)

    def _drop_emptied(self) -> None:
        segments = self.files.segments
        while len(segments) > 1 and segments[0].records is not None and not segments[0].records:
            self.files.drop_first()

    def _find_end(self, least: Edge) -> Edge:
        """Return the edge after the last record, at least `least`; cut a torn record behind it."""
        end = least
        for segment in reversed(self.files.segments):
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

    def _number_events(self) -> None:
        """Find the first event of each file; of one that can't be read, that of the next."""
        first_event = self._end.event
        for segment in reversed(self.files.segments):
            if record := segment.first_record():
                first_event = record.first_event
            segment.first_event = first_event

    def _find_start(self) -> Edge:
        """Return the edge before the oldest record, if the position is lost: removed records then come once more."""
        for segment in self.files.segments:
            if record := segment.first_record():
                return Edge(record.number, record.first_event)
        return self._end

    def _quarantine(self, path: Path, offset: int, data: bytes) -> None:
        quarantine.keep(self.files.directory / "quarantine", f"{path.stem}-{offset}", data, self._segment_bytes)


def _edge_after(record: Record) -> Edge:
    return Edge(record.number + 1, record.first_event + record.events)
