"""The keys of a terminal one by one, and the signals that end a program which has changed its terminal."""

from __future__ import annotations

import codecs
import os
import re
import select
import signal
import termios
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Final, Self

#: Sequences of keys such as arrows; Escape alone is a key.
_SEQUENCE: Final = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|O.)", re.DOTALL)
_READ: Final = 4096


class Keyboard:
    """Makes the terminal on `descriptor` give each key at once, unseen; leaves it as it was, however the block ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def fileno(self) -> int:
        """Return the descriptor, for `select`."""
        return self._descriptor

    def __enter__(self) -> Self:
        self._saved = termios.tcgetattr(self._descriptor)
        changed: list[Any] = termios.tcgetattr(self._descriptor)
        changed[3] &= ~(termios.ICANON | termios.ECHO)
        # Ctrl-Z would stop the program with the terminal as it is now.
        changed[6][termios.VSUSP] = b"\0"
        termios.tcsetattr(self._descriptor, termios.TCSANOW, changed)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        with suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(self._descriptor, termios.TCSANOW, self._saved)

    def keys(self) -> str | None:
        """Return the keys that were pressed, a character each; None once the terminal is gone."""
        try:
            read = os.read(self._descriptor, _READ)
        except OSError:
            return None
        return _SEQUENCE.sub("", self._decoder.decode(read)) if read else None


class Wakings:
    """Wakes a loop that waits for keys: for signals and for other threads; use it as a context manager.

    SIGTERM, SIGINT and SIGHUP end the loop and not the process, so that every block is left in order.
    """

    def __init__(self) -> None:
        #: The signal that ends the loop.
        self.ended: int | None = None
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._handle((signal.SIGTERM, signal.SIGINT, signal.SIGHUP), self._end)
        self._handle((signal.SIGWINCH,), lambda _number, _frame: None)  # it wakes the loop, which draws anew
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._before)
        # The pipe stays open: a thread may still write into it.

    def wake(self) -> None:
        """Wake the loop, from any thread."""
        with suppress(BlockingIOError):  # it has been woken often enough
            os.write(self._write, b"\0")

    def wait(self, keyboard: Keyboard, timeout_s: float) -> str | None:
        """Wait for keys or a waking; return the keys, None once the terminal is gone."""
        watched: list[Any] = [keyboard, self._read]
        ready, _, _ = select.select(watched, [], [], timeout_s)
        if self._read in ready:
            with suppress(BlockingIOError):
                os.read(self._read, _READ)
        return keyboard.keys() if keyboard in ready else ""

    def _end(self, number: int, _frame: FrameType | None) -> None:
        self.ended = number

    def _handle(self, numbers: Sequence[int], handler: Callable[[int, FrameType | None], None]) -> None:
        for number in numbers:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
                self._handlers[number] = signal.signal(number, handler)
