"""The demo as a user runs it: real processes, on free ports."""

from __future__ import annotations

import io
import os
import pty
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import redis

from bridge.demo import EXECUTIONS
from bridge.demo.screen import Row, Screen
from tests.support.children import REPOSITORY, Child, wait_until

_DEMO = [sys.executable, "-m", "bridge", "demo"]


class Demo:
    """One run of the demo; `out` and `err` are its output, `processes` finds every process that it has started."""

    def __init__(self, directory: Path, *arguments: str, command: list[str] | None = None, **env: str) -> None:
        # Every process that the demo starts inherits this variable, also if its parent changes later.
        self._mark = uuid.uuid4().hex
        self._out, self._err = directory / "out", directory / "err"
        clean = {name: value for name, value in os.environ.items() if not name.startswith("DEMO_")}
        environment = {**clean, "TMPDIR": str(directory), "DEMO_TEST_MARK": self._mark, **env}
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.child = Child([*(command or _DEMO), *arguments], env=environment, stdout=out, stderr=err)
        self.directory = directory

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()

    def wait(self, timeout: float = 60.0) -> int:
        return self.child.wait(timeout)

    def wait_for(self, text: str) -> None:
        def there() -> bool:
            assert self.child.running or text in self.out, f"the demo ended\n{self.out}\n{self.err}"
            return text in self.out

        wait_until(there, 60, f"{text!r} in the demo's output")

    def processes(self) -> list[psutil.Process]:
        """Return the living processes, found by the mark; Valkey, whose title hides its environment, by its directory."""
        living = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                marked = process.environ().get("DEMO_TEST_MARK") == self._mark
                within = process.cwd().startswith(str(self.directory))
                if (marked or within) and process.status() != psutil.STATUS_ZOMBIE:
                    living.append(process)
        return living

    def left_behind(self) -> list[str]:
        """Return the processes and files that remain."""
        files = [path.name for path in self.directory.glob("dramatiq-bridge-demo-*")]
        return [str(process) for process in self.processes()] + files

    def table(self) -> dict[str, list[int]]:
        """Return the summary (sent, received, enqueued, executed) by source and in total."""
        rows = re.findall(r"^(\w+)((?: +\d+){4})$", self.out, re.MULTILINE)
        return {name: [int(number) for number in numbers.split()] for name, numbers in rows}

    def assert_equal_numbers(self) -> None:
        table = self.table()
        assert list(table) == ["ovens", "signups", "audit", "total"], self.out
        for name, numbers in table.items():
            assert len(set(numbers)) == 1, f"{name} differs\n{self.out}"
            assert numbers[0] > 0, f"nothing from {name}\n{self.out}"
        assert "equal: each event became one message, and each message ran once" in self.out


@pytest.fixture
def new_demo(tmp_path: Path) -> Iterator[Callable[..., Demo]]:
    """Return a function that starts a demo with its temporary files in the test's directory."""
    demos: list[Demo] = []

    def start(*arguments: str, command: list[str] | None = None, **env: str) -> Demo:
        demos.append(Demo(tmp_path, *arguments, command=command, **env))
        return demos[-1]

    yield start
    for demo in demos:
        demo.child.kill()
        for process in demo.processes():
            with suppress(psutil.Error):
                process.kill()


