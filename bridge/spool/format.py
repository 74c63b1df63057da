"""The format of a source's spool: the one that `record.py`, `position.py` and `encoding.py` write has the number 1.

A version that writes another one first writes its number to the file `format` in the source's directory. An older version then
leaves the whole directory as it is. Without that file the format is 1, which every release can read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

FORMAT: Final = 1
_FILE: Final = "format"
_MAX_BYTES: Final = 100


class NewerFormatError(Exception):
    """The directory is of a version that writes another format."""

    def __init__(self, directory: Path, found: str) -> None:
        super().__init__(
            f"a newer version has written it, in format {found!r}, and this one reads {FORMAT}:"
            " it is kept, and the first start of a version that reads it goes on with its events"
        )
        self.directory = directory


def check_format(directory: Path) -> None:
    """Check that this version can read the spool in `directory`.

    Raises:
        NewerFormatError: it can't.
        OSError: the file can't be read.
    """
    try:
        with (directory / _FILE).open("rb") as file:
            found = file.read(_MAX_BYTES).decode("utf-8", "backslashreplace").strip()
    except (FileNotFoundError, NotADirectoryError):
        return
    if found != str(FORMAT):
        raise NewerFormatError(directory, found)
