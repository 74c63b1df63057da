"""Bridges that are forked from a process which has imported everything: a start costs a tenth of the CPU time.

The tests start more than two thousand bridges, and importing its modules was most of the time that they all took. A forked bridge runs
`bridge.cli.main` as another does, in a session of its own; one that is measured begins to measure then. Those that have an
environment which the interpreter or the loader reads as it starts are started anew: see `may_fork`.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from tests.support.children import Child, tell_reaper

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: What a bridge of any source imports sooner or later.
_MODULES: Final = (
    *("bridge.cli", "bridge.commands.run", "bridge.process.bridge"),
    *("bridge.sources.amqp.source", "bridge.sources.mqtt.source"),
)
#: Variables that the interpreter, a library or the loader reads before the bridge's own code runs.
_READ_AT_START: Final = ("PYTHON", "COVERAGE", "LD_", "MALLOC_", "FAKETIME", "LC_", "LANG", "TZ")
#: A request holds the environment.
_MAX_REQUEST: Final = 1 << 17


def may_fork(changed: Mapping[str, str]) -> bool:
    """Say whether a bridge whose environment differs from the tests' own in `changed` may be forked."""
    return not any(name.startswith(_READ_AT_START) for name in changed)


class ForkedChild(Child):
    """A bridge that the server has forked; as a Child of the tests, though the server is its parent."""

    def __init__(self, arguments: Sequence[str], *, env: Mapping[str, str], stderr: int) -> None:
        self._status, status = os.pipe()
        try:
            request = {
                "arguments": list(arguments),
                "env": dict(env),
                "ignored": _ignored_signals(),
                "policy": os.sched_getscheduler(0),
            }
            self.pid = _server().fork(request, [stderr, status])
        finally:
            os.close(status)
        self._code: int | None = None
        self._lock = threading.Lock()
        tell_reaper(f"+{self.pid}")

    @property
    def running(self) -> bool:
        """Say whether the process has not ended yet."""
        return self._poll(0) is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process alone; nothing happens if it has ended."""
        if self.running:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait(self, timeout: float) -> int:
        """Return the exit code (negative: the signal); subprocess.TimeoutExpired after `timeout` seconds."""
        code = self._poll(timeout)
        if code is None:
            raise subprocess.TimeoutExpired("a forked bridge", timeout)
        return code

    def _poll(self, timeout: float) -> int | None:
        with self._lock:
            if self._code is None and select.select([self._status], [], [], timeout)[0]:
                # Nothing comes from a server that was killed: so was everything that it has started.
                self._code = int(os.read(self._status, 16) or -signal.SIGKILL)
                os.close(self._status)
            return self._code


def _ignored_signals() -> list[int]:
    # A process that is started inherits them; Python itself ignores SIGPIPE and SIGXFSZ.
    return [
        number
        for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}
        if signal.getsignal(number) is signal.SIG_IGN
    ]


class _Server:
    """The tests' end of the server: one for each process of the tests, from the first bridge on."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        self._child = Child(
            [sys.executable, "-m", "tests.support.fork_server", str(theirs.fileno())],
            env={**os.environ, "COVERAGE_PROCESS_CONFIG": ""},
            stderr=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        atexit.register(self._child.kill)

    def fork(self, request: Mapping[str, object], files: Sequence[int]) -> int:
        """Return the pid of a new bridge, whose standard error is the first file; its exit code goes to the second."""
        with self._lock:
            socket.send_fds(self._ours, [json.dumps(request).encode()], files)
            return int(self._ours.recv(16))


_started: _Server | None = None


def _server() -> _Server:
    global _started  # noqa: PLW0603 - one for the whole run of the tests
    if _started is None:
        _started = _Server()
    return _started


def _serve(control: socket.socket) -> list[str]:
    """Fork a bridge for each request, and return its arguments in it; end when the tests do."""
    woken, wake = socket.socketpair()
    for end in (woken, wake):
        end.setblocking(False)
    signal.set_wakeup_fd(wake.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    statuses: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([control, woken], [], [])
        if woken in ready:
            woken.recv(4096)
            _report_ended(statuses)
        if control in ready:
            request, files, _, _ = socket.recv_fds(control, _MAX_REQUEST, 2)
            if not request:
                sys.exit()
            stderr, status = files
            pid = os.fork()
            if pid == 0:
                for end in (control, woken, wake):
                    end.detach()
                return _become(json.loads(request), stderr)
            os.close(stderr)
            statuses[pid] = status
            control.send(str(pid).encode())


def _report_ended(statuses: dict[int, int]) -> None:
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            status = statuses.pop(ended[0])
            os.write(status, str(os.waitstatus_to_exitcode(ended[1])).encode())
            os.close(status)


def _become(request: Mapping[str, Any], stderr: int) -> list[str]:
    """Make this process such as a new one would be: its session, signals, policy, files and environment."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    os.dup2(stderr, 2)
    os.closerange(3, 1024)
    random.seed()
    os.environ.clear()
    os.environ.update(request["env"])
    for number in request["ignored"]:
        signal.signal(number, signal.SIG_IGN)
    if request["policy"] != os.sched_getscheduler(0):
        os.sched_setscheduler(0, request["policy"], os.sched_param(0))
    return list(request["arguments"])


if __name__ == "__main__":
    for _name in _MODULES:
        importlib.import_module(_name)
    gc.collect()
    _arguments = _serve(socket.socket(fileno=int(sys.argv[1])))
    sys.argv[1:] = _arguments
    if os.environ.get("COVERAGE_PROCESS_CONFIG"):
        import coverage

        coverage.process_startup()
    from bridge.cli import main

    sys.exit(main(_arguments))
