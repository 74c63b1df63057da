"""The demo's ends: Ctrl-C, signals, faults."""

from __future__ import annotations

import errno
import io
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import redis

from bridge.demo import EXECUTIONS
from bridge.demo.children import Children
from bridge.demo.rabbitmq import RabbitMQ
from bridge.demo.screen import Screen
from bridge.demo.show import show
from bridge.errors import BridgeError
from tests.demo.runs import DEMO, Demo, assert_a_killed_redis
from tests.support.children import REPOSITORY, wait_until


@pytest.mark.parametrize(
    ("env", "moment"), [({}, b"-> record("), ({"NO_COLOR": "1"}, b"-> waits for Redis")], ids=["colour", "no-colour"]
)
def test_ctrl_c_ends_the_demo_in_order(tmp_path: Path, env: dict[str, str], moment: bytes) -> None:
    """Ctrl-C in a terminal, even a very narrow one, ends the demo in order: equal numbers, exit code 0.

    Where Redis is dead just then, it is started again first, and the events that came meanwhile run.
    """
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(REPOSITORY)
        size = {"COLUMNS": "20", "LINES": "5", "TERM": "xterm-256color", "PATH": "", "TMPDIR": str(tmp_path)}
        os.execvpe(DEMO[0], [*DEMO, "--seconds", "12"], {**os.environ, **size, **env})  # noqa: S606
    screen = b""
    try:
        while block := _read(terminal):
            # Ctrl-C through the terminal: it signals the whole process group.
            if moment not in _plain(screen) and moment in _plain(screen + block):
                os.write(terminal, b"\x03")
            screen += block
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        os.close(terminal)
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    text = _plain(screen).decode().replace("\r\n", "\n").replace("^C", "")
    assert code == 0, text
    assert "equal: each event ran exactly once or is a dead letter" in text
    assert max(map(len, text.splitlines())) <= 80
    if env:
        assert_a_killed_redis(text)
        assert re.search(rb"\x1b\[[\d;]*3\d", screen) is None, "colours although NO_COLOR is set"
    else:
        assert b"\x1b[36m" in screen, "mqtt is cyan where colours are wanted"
        assert "killing" not in text
    assert list(tmp_path.iterdir()) == []


def _plain(screen: bytes) -> bytes:
    return re.sub(rb"\x1b\[[\d;]*m", b"", screen)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # on Linux EIO once the other side has closed
        return b""


def test_a_second_ctrl_c_ends_the_demo_at_once(new_demo: Callable[..., Demo]) -> None:
    """A second Ctrl-C ends the demo although its bridge does not stop; no process is left."""
    demo = new_demo()
    demo.wait_for("-> record(")
    for process in demo.processes():
        if "run" in process.cmdline():
            process.suspend()
    demo.child.signal(signal.SIGINT)
    demo.wait_for("-- no more events")
    time.sleep(1.1)  # signals that are closer together count as one
    demo.child.signal(signal.SIGINT)
    assert demo.wait(15) == 130, demo.out
    assert demo.out.endswith("-- ended at once, without a summary\n")
    assert demo.err == ""
    assert demo.left_behind() == []


def test_nothing_survives_a_killed_demo(new_demo: Callable[..., Demo]) -> None:
    """A demo that is killed by SIGKILL leaves no broker, no Dramatiq worker, no bridge and no file behind."""
    demo = new_demo()
    demo.wait_for("-> record(")
    # The demo, its guard, three brokers, two or more processes of the Dramatiq worker, and the bridge.
    assert len(demo.processes()) >= 8
    demo.child.signal(signal.SIGKILL)
    wait_until(lambda: not demo.left_behind(), 20, "the end of everything")


def test_a_server_that_dies_fails_the_demo(new_demo: Callable[..., Demo]) -> None:
    """If a child process dies, the demo names it with its last output, ends the others, and exits with 1."""
    demo = new_demo()
    demo.wait_for("-> record(")
    for process in demo.processes():
        if "bridge.demo.mqtt_broker" in process.cmdline():
            process.kill()
    assert demo.wait() == 1
    assert "dramatiq-bridge: the MQTT broker ended by itself (exit code -9);" in demo.err
    assert "\n  listening" in demo.err
    assert demo.widest() <= 80
    assert "Traceback" not in demo.err
    assert demo.left_behind() == []


def test_an_execution_too_many_fails_the_demo(new_demo: Callable[..., Demo]) -> None:
    """If the numbers differ, the demo shows them, names the source, and exits with 1."""
    demo = new_demo()
    demo.wait_for("-> welcome(")
    # An event whose actor does not run within some seconds is shown as waiting.
    workers = [process for process in demo.processes() if "bridge.demo.actors" in process.cmdline()]
    for worker in workers:
        worker.suspend()
    demo.wait_for(" -> ...\n")
    for worker in workers:
        worker.resume()
    (valkey,) = (process for process in demo.processes() if process.cwd().endswith("data of the Valkey of the events"))
    (port,) = {connection.laddr.port for connection in valkey.net_connections("tcp") if connection.status == "LISTEN"}
    with redis.Redis(port=port) as client:
        client.rpush(EXECUTIONS, '{"actor": "welcome", "args": [1, "again"]}')
    demo.wait_for('a call without an event -> welcome(1, "again")')
    demo.child.signal(signal.SIGTERM)
    assert demo.wait() == 1
    sent, received, enqueued, executed, dead = demo.table()["signups"]
    assert (received, enqueued, executed, dead) == (sent, sent, sent + 1, 0)
    assert "equal" not in demo.out
    assert "next:" not in demo.out
    assert demo.err.startswith("dramatiq-bridge: the numbers of signups differ; the bridge ")
    assert demo.widest() <= 80
    assert demo.left_behind() == []


def test_sigterm_while_starting_ends_the_demo(new_demo: Callable[..., Demo]) -> None:
    """A demo that is stopped while it starts leaves nothing behind."""
    demo = new_demo()
    demo.wait_for("starting two Redis")
    demo.child.signal(signal.SIGTERM)
    assert demo.wait() == 130, demo.out
    assert "Traceback" not in demo.err
    assert demo.left_behind() == []


def test_a_disk_that_is_full_at_the_start_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is that of the demo's own files, not that of its output."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("bridge.demo.show.Servers", full)
    with pytest.raises(BridgeError, match=r"^the demo can't write to /.*dramatiq-bridge-demo-\w+: .*No space left"):
        show(Screen(io.StringIO()), 1)


def test_rabbitmq_leaves_its_dumps_in_the_demos_directory(tmp_path: Path) -> None:
    """Not in the user's, when it is killed, or the disk is full."""
    program = tmp_path / "rabbitmq-server"
    program.write_text("#!/bin/sh\npwd\n")
    program.chmod(0o755)
    with Children(lambda: False) as children:
        server = RabbitMQ(children, program)
        assert not server.wait()
        log = (children.directory / "RabbitMQ.log").read_text()
        assert log == f"{children.directory}/rabbitmq\n"


def test_the_library_of_amqp_says_nothing_between_the_demos_lines() -> None:
    """It warns with a traceback when RabbitMQ ends the connection first (aiormq, observed once in 30 runs)."""
    program = "import bridge.demo.amqp_publisher, logging; logging.getLogger('aiormq.connection').warning('closed')"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr == ""
