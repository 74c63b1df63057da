"""The demo's child processes: each has its own session and writes to a file; a guard ends them if the demo dies."""

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
_POLL_INTERVAL_S: Final = 0.02
_KILL_TIMEOUT_S: Final = 5.0


def free_port() -> int:
    """Return a loopback TCP port that is free now; the caller must retry if another process binds it first."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Child:
    """A process whose output goes to a file; the terminal's Ctrl-C does not reach it."""

    def __init__(
        self, name: str, command: Sequence[str], env: Mapping[str, str], log: Path, directory: Path | None
    ) -> None:
        self.name = name
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 - the programs are the demo's own
                command,
                env=env,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        #: The process id, which is also the id of the process group.
        self.pid = self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is still running."""
        return self._process.poll() is None

    def output(self) -> str:
        """Return the whole output of the process."""
        return self._log.read_text(errors="replace")

    def unexpected_end(self) -> BridgeError:
        """Return an error with the exit code and the last lines of the output."""
        tail = self.output().splitlines()[-_TAIL_LINES:]
        last_lines = "and wrote nothing" if not tail else "\n  ".join(["its last lines:", *tail])
        return BridgeError(f"{self.name} ended by itself (exit code {self._process.poll()}); {last_lines}")

    def end(self, grace_s: float) -> int | None:
        """Send SIGTERM and wait `grace_s`; return the exit code, or None if the process is still running."""
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(grace_s)
        return None

    def kill(self) -> None:
        """Kill the whole process group, which may outlive its first process."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait(_KILL_TIMEOUT_S)


class Children:
    """The processes of one demo and their directory; leaving the context kills the processes and removes the directory.

    A wait ends with KeyboardInterrupt once `interrupted()` is true.
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
            self.kill(self._running[-1])
        assert self._guard.stdin is not None  # noqa: S101 - it is a PIPE
        with suppress(OSError):
            self._guard.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._guard.wait(_KILL_TIMEOUT_S)

    def start(
        self,
        name: str,
        command: Sequence[str],
        env: Mapping[str, str] | None = None,
        *,
        directory: Path | None = None,
    ) -> Child:
        """Start `command` with `env` added to the environment, in `directory`, or in that of the demo's own process."""
        log = self.directory / f"{name.replace(' ', '-')}.log"
        # The settings of a RabbitMQ that this machine has must not reach the demo's.
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("RABBITMQ_", "ERL_"))}
        child = Child(name, command, inherited | dict(env or {}), log, directory)
        self._running.append(child)
        self._send_to_guard(f"+{child.pid}")
        return child

    def wait_until(
        self, condition: Callable[[], bool], child: Child, timeout_s: float, *, through_interruption: bool = False
    ) -> None:
        """Return once `condition()` is true.

        Raises:
            BridgeError: `child` has ended, or the condition is still false after `timeout_s`.
            KeyboardInterrupt: `interrupted()` is true, and not `through_interruption`.
        """
        deadline = time.monotonic() + timeout_s
        while not condition():
            if self._interrupted() and not through_interruption:
                raise KeyboardInterrupt
            if not child.running:
                raise child.unexpected_end()
            if time.monotonic() > deadline:
                raise BridgeError(f"{child.name} was not ready within {timeout_s:g} s")
            time.sleep(_POLL_INTERVAL_S)

    def check(self) -> None:
        """Raise BridgeError if a process has ended by itself."""
        for child in self._running:
            if not child.running:
                raise child.unexpected_end()

    def end(self, child: Child, grace_s: float) -> int | None:
        """End `child` as `Child.end` does, then kill the rest of its process group."""
        code = child.end(grace_s)
        self.kill(child)
        return code

    def kill(self, child: Child) -> None:
        """Kill `child`, which `check` forgets."""
        child.kill()
        self._running.remove(child)
        self._send_to_guard(f"-{child.pid}")

    def _send_to_guard(self, line: str) -> None:
        assert self._guard.stdin is not None  # noqa: S101 - it is a PIPE
        # The demo runs on without its guard: unless it is killed, it ends its child processes itself.
        with suppress(OSError):
            self._guard.stdin.write(f"{line}\n".encode())
            self._guard.stdin.flush()
