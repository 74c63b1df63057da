"""One file of a spool's log, which is held open, and how a file that somebody has removed is made again."""

from __future__ import annotations

import errno
import os
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from bridge.spool.record import Record


@dataclass(slots=True)
class Segment:
    """One file, open: it is still there for us when its directory is removed. The oldest one has its `records`, without those
    that were removed.
    """

    path: Path
    file: int
    size: int
    records: deque[Record] | None = None

    @classmethod
    def open(cls, path: Path) -> Segment:
        """Open the file of an earlier process."""
        file = os.open(path, os.O_RDWR)
        return cls(path, file, os.fstat(file).st_size)

    def read(self, offset: int = 0, size: int | None = None) -> bytes:
        """Return `size` bytes from `offset` on, or all."""
        end = self.size if size is None else min(self.size, offset + size)
        parts: list[bytes] = []
        while offset < end and (part := os.pread(self.file, end - offset, offset)):
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
    """Write `data` to a new file at `path`, close `file`, which was there, and return the new one."""
    new = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        if os.pwrite(new, data, 0) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(new)
    except OSError:
        os.close(new)
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
