"""The position of a spool's log: its oldest record, in a file that is held open."""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bridge.spool.segment import is_there, replace

_NUMBERS: Final = struct.Struct("<QQ")
_CRC: Final = struct.Struct("<I")


@dataclass(slots=True, frozen=True)
class Edge:
    """A place between two records: the number of the next record, and of its first event."""

    record: int = 0
    event: int = 0


class Position:
    """The edge before the oldest record, in the file at `path`, which is made if it is missing.

    Raises:
        OSError: the file can't be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)

    @property
    def is_there(self) -> bool:
        """Whether the file is still at its path."""
        return is_there(self.path, self._file)

    def read(self) -> Edge | None:
        """Return the edge, or None if it can't be read."""
        data = os.pread(self._file, _NUMBERS.size + _CRC.size, 0)
        edge = Edge(*_NUMBERS.unpack(data[: _NUMBERS.size].ljust(_NUMBERS.size, b"\0")))
        return edge if data == _encode(edge) else None

    @property
    def is_empty(self) -> bool:
        """Whether it was never written."""
        return os.fstat(self._file).st_size == 0

    def write(self, edge: Edge) -> None:
        """Write the edge; `sync` takes it to the disk."""
        os.pwrite(self._file, _encode(edge), 0)

    def restore(self, edge: Edge) -> None:
        """Make the file again, if it is not there."""
        if not self.is_there:
            self._file = replace(self._file, self.path, _encode(edge))

    def sync(self) -> None:
        """Sync the edge to the disk."""
        os.fdatasync(self._file)

    def close(self) -> None:
        """Close the file; later calls raise OSError."""
        os.close(self._file)
        self._file = -1  # its number may soon be another file's


def _encode(edge: Edge) -> bytes:
    numbers = _NUMBERS.pack(edge.record, edge.event)
    return numbers + _CRC.pack(zlib.crc32(numbers))
