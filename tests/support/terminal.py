"""A command on a terminal of its own: what it prints, and whether it asks there."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from contextlib import suppress
from signal import SIGHUP, SIGTERM, SIGWINCH
from typing import TYPE_CHECKING, Any, Self

from tests.support.children import REPOSITORY, patient

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

# Makes the terminal the one at which a library could ask, as a login does.
_LOGIN = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"


class Terminal:
    """`dramatiq-bridge` with these words on a terminal; use it as a context manager, which always ends it.

    With `program` the words are Python's own: another program instead of the bridge's. `kind` is the value of TERM.
    """

    def __init__(self, words: Sequence[str], *, program: bool = False, kind: str | None = None) -> None:
        self.text = ""
        self._master, slave = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LOGIN, *([] if program else ["-m", "bridge"]), *words],
            cwd=REPOSITORY,
            env=os.environ | ({} if kind is None else {"TERM": kind}),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)

    def read_until(self, words: str, timeout: float = 30.0) -> None:
        """Read until `words` have been printed, wherever the terminal breaks the line; AssertionError if they are not."""
        deadline = time.monotonic() + patient(timeout)
        while words not in self.plain:
            assert time.monotonic() < deadline, f"no {words!r} in {self.text!r}"
            if not self._read(0.2):
                assert words in self.plain, f"ended without {words!r}: {self.text!r}"

    @property
    def plain(self) -> str:
        """The text without colours."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.text)

    def press(self, keys: str) -> None:
        """Press keys."""
        os.write(self._master, keys.encode())

    def send_signal(self, number: int) -> None:
        """Send the process a signal."""
        self._process.send_signal(number)

    def resize(self, lines: int, columns: int) -> None:
        """Give the terminal a size."""
        termios.tcsetwinsize(self._master, (lines, columns))
        self._process.send_signal(SIGWINCH)

    def settings(self) -> list[Any]:
        """Return the terminal's settings, as termios has them."""
        return termios.tcgetattr(self._master)

    def end(self, timeout: float = 20.0) -> int:
        """SIGTERM; return the exit code, AssertionError if the process does not end."""
        self._process.send_signal(SIGTERM)
        return self.wait(timeout)

    def hang_up(self) -> None:
        """SIGHUP to all processes on it, as where the terminal is closed."""
        os.killpg(self._process.pid, SIGHUP)

    def wait(self, timeout: float = 30.0) -> int:
        """Return the exit code of a process that ends by itself; AssertionError if it does not."""
        deadline = time.monotonic() + patient(timeout)
        while self._process.poll() is None:
            assert time.monotonic() < deadline, f"it does not end: {self.text!r}"
            self._read(0.1)
        while self._read(0.0):
            pass
        return self._process.returncode

    def _read(self, timeout: float) -> bool:
        """Read what there is; return False once nobody has the terminal any more, or nothing came from an ended process."""
        ready, _, _ = select.select([self._master], [], [], timeout)
        if not ready:
            return self._process.poll() is None
        with suppress(OSError):  # EIO: nobody has it any more
            if part := os.read(self._master, 65536):
                self.text += part.decode(errors="replace")
                return True
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait(30)
        os.close(self._master)
