"""Writes the lines of the log in a thread of its own: nobody who reads the log late, or not at all, holds the bridge up."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Final

#: Lines that wait for the thread have at most so many bytes together.
MAX_WAITING_BYTES: Final = 1024 * 1024
#: How often the thread tries again to say that lines were left out.
_RETRY_S: Final = 1.0


class LogWriter:
    """A bounded queue of lines, and the thread that writes each by a single write, so that processes may share a file.

    A line that finds no room is left out, and so is one whose write fails: the disk is full, the reader is gone. All
    that follow are left out too until the queue is empty and a line can say how many were left out;
    `describe_left_out` makes it from their number and the time of the first (`time.time`).

    A process that is killed loses the lines that wait, commonly those of its last millisecond.
    """

    def __init__(self, descriptor: int, describe_left_out: Callable[[int, float], bytes]) -> None:
        self._descriptor = descriptor
        self._describe_left_out = describe_left_out
        # No lock guards the numbers: each has a single writer. A lock could be held by one of the two sides while the
        # garbage collector runs there, finds a broken task, and logs it.
        self._queue: SimpleQueue[bytes | threading.Event] = SimpleQueue()
        self._queued_bytes = self._refused = 0  # by the caller
        self._taken_bytes = self._failed = self._said = 0  # by the thread
        self._since = 0.0
        # Whether the last write has left half a line.
        self._torn = False
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def write(self, line: bytes) -> None:
        """Queue a line that ends with a line break, or leave it out; never wait. One caller at a time."""
        size = len(line)
        waiting = self._queued_bytes - self._taken_bytes
        if self._left_out or (waiting and waiting + size > MAX_WAITING_BYTES):
            self._note_left_out()
            self._refused += 1
            return
        self._queued_bytes += size
        self._queue.put(line)

    def flush(self, within_s: float) -> None:
        """Return once the lines that wait are written or left out, after `within_s` seconds at the latest."""
        done = threading.Event()
        self._queue.put(done)
        done.wait(within_s)

    @property
    def total_left_out(self) -> int:
        """How many lines were left out since the start."""
        return self._refused + self._failed

    @property
    def _left_out(self) -> int:
        return self.total_left_out - self._said

    def _note_left_out(self) -> None:
        if not self._left_out:
            self._since = time.time()

    def _run(self) -> None:
        while True:
            entry: bytes | threading.Event | None = None
            with suppress(Empty):
                entry = self._queue.get(timeout=_RETRY_S if self._left_out else None)
            if isinstance(entry, bytes):
                if not self._write(entry):
                    self._note_left_out()
                    self._failed += 1
                self._taken_bytes += len(entry)
            if self._left_out and self._queue.empty():
                self._say_left_out()
            if isinstance(entry, threading.Event):
                entry.set()

    def _say_left_out(self) -> None:
        count, since = self._left_out, self._since
        # First, so that lines are taken again: they follow the one that is written now.
        self._said += count
        if not self._write(self._describe_left_out(count, since)):
            self._since = since
            self._said -= count

    def _write(self, line: bytes) -> bool:
        """Write a line; return whether all of it was written."""
        rest = whole = memoryview(b"\n" + line if self._torn else line)
        try:
            while rest:
                try:
                    rest = rest[os.write(self._descriptor, rest) :]
                except BlockingIOError:  # another process that shares the pipe has made it non-blocking
                    select.select([], [self._descriptor], [])
        except OSError:
            self._torn = self._torn or len(rest) < len(whole)
            return False
        self._torn = False
        return True
