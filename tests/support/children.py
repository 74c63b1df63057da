"""Child processes that never outlive the tests, free ports, and waiting with an end."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGTERM, Signals
from typing import IO, TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

REPOSITORY: Final = Path(__file__).resolve().parents[2]
#: The timeout of a wait is enough for a quiet machine. A busy one gets so many times as long: a wait is no measurement.
PATIENCE: Final = 3
#: And no wait for something that must happen ends sooner, on a machine that is slow for a while.
_LEAST_PATIENCE_S: Final = 60.0

# Below the range from which the kernel gives ports to outgoing connections (32768 and up on Linux): the port of a broker
# that is down for a while must not go to somebody else, nor may a client that keeps trying connect to itself.
# Test processes that run side by side have ranges of their own.
_WIDTH: Final = 12_000 // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_FIRST: Final = 20_000 + _WIDTH * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_PORTS: Final = range(_FIRST, _FIRST + _WIDTH)
_handed_out: set[int] = set()

# Kills the groups it was told of when its standard input ends, which it does however the tests end, SIGKILL included.
# PR_SET_PDEATHSIG would do the same for the *thread* that started the child: a child of a pool's thread dies too early.
_REAPER: Final = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
groups = set()
for line in sys.stdin:
    (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
for group in groups:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass
"""
_reaper: subprocess.Popen[str] | None = None


def tell_reaper(line: str) -> None:
    """Have a group of processes killed if the tests end without doing so ("+PID"), or no more ("-PID")."""
    global _reaper  # noqa: PLW0603 - one for the whole run of the tests
    if _reaper is None:
        _reaper = subprocess.Popen(
            # Without `site`: it outlives pytest, and must not measure coverage.
            [sys.executable, "-S", "-c", _REAPER],
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    assert _reaper.stdin is not None
    _reaper.stdin.write(line + "\n")
    _reaper.stdin.flush()


def free_port() -> int:
    """Return a loopback TCP port that nobody listens on and that was not returned before."""
    for port in random.sample(_PORTS, 200):
        if port in _handed_out:
            continue
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            _handed_out.add(port)
            return port
    raise RuntimeError(f"no free port in {_PORTS}")


def with_fault(*names: str) -> dict[str, str]:
    """Return the environment of a bridge that the modules in each `tests/faults/<name>` have put a fault into."""
    folders = [REPOSITORY / "tests" / "faults" / name for name in names]
    return {"PYTHONPATH": os.pathsep.join(map(str, [*folders, REPOSITORY]))}


def patient(timeout: float) -> float:
    """Return how many seconds to wait for something that must happen, and that takes at most `timeout` on a quiet machine."""
    return max(_LEAST_PATIENCE_S, PATIENCE * timeout)


def wait_until(condition: Callable[[], object], timeout: float = 30.0, what: str = "the condition") -> None:
    """Return as soon as `condition()` is true; AssertionError after `patient(timeout)` seconds."""
    deadline = time.monotonic() + patient(timeout)
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {patient(timeout):g} s")
        time.sleep(0.02)


class Child:
    """One child process, in a session and process group of its own."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path = REPOSITORY,
        stdout: int | IO[bytes] = subprocess.DEVNULL,
        stderr: int | IO[bytes] = subprocess.STDOUT,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.process = subprocess.Popen(
            command,
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            pass_fds=pass_fds,
        )
        # The leader's pid is the group's id for as long as any process of the group lives.
        self.pid = self.process.pid
        tell_reaper(f"+{self.pid}")

    @property
    def running(self) -> bool:
        """Say whether the process has not ended yet."""
        return self.process.poll() is None

    def signal(self, number: Signals) -> None:
        """Send a signal to the process alone; nothing happens if it has ended."""
        self.process.send_signal(number)

    def signal_group(self, number: Signals) -> None:
        """Send a signal to the process and all it has started in its group."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def wait(self, timeout: float) -> int:
        """Return the exit code (negative: the signal); subprocess.TimeoutExpired after `timeout` seconds."""
        return self.process.wait(timeout)

    def end(self, grace: float) -> int:
        """SIGTERM, and SIGKILL for the whole group after `grace` seconds; returns the exit code."""
        self.signal(SIGTERM)
        # Stopped processes take a SIGTERM only when they go on.
        self.signal_group(SIGCONT)
        with suppress(subprocess.TimeoutExpired):
            self.wait(grace)
        return self.kill()

    def kill(self) -> int:
        """SIGKILL for the whole group; returns the exit code."""
        self.signal_group(SIGKILL)
        code = self.wait(30)
        tell_reaper(f"-{self.pid}")
        return code
