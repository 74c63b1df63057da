"""The rights of the spool's directories: their files hold bodies of events, so they are for the bridge's user alone."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Final

from bridge.observe.logs import logger

log = logger()
#: Of every directory that the spool makes. Its files have 0600.
PRIVATE: Final = 0o700
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def make_private(directory: Path) -> None:
    """Make a directory for this user alone, unless it is there.

    Raises:
        OSError: it can't be made.
    """
    directory.mkdir(PRIVATE, parents=True, exist_ok=True)


def say_if_open(directory: Path) -> None:
    """Log that other users may enter a directory: somebody has made it so, and it is left so.

    Raises:
        OSError: it can't be looked at.
    """
    mode = stat.S_IMODE(directory.stat().st_mode)
    if mode & _OTHERS:
        cause = f"its rights are {mode:04o}, and other users may enter it: chmod 700 {directory}"
        log.warning("spool.not_private", directory=str(directory), cause=cause)
