"""The demo's processes: each in a session of its own, with its output in a file, and a guard over all."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from bridge.errors import BridgeError

_TAIL_LINES: Final = 15
_POLL_S: Final = 0.02
_KILLED_S: Final = 5.0


def free_port() -> int:
    """Return a loopback TCP port that nobody listens on now; whoever binds it must be ready to try another."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Child:
    """One process and what it wrote; the terminal's Ctrl-C does not reach it."""

    def __init__(self, name: str, command: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        self.name = name
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 - the programs are the demo's own
                command,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        #: The process id, and the id of its process group for as long as any process of it lives.
        self.pid = self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process has not ended yet."""
        return self._process.poll() is None

    def text(self) -> str:
        """Return everything that the process has written."""
        return self._log.read_text(errors="replace")

    def ended(self) -> BridgeError:
        """Return the error that says how the process ended, with the end of what it wrote."""
        tail = self.text().splitlines()[-_TAIL_LINES:]
        says = "and wrote nothing" if not tail else "\n  ".join(["its last lines:", *tail])
        return BridgeError(f"{self.name} ended by itself (exit code {self._process.poll()}); {says}")

    def end(self, grace_s: float) -> int | None:
        """SIGTERM, and SIGKILL for the whole group after `grace_s`; return the exit code, None where it had to be killed."""
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(grace_s)
        return None

    def kill(self) -> None:
        """SIGKILL for the whole group, which may outlive its first process."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait(_KILLED_S)


class Children:
    """All the processes of one demo and their directory; leaving the context leaves neither.

    `interrupted` is asked while waiting: where it says yes, the wait ends with KeyboardInterrupt.
    """

    def __init__(self, interrupted: Callable[[], bool]) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="dramatiq-bridge-demo-"))
        self._interrupted = interrupted
        self._running: list[Child] = []
        self._guard = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "bridge.demo.guard", str(self.directory)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        while self._running:
            self._kill(self._running[-1])
        assert self._guard.stdin is not None  # noqa: S101 - it was asked for
        with suppress(OSError):
            self._guard.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._guard.wait(_KILLED_S)

    def start(self, name: str, command: Sequence[str], env: Mapping[str, str] | None = None) -> Child:
        """Start `command` with `env` added to the environment."""
        log = self.directory / f"{name.replace(' ', '-')}.log"
        child = Child(name, command, {**os.environ, **(env or {})}, log)
        self._running.append(child)
        self._tell(f"+{child.pid}")
        return child

    def wait_until(self, condition: Callable[[], bool], child: Child, timeout_s: float) -> None:
        """Return once `condition()` holds.

        Raises:
            BridgeError: `child` has ended, or did not get there within `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        while not condition():
            if self._interrupted():
                raise KeyboardInterrupt
            if not child.running:
                raise child.ended()
            if time.monotonic() > deadline:
                raise BridgeError(f"{child.name} was not ready within {timeout_s:g} s")
            time.sleep(_POLL_S)

    def check(self) -> None:
        """Raise BridgeError if a process has ended that nobody told to."""
        for child in self._running:
            if not child.running:
                raise child.ended()

    def end(self, child: Child, grace_s: float) -> int | None:
        """See `Child.end`; nothing of the child's group is left afterwards."""
        code = child.end(grace_s)
        self._kill(child)
        return code

    def _kill(self, child: Child) -> None:
        child.kill()
        self._running.remove(child)
        self._tell(f"-{child.pid}")

    def _tell(self, line: str) -> None:
        assert self._guard.stdin is not None  # noqa: S101 - as above
        # Without its guard the demo goes on: it ends its children itself, unless it is killed.
        with suppress(OSError):
            self._guard.stdin.write(f"{line}\n".encode())
            self._guard.stdin.flush()
