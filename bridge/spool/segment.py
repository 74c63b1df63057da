"""One file of a spool's log, held open where that is possible, and how a file that somebody has removed is made again."""

from __future__ import annotations

import errno
import os
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bridge.spool.record import SIZE, Record, scan

#: So many files the logs of a process hold open. The files that are appended to are always open, and count.
MAX_HELD: Final = 64


@dataclass(slots=True)
class Handles:
    """How many more files may be held open; all logs of a process share it."""

    free: int = MAX_HELD


@dataclass(slots=True)
class Segment:
    """One file. With an open `file` it is still there for us when its directory is removed. The oldest one has its
    `records`, without those that were removed; `first_event` is the number of the first one it began with.
    """

    path: Path
    file: int | None
    size: int
    first_event: int = 0
    records: deque[Record] | None = None

    def read(self, offset: int = 0, size: int | None = None) -> bytes:
        """Return `size` bytes from `offset` on, or all; fewer of a file that is shorter, and none of a missing one."""
        end = self.size if size is None else min(self.size, offset + size)
        if self.file is not None:
            return _read(self.file, offset, end)
        try:
            file = os.open(self.path, os.O_RDONLY)
        except FileNotFoundError:
            return b""
        try:
            return _read(file, offset, end)
        finally:
            os.close(file)

    def first_record(self) -> Record | None:
        """Return the first record that can be read."""
        return next(scan(self.read(0, SIZE)), None) or next(scan(self.read()), None)

    def hold(self, handles: Handles, *, always: bool = False) -> bool:
        """Hold the file open, `always` or where a handle is free, and return whether it is."""
        if self.file is None and (always or handles.free > 0):
            with suppress(OSError):
                self.file = os.open(self.path, os.O_RDWR)
                handles.free -= 1
        return self.file is not None

    def release(self, handles: Handles) -> None:
        """Hold the file no longer."""
        if self.file is not None:
            os.close(self.file)
            self.file = None
            handles.free += 1


def _read(file: int, offset: int, end: int) -> bytes:
    parts: list[bytes] = []
    while offset < end and (part := os.pread(file, end - offset, offset)):
        parts.append(part)
        offset += len(part)
    return b"".join(parts)


def is_there(path: Path, file: int) -> bool:
    """Whether `path` still leads to the open `file`."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except (FileNotFoundError, NotADirectoryError):
        return False


def replace(file: int, path: Path, data: bytes) -> int:
    """Write `data` to a new file at `path`, not synced, close `file`, which was there, and return the new one."""
    new = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        if os.pwrite(new, data, 0) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError:
        os.close(new)
        path.unlink(missing_ok=True)
        raise
    os.close(file)
    return new


def sync_directory(directory: Path) -> None:
    """Sync the names in `directory` to the disk."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
