"""The guard: kills the demo's child processes if the demo ends, however it ends.

It is a separate process (`python -m bridge.demo.guard DIRECTORY`) and reads lines from a pipe: `+PID`
for a new process group, `-PID` for one that has ended. The pipe closes when the demo ends, also after
SIGKILL; then the guard kills the remaining groups and removes DIRECTORY. PR_SET_PDEATHSIG would reach
the child processes but not the Dramatiq worker's own, and exists only on Linux.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress


def guard(lines: Iterable[str], directory: str) -> None:
    """Read `lines` until they end, then kill the remaining groups and remove `directory`."""
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
