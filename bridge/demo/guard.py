"""The guard: ends what the demo has started when the demo itself has ended, in whatever way.

A process of its own (`python -m bridge.demo.guard DIRECTORY`) that reads from a pipe: `+PID` for a
process group that began, `-PID` for one that is gone. The pipe ends with the demo, SIGKILL
included; then the groups that are left are killed, and DIRECTORY is removed. PR_SET_PDEATHSIG
would reach only the children, not the worker's own children, and exists only on Linux.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress


def guard(lines: Iterable[str], directory: str) -> None:
    """Follow `lines` to their end, then kill what is left and remove `directory`."""
    groups: set[int] = set()
    for line in lines:
        (groups.add if line.startswith("+") else groups.discard)(int(line[1:]))
    for group in groups:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    guard(sys.stdin, sys.argv[1])
