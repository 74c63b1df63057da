"""Damaged places of a spool's log, copied to files for people to examine."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from bridge.spool.rights import make_private

#: At most so many files.
_MAX_FILES: Final = 100


def keep(directory: Path, name: str, data: bytes, max_bytes: int) -> None:
    """Copy damaged bytes to the file `name`; all files in `directory` together hold at most `max_bytes`."""
    # The disk may be full: the damaged bytes are lost either way.
    with suppress(OSError):
        make_private(directory)
        sizes = [file.stat().st_size for file in directory.iterdir()]
        room = max_bytes - sum(sizes)
        file = directory / name
        if room > 0 and len(sizes) < _MAX_FILES and not file.exists():
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as copy:
                copy.write(data[:room])
