"""A log that nobody reads, a full disk, a reader that is gone: nothing of it stops the bridge, and no line is silently lost."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.observe.log_writer import MAX_WAITING_BYTES, LogWriter
from tests.support.children import REPOSITORY, wait_until

SETUP = "from bridge.observe import logs\nimport os, sys\nlogs.configure('json')\nlog = logs.logger()\n"
#: Lines of some 300 bytes: more than five times what a pipe and the queue hold together. Each has a field as long as may be.
MANY = 20_000
WRITE_MANY = f"for i in range({MANY}): log.info('x', i=i, text='x' * 200)\n"


def child(program: str, stderr: Any) -> subprocess.Popen[str]:
    """Start `program` in a process whose log goes to `stderr`."""
    command = [sys.executable, "-c", SETUP + program]
    return subprocess.Popen(
        command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True
    )


def told(lines: list[dict[str, Any]]) -> int:
    """Return how many lines are there or are said to be left out."""
    return sum(line["count"] if line["event"] == "log.lines_left_out" else 1 for line in lines)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Return the two ends of a pipe."""
    ends = os.pipe()
    yield ends
    os.close(ends[0])  # the other end stays: a writer's thread never ends, and must not find another file at its number


def describe(count: int, _since: float) -> bytes:
    """Return the line about lines that were left out, as the tests want it."""
    return b"%d left out\n" % count


def test_a_log_that_nobody_reads_stops_nothing(pipe: tuple[int, int]) -> None:
    """A process whose standard error is a full pipe works on, and ends by itself."""
    program = f"{WRITE_MANY}print('worked on', flush=True)"
    done = child(program, pipe[1])
    assert done.communicate(timeout=60)[0] == "worked on\n"
    assert done.returncode == 0


def test_lines_left_out_are_counted_and_said(pipe: tuple[int, int]) -> None:
    """Once somebody reads, the lines that waited come, then a line with the number and the time of those that did not, then new ones."""
    program = (
        f"{WRITE_MANY}print('full', flush=True)\nsys.stdin.readline()\nlog.info('last')\nprint(logs.lines_left_out())"
    )
    process = child(program, pipe[1])
    assert process.stdout is not None
    assert process.stdout.readline() == "full\n"
    lines: list[dict[str, Any]] = []

    def read() -> None:
        with os.fdopen(os.dup(pipe[0]), "rb") as stream:
            for line in stream:
                lines.append(json.loads(line))
                if lines[-1]["event"] == "last":
                    break

    reader = threading.Thread(target=read)
    reader.start()
    wait_until(lambda: any(line["event"] == "log.lines_left_out" for line in lines), what="the number")
    measured, _ = process.communicate("go on\n", timeout=60)
    reader.join(30)
    *first, left_out, last = lines
    assert int(measured) == left_out["count"]
    assert [line["i"] for line in first] == list(range(len(first)))
    assert (left_out["event"], left_out["level"], last["event"]) == ("log.lines_left_out", "warning", "last")
    assert told([*first, left_out]) == MANY
    assert left_out["since"] >= first[-1]["timestamp"][:19]