def test_demo_seconds_stops_by_itself_with_a_summary(new_demo: Callable[..., Demo]) -> None:
    """With DEMO_SECONDS=6 the demo shows events going in and actors running, ends with exit code 0, and every number is equal."""
    demo = new_demo(DEMO_SECONDS="6", FORCE_COLOR="1")
    assert demo.wait() == 0, demo.out + demo.err
    demo.assert_equal_numbers()
    lines = demo.out.splitlines()
    shown = lines[4:]
    events = [line for line in shown if re.match(r"[\d:]{8}  (mqtt|pub/sub|stream) ", line)]
    runs = [line for line in shown if re.match(r"[\d:]{8} +->  \w+\(", line)]
    total = demo.table()["total"][0]
    assert (len(events), len(runs)) == (total, total), demo.out
    for event, run in (
        (r"mqtt     plants/\d/ovens/\d/temperature \{\"celsius\": \d+\}$", r"record_temperature\(\"\d\", \d, \d+\)"),
        (r"pub/sub  signups \{\"user_id\": 17, ", r"send_welcome_email\(17, \"Welcome, user 17!\"\)"),
        (r"stream   audit \{\"user\": ", r"keep_audit_entry\(\"\w+\", \"[\w ]+\", entry=\"\d+-\d+\"\)"),
    ):
        assert any(re.search(event, line) for line in events), f"no {event}\n{demo.out}"
        assert any(re.search(run, line) for line in runs), f"no {run}\n{demo.out}"
    for line in events:
        # More than 250 degrees raise the alarm, as the route at the top says.
        if (oven := re.search(r'ovens/(\d)/temperature {"celsius": (\d+)}', line)) and int(oven[2]) > 250:
            assert f', {oven[1]}, {oven[2]}, severity="high")' in demo.out
    assert "plants/{plant}/ovens/{oven}/temperature, when payload.celsius > 250 -> raise_alarm($plant, " in lines[2]
    assert "\x1b" not in demo.out, "escape codes although this is no terminal"
    assert demo.err == ""
    assert demo.left_behind() == []


