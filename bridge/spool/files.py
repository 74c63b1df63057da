"""The files of a spool's log: held open, so that they survive the removal of their directory, and made again then."""

from __future__ import annotations

import os
import time
from collections import deque
from pathlib import Path
from typing import Final

from bridge.observe.logs import logger
from bridge.spool.position import Edge, Position
from bridge.spool.rights import PRIVATE, make_private
from bridge.spool.segment import Handles, Segment, is_there, replace, sync_directory

log = logger()
_SUFFIX: Final = ".spool"


class DirectoryLost(OSError):
    """The directory of a log was removed, and can't be made again now."""


class Files:
    """The position and the segments, oldest first, in `directory`, which is made if it is missing.

    Raises:
        OSError: the directory can't be read or written.
    """

    def __init__(self, directory: Path, handles: Handles) -> None:
        self.directory = directory
        self.segments: deque[Segment] = deque()
        #: Whether records may be appended to the last segment: this process has begun it.
        self.appends = False
        #: How often the directory was made again because somebody has removed it.
        self.restored = 0
        #: When the directory was looked at last: events of its removed files that can be made again, and of the others.
        self.unsaved = self.missing = 0
        #: Set by another thread: a stop has no time to make more files again.
        self.given_up = False
        self._handles = handles
        make_private(directory)
        self.position = Position(directory / "position")
        try:
            for path in sorted(directory.glob(f"*{_SUFFIX}")):
                self.segments.append(Segment(path, None, path.stat().st_size))
            if self.segments:
                # Always: by the numbers in the last file the events of missing ones are counted.
                self.segments[-1].hold(self._handles, always=True)
            self.hold()
        except BaseException:
            self.close()
            raise

    @property
    def is_there(self) -> bool:
        """Whether somebody has neither removed nor moved the directory, nor a file in it that is open."""
        held = ((each.path, each.file) for each in self.segments)
        return self.position.is_there and all(file is None or is_there(path, file) for path, file in held)

    def read(self, segment: Segment, offset: int = 0, size: int | None = None) -> bytes:
        """Read from `segment`, see there; nothing where its file is another process's by now."""
        return segment.read(offset, size) if segment.file is not None or self._is_ours(segment) else b""

    def begin(self, record: int, first_event: int) -> Segment:
        """Add a file for the record of this number, and those behind it.

        Raises:
            OSError: the disk refuses.
        """
        path = self.directory / f"{record:020d}{_SUFFIX}"
        # A file that has this name already is truncated: no record in it could be read.
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            sync_directory(self.directory)
        except OSError:
            os.close(file)
            raise
        for same in [segment for segment in self.segments if segment.path == path]:
            same.release(self._handles)
            self.segments.remove(same)
        self._handles.free -= 1
        if self.segments and self._handles.free < 0:
            self.segments[-1].release(self._handles)
        self.segments.append(Segment(path, file, 0, first_event))
        self.appends = True
        return self.segments[-1]

    def drop_first(self) -> None:
        """Remove the oldest file.

        Raises:
            OSError: the position can't be synced, and the file stays; or the file can't be deleted, and is forgotten.
        """
        # The position first: with an older one, the deleted records would be missing after a power cut.
        self.position.sync()
        segment = self.segments[0]
        try:
            if self._is_ours(segment):
                segment.path.unlink(missing_ok=True)
        finally:
            # A later start passes over a file that stays: its records are before the position.
            self.segments.popleft()
            segment.release(self._handles)
            if not self.segments:
                self.appends = False
            self.hold()

    def hold(self) -> None:
        """Hold the oldest files open, as many as may be, unless they are another process's by now."""
        if self._handles.free > 0 and self.position.is_there:
            for segment in self.segments:
                if segment.size and not segment.hold(self._handles):
                    return

    def look(self, start: Edge, end: Edge) -> list[tuple[Segment, int]]:
        """Count the `unsaved` and the `missing` events from `start` to `end`; return the files to make again, with theirs."""
        removed: list[tuple[Segment, int]] = []
        self.missing, next_event = 0, end.event
        for segment in reversed(self.segments):
            events, next_event = max(0, next_event - max(segment.first_event, start.event)), segment.first_event
            if segment.file is not None:
                if not is_there(segment.path, segment.file):
                    removed.append((segment, events))
            elif not segment.path.exists():
                segment.size = 0
                self.missing += events
        self.unsaved = sum(events for _, events in removed)
        return removed[::-1]

    def restore(self, start: Edge, end: Edge) -> None:
        """Make the directory again, if it is not there, with all that its open files held: events from `start` to `end`.

        The events of other files that are missing are read as lost.

        Raises:
            DirectoryLost: it can't be made again.
        """
        if self.is_there:
            return
        try:
            self._set_aside_left()
            make_private(self.directory)
            self.position.restore(start)
            removed = self.look(start, end)
            # Synced once all are written: if a stop has no time for a slow disk, they survive the process all the same.
            for segment, events in removed:
                assert segment.file is not None  # noqa: S101 - see `look`
                if self.given_up:
                    return
                segment.file = replace(segment.file, segment.path, segment.read())
                self.unsaved -= events
            self.restored += 1
            self.position.sync()
            for segment, _ in removed:
                if segment.file is not None:
                    os.fsync(segment.file)
            sync_directory(self.directory)
        except OSError as error:
            raise DirectoryLost(error.errno, error.strerror, str(self.directory)) from None

    def close(self) -> None:
        """Close all files; later calls raise OSError."""
        for segment in self.segments:
            segment.release(self._handles)
        self.segments.clear()
        self.appends = False
        self.position.close()

    def _set_aside_left(self) -> None:
        """Set events aside that another process, which has ended, has left: the next start adopts them."""
        if self.position.is_there or not self.position.path.exists():
            return
        ours = {each.path for each in self.segments if each.file is not None and is_there(each.path, each.file)}
        if any(path.stat().st_size for path in self.directory.glob(f"*{_SUFFIX}") if path not in ours):
            left = self.directory.parent / f"process-left-{time.time_ns()}"
            left.mkdir(PRIVATE)
            self.directory.rename(left / self.directory.name)
            cause = "it was removed, and another bridge has left events in it: the next start adopts them"
            log.warning("spool.set_aside", directory=str(self.directory), moved_to=str(left), cause=cause)

    def _is_ours(self, segment: Segment) -> bool:
        """Whether the file of this name is not one that another process has made since the directory was removed."""
        if segment.file is None:
            return self.position.is_there or not self.position.path.exists()
        return is_there(segment.path, segment.file) or not segment.path.exists()