def test_waiting_lines_are_bounded_in_bytes(pipe: tuple[int, int]) -> None:
    """A megabyte of lines waits, whatever their number; those beyond are left out, long ones too."""
    writer = LogWriter(pipe[1], describe)
    for size in (10, 10_000, 3 * MAX_WAITING_BYTES):
        for _ in range(2 * MAX_WAITING_BYTES // size + 1):
            writer.write(b"x" * (size - 1) + b"\n")
        assert writer._queued_bytes - writer._taken_bytes <= MAX_WAITING_BYTES


def test_every_line_is_there_or_counted_though_the_reader_is_slow(pipe: tuple[int, int]) -> None:
    """As often as lines are left out, a line says how many."""
    writer = LogWriter(pipe[1], describe)
    parts: list[bytes] = []

    def read() -> None:
        while not parts or not parts[-1].endswith(b"end\n"):
            parts.append(os.read(pipe[0], 65_536))

    reader = threading.Thread(target=read)
    reader.start()
    sent = 30_000
    for number in range(sent):
        writer.write(b"%07d" % number + b"x" * 992 + b"\n")
    writer.flush(30)
    writer.write(b"end\n")
    reader.join(30)
    *lines, end = b"".join(parts).splitlines()
    assert end == b"end"
    counts = [int(line.split()[0]) for line in lines if line.endswith(b"left out")]
    assert len(lines) - len(counts) + sum(counts) == sent
    assert all(len(line) == 999 for line in lines if not line.endswith(b"left out"))


def test_a_line_lost_to_a_full_disk_is_said_once_there_is_room(tmp_path: Path) -> None:
    """The disk is full at the start: the ready line is lost, and as soon as there is room a line says so, unasked."""
    program = (
        "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))\n"
        "log.info('bridge.ready')\nlogs.flush()\nprint('said', flush=True)\nsys.stdin.readline()\nlog.info('next')"
    )
    path = tmp_path / "log"
    with path.open("wb") as file:
        process = child(program, file)
    assert process.stdout is not None
    assert process.stdout.readline() == "said\n"
    torn = path.read_bytes()
    assert len(torn) == 10
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    wait_until(lambda: b"left_out" in path.read_bytes(), what="the line")
    process.communicate("go on\n", timeout=60)
    half, *lines = path.read_bytes().splitlines()
    assert half == torn
    left_out, following = map(json.loads, lines)
    assert (left_out["event"], left_out["count"], following["event"]) == ("log.lines_left_out", 1, "next")


@pytest.mark.parametrize("how", ["the reader is gone", "the disk is full", "it was closed"])
def test_a_broken_log_ends_nothing(how: str, pipe: tuple[int, int], tmp_path: Path) -> None:
    """A standard error that takes nothing costs the lines, and neither the process nor a file that it opens."""
    target = tmp_path / "file"
    program = (
        f"file = open({str(target)!r}, 'wb', buffering=0)\nfor i in range(1000): log.error('x', i=i)\n"
        "logs.flush()\nprint('worked on', flush=True)"
    )
    if how == "it was closed":
        command = ["sh", "-c", 'exec "$0" "$@" 2>&-', sys.executable, "-c", SETUP + program]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60)
    else:
        with open("/dev/full", "wb") as full:  # noqa: PTH123 - no file
            process = child(program, full if how == "the disk is full" else _broken_pipe())
        output = process.communicate(timeout=60)[0]
        done = subprocess.CompletedProcess([], process.returncode, output)
    assert (done.returncode, done.stdout) == (0, "worked on\n")
    assert target.read_bytes() == b""


def test_a_pipe_that_another_process_made_non_blocking_gets_whole_lines(pipe: tuple[int, int]) -> None:
    """Processes share a pipe with its flags: where a write would block, or writes a part, the line still comes whole."""
    os.set_blocking(pipe[1], False)
    writer = LogWriter(pipe[1], describe)
    lines = [b"%d" % number * 40_000 + b"\n" for number in range(10)]
    for line in lines:
        writer.write(line)
    time.sleep(0.2)  # the pipe is full now
    assert _read(pipe[0], sum(map(len, lines))) == b"".join(lines)


def test_the_end_of_the_process_waits_for_its_lines() -> None:
    """However a process ends, all its lines are written; an error that nobody has caught is the last of them."""
    for ending in ("pass", "raise SystemExit(3)", "logs.flush(); os._exit(1)", "raise RuntimeError('the end')"):
        process = child(f"for i in range(5000): log.info('x', i=i)\n{ending}", subprocess.PIPE)
        lines = [json.loads(line) for line in process.communicate(timeout=60)[1].splitlines()]
        assert [line["i"] for line in lines[:5000]] == list(range(5000))
    assert [line["event"] for line in lines[5000:]] == ["bridge.failed"]
    assert lines[-1]["exception"].endswith("RuntimeError: the end")


def test_errors_that_only_python_knows_are_lines() -> None:
    """An error in a thread, or in a finalizer, is a line as well: written straight to a full pipe it would stop the bridge."""
    program = (
        "import threading\nclass Broken:\n    def __del__(self): raise KeyError('finalizer')\n"
        "Broken()\nthread = threading.Thread(target=lambda: 1 / 0)\nthread.start()\nthread.join()"
    )
    lines = child(program, subprocess.PIPE).communicate(timeout=60)[1].splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["bridge.error_ignored"] * 2
    assert ["finalizer" in lines[0], "ZeroDivisionError" in lines[1]] == [True, True]


def _broken_pipe() -> int:
    read, write = os.pipe()
    os.close(read)
    return write


def _read(descriptor: int, size: int) -> bytes:
    parts = b""
    while len(parts) < size:
        parts += os.read(descriptor, 65_536)
    return parts