@pytest.mark.parametrize("env", [{}, {"NO_COLOR": "1"}], ids=["colour", "no-colour"])
def test_ctrl_c_ends_the_demo_in_order(tmp_path: Path, env: dict[str, str]) -> None:
    """Ctrl-C in a terminal, even a very narrow one, ends the demo in order: equal numbers, exit code 0."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(REPOSITORY)
        size = {"COLUMNS": "20", "LINES": "5", "TERM": "xterm-256color", "TMPDIR": str(tmp_path)}
        os.execvpe(_DEMO[0], _DEMO, {**os.environ, **size, **env})  # noqa: S606
    screen = b""
    try:
        while block := _read(terminal):
            # Ctrl-C through the terminal, once an actor has run: it signals the whole process group.
            if b"record_temperature" not in screen and b"record_temperature" in screen + block:
                os.write(terminal, b"\x03")
            screen += block
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        os.close(terminal)
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    text = screen.decode()
    assert code == 0, text
    assert "equal: each event became one message" in text
    assert ("\x1b[36m" in text) is (not env), "mqtt is cyan where colours are wanted"
    assert list(tmp_path.iterdir()) == []


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # on Linux EIO once the other side has closed
        return b""


def test_nothing_survives_a_killed_demo(new_demo: Callable[..., Demo]) -> None:
    """A demo that is killed by SIGKILL leaves no broker, no Dramatiq worker, no bridge and no file behind."""
    demo = new_demo()
    demo.wait_for("->  record_temperature")
    # The demo, its guard, two brokers, two or more processes of the Dramatiq worker, and the bridge.
    assert len(demo.processes()) >= 7
    demo.child.signal(signal.SIGKILL)
    wait_until(lambda: not demo.left_behind(), 20, "the end of everything")


def test_a_server_that_dies_fails_the_demo(new_demo: Callable[..., Demo]) -> None:
    """If a child process dies, the demo names it with its last output, ends the others, and exits with 1."""
    demo = new_demo()
    demo.wait_for("->  record_temperature")
    for process in demo.processes():
        if "bridge.demo.mqtt_broker" in process.cmdline():
            process.kill()
    assert demo.wait() == 1
    assert "dramatiq-bridge: the MQTT broker ended by itself (exit code -9)" in demo.err
    assert "listening" in demo.err
    assert "Traceback" not in demo.err
    assert demo.left_behind() == []


def test_an_execution_too_many_fails_the_demo(new_demo: Callable[..., Demo]) -> None:
    """If the numbers differ, the demo shows them, names the source, and exits with 1."""
    demo = new_demo()
    demo.wait_for("->  send_welcome_email")
    (valkey,) = (process for process in demo.processes() if process.name() == "valkey-server")
    (port,) = {connection.laddr.port for connection in valkey.net_connections("tcp") if connection.status == "LISTEN"}
    with redis.Redis(port=port) as client:
        client.rpush(EXECUTIONS, '{"actor": "send_welcome_email", "args": [1, "again"], "kwargs": {}, "effect": ""}')
    demo.wait_for('send_welcome_email(1, "again")')
    demo.child.signal(signal.SIGTERM)
    assert demo.wait() == 1
    sent, received, enqueued, executed = demo.table()["signups"]
    assert (received, enqueued, executed) == (sent, sent, sent + 1)
    assert "equal" not in demo.out
    assert demo.err == "dramatiq-bridge: the numbers of signups differ; the bridge did not complain\n"
    assert demo.left_behind() == []


def test_sigterm_while_starting_ends_the_demo(new_demo: Callable[..., Demo]) -> None:
    """A demo that is stopped while it starts leaves nothing behind."""
    demo = new_demo()
    demo.wait_for("starting Valkey")
    demo.child.signal(signal.SIGTERM)
    assert demo.wait() == 130, demo.out
    assert "Traceback" not in demo.err
    assert demo.left_behind() == []


def test_missing_extras_are_named(new_demo: Callable[..., Demo]) -> None:
    """Without its extras the demo says in one line how to install them, and exits with 1."""
    # `None` in sys.modules makes the import of a package fail.
    program = "import sys; sys.modules['rich'] = None; from bridge.cli import main; sys.exit(main(['demo']))"
    demo = new_demo(command=[sys.executable, "-c", program])
    assert demo.wait() == 1
    assert (
        demo.err
        == "dramatiq-bridge: the demo needs its extras: run `make demo` in a checkout, or pip install '.[demo]' there\n"
    )


@pytest.mark.parametrize("seconds", ["0", "-3", "nan", "inf", "soon"])
def test_senseless_seconds_are_refused(new_demo: Callable[..., Demo], seconds: str) -> None:
    """A DEMO_SECONDS that is not a positive, finite number is refused in one line."""
    demo = new_demo(DEMO_SECONDS=seconds)
    assert demo.wait() == 1
    assert demo.err == "dramatiq-bridge: the demo takes a number of seconds above 0 in --seconds or DEMO_SECONDS\n"


def test_the_configuration_of_the_demo_stands_alone() -> None:
    """`check config/examples/demo.yaml` works without the demo's environment."""
    command = [sys.executable, "-m", "bridge", "check", "config/examples/demo.yaml"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("DEMO_")}
    done = subprocess.run(command, cwd=REPOSITORY, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "config/examples/demo.yaml: ok" in done.stdout


def test_different_numbers_are_not_called_equal() -> None:
    """The summary says "equal" only if each source's four numbers are the same."""
    right, wrong = io.StringIO(), io.StringIO()
    Screen(right).summary({"ovens": Row(3, 3, 3, 3), "audit": Row(2, 2, 2, 2)})
    # The totals are equal although the sources' numbers differ.
    Screen(wrong).summary({"ovens": Row(3, 3, 3, 2), "audit": Row(2, 2, 2, 3)})
    assert "equal" in right.getvalue()
    assert "equal" not in wrong.getvalue()
    assert re.search(r"^total +5 +5 +5 +5$", right.getvalue(), re.MULTILINE)


def test_a_terminal_without_utf_8_is_enough(new_demo: Callable[..., Demo]) -> None:
    """A terminal with ASCII only does not stop the demo."""
    demo = new_demo("--seconds", "2", PYTHONIOENCODING="ascii")
    assert demo.wait() == 0, demo.err
    assert demo.err == ""
