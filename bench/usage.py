"""CPU and memory of processes, read from /proc (Linux)."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Final

_TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process and all its descendants, threads and ended children included."""
    own: dict[int, float] = {}
    ended: dict[int, float] = {}
    children: dict[int, list[int]] = defaultdict(list)
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        # A process may end while we look; its parent has what it used.
        with suppress(OSError):
            # The name, in parentheses, may contain anything; what follows it is numbers (proc(5)).
            fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
            own[int(entry.name)] = sum(map(int, fields[11:13])) * _TICK_S
            ended[int(entry.name)] = sum(map(int, fields[13:15])) * _TICK_S
            children[int(fields[1])].append(int(entry.name))
    return sum(_clock_s(process, own.get(process, 0.0)) + ended.get(process, 0.0) for process in _tree(pid, children))


def peak_rss_bytes(pid: int) -> int:
    """Return the peak of the process's resident memory."""
    return _status(pid, "VmHWM")


def rss_bytes(pid: int) -> int:
    """Return the resident memory of the process."""
    return _status(pid, "VmRSS")


def cpu_model() -> str:
    """Return the processor's model name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"


def _clock_s(pid: int, ticks_s: float) -> float:
    """Return the CPU seconds of one process; `ticks_s`, accurate to 0.02 s, where it has no clock."""
    # The id that clock_getcpuclockid(3) returns, which Python does not have; the clock counts nanoseconds.
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return ticks_s


def _status(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} has ended")


def _tree(pid: int, children: dict[int, list[int]]) -> list[int]:
    tree = [pid]
    for process in tree:
        tree += children.get(process, [])
    return tree
