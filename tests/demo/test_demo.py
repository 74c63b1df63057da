"""The demo as a user runs it: real processes, on free ports."""

from __future__ import annotations

import io
import os
import pty
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import redis

from bridge.demo import EXECUTIONS
from bridge.demo.screen import Row, Screen
from tests.support.broker import find_program
from tests.support.children import REPOSITORY, Child, wait_until

_DEMO = [sys.executable, "-m", "bridge", "demo"]


class Demo:
    """One run of the demo; `out` and `err` are its output, `processes` finds every process that it has started."""

    def __init__(self, directory: Path, *arguments: str, command: list[str] | None = None, **env: str) -> None:
        # Every process that the demo starts inherits this variable, also if its parent changes later.
        self._mark = uuid.uuid4().hex
        self._out, self._err = directory / "out", directory / "err"
        clean = {name: value for name, value in os.environ.items() if not name.startswith("DEMO_")}
        # Nothing is on PATH, so that no RabbitMQ is found.
        environment = {**clean, "PATH": "", "TMPDIR": str(directory), "DEMO_TEST_MARK": self._mark, **env}
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
        """Return the summary (sent, received, enqueued, executed, dead) by source and in total."""
        rows = re.findall(r"^(\w+)((?: +\d+){5})$", self.out, re.MULTILINE)
        return {name: [int(number) for number in numbers.split()] for name, numbers in rows}

    def assert_equal_numbers(self, *, dead: int = 1, sources: tuple[str, ...] = ("ovens", "signups", "audit")) -> None:
        table = self.table()
        assert list(table) == [*sources, "total"], self.out
        for name, (sent, received, enqueued, executed, letters) in table.items():
            assert letters == (dead if name in {"ovens", "total"} else 0), self.out
            assert received == sent > 0, f"{name} differs\n{self.out}"
            assert enqueued == executed == sent - letters, f"{name} differs\n{self.out}"
        assert "equal: each event ran exactly once or is a dead letter; nothing was lost" in self.out

    def widest(self) -> int:
        return max(map(len, (self.out + self.err).splitlines()))


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


def test_demo_seconds_shows_everything_and_stops_by_itself(new_demo: Callable[..., Demo], tmp_path: Path) -> None:
    """With DEMO_SECONDS=12 each event and its actor are one line; one event dies, Redis is killed, and nothing is lost.

    No line is wider than 80 columns, however long the paths of this machine are.
    """
    directory = tmp_path.joinpath(*["a-folder-with-a-long-name"] * 4)
    directory.mkdir(parents=True)
    demo = new_demo(DEMO_SECONDS="12", FORCE_COLOR="1", TMPDIR=str(directory))
    assert demo.wait() == 0, demo.out + demo.err
    demo.assert_equal_numbers()
    assert demo.widest() <= 80, demo.out
    ends = [line for line in demo.out.splitlines() if re.match(r"[\d:]{8} ", line) and not line.endswith(_WAITING)]
    assert len(ends) == demo.table()["total"][0], demo.out
    for line in (
        r"mqtt    plants/\d/ovens/\d {\"celsius\": \d+}   -> record\(\"\d\", \d, \d+\)",
        r"pub/sub signups {\"id\": 17, .* -> welcome\(17, \"\w+\"\)",
        r"stream  audit user=\w+ did=\w+ +-> keep\(\"\w+\", \"\w+\"\)",
    ):
        assert any(re.fullmatch(r"[\d:]{8} " + line, end) for end in ends), f"no {line}\n{demo.out}"
    for line in ends:
        # More than 250 degrees raise the alarm, as the route at the top says.
        if oven := re.search(r'plants/(\d)/ovens/(\d) {"celsius": (\d+)}', line):
            actor = "raise_alarm" if int(oven[3]) > 250 else "record"
            assert line.endswith(f'-> {actor}("{oven[1]}", {oven[2]}, {oven[3]})')
    assert "{plant}/ovens/{oven}, when payload.celsius > 250\n" in demo.out
    assert "\x1b" not in demo.out, "escape codes although this is no terminal"
    _assert_a_dead_letter(demo.out)
    _assert_a_killed_redis(demo.out)
    assert re.search(
        r"next: .*\n +\S*dramatiq-bridge check bridge.yaml\n +\S*dramatiq-bridge run bridge.yaml\n$", demo.out
    )
    assert "left out" not in demo.out
    assert "-- without RabbitMQ, as rabbitmq-server is not on PATH\n" in demo.out
    assert demo.err == ""
    assert (demo.left_behind(), list(directory.iterdir())) == ([], [])


#: The ends of lines of events whose actor has not run yet.
_WAITING = ("-> waits for Redis", "-> ...")


def _assert_a_dead_letter(out: str) -> None:
    begun, reason = "-- published on purpose: an event that no route can take\n", r"-- its reason: .*JSON.*\n"
    letter = r"[\d:]{8} mqtt    plants/3/ovens/7 celsius: 231 +-> dead letter: decode\n"
    assert re.search(f"{begun}(.*\n)*{letter}{reason}", out), out
    assert out.count("dead letter: ") == 1


def _assert_a_killed_redis(out: str) -> None:
    _, killed, rest = out.partition("-- killing Dramatiq's Redis with SIGKILL; events go on ...\n")
    meanwhile, _, after = rest.partition("-- Redis is back; ")
    lines = [line for line in meanwhile.splitlines() if not line.startswith("-- no more events")]
    assert killed, out
    assert lines, "no event came while Redis was dead"
    assert all(line.endswith("-> waits for Redis") for line in lines), meanwhile
    number = f"{len(lines)} events" if len(lines) > 1 else "1 event"
    assert after.startswith(number), out
    assert f"-- nothing is lost: {number} that came while Redis was dead ha" in after
    for line in lines:
        event = line[9:].removesuffix("-> waits for Redis")
        assert event in after, f"its actor has not run: {line}"


@pytest.mark.skipif(find_program("rabbitmq-server") is None, reason="RabbitMQ is not installed")
def test_the_demo_takes_rabbitmq_too_where_it_is_installed(new_demo: Callable[..., Demo]) -> None:
    """With rabbitmq-server on PATH the demo starts one, in its own directory, and events come by its queue as well."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])
    demo = new_demo("--seconds", "3", PATH=path, RABBITMQ_NODENAME="not-this-one", HOME="/nonexistent")
    assert demo.wait(120) == 0, demo.out + demo.err
    demo.assert_equal_numbers(sources=("ovens", "signups", "audit", "orders"))
    assert re.search(
        r"[\d:]{8} amqp    orders {\"order\": 801, \"eur\": [\d.]+} +-> ship\(801, [\d.]+\)\n", demo.out
    ), demo.out
    assert demo.widest() <= 80
    assert demo.err == ""
    assert demo.left_behind() == []


def test_ctrl_c_while_redis_is_dead_loses_nothing(new_demo: Callable[..., Demo]) -> None:
    """An end while Redis is dead starts it again first: what came meanwhile runs, and the numbers are equal."""
    demo = new_demo("--seconds", "12")
    demo.wait_for("waits for Redis")
    demo.child.signal(signal.SIGINT)
    assert demo.wait() == 0, demo.out + demo.err
    demo.assert_equal_numbers()
    _assert_a_killed_redis(demo.out)
    assert demo.err == ""
    assert demo.left_behind() == []


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


@pytest.mark.parametrize("env", [{}, {"NO_COLOR": "1"}], ids=["colour", "no-colour"])
def test_ctrl_c_ends_the_demo_in_order(tmp_path: Path, env: dict[str, str]) -> None:
    """Ctrl-C in a terminal, even a very narrow one, ends the demo in order: equal numbers, exit code 0."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(REPOSITORY)
        size = {"COLUMNS": "20", "LINES": "5", "TERM": "xterm-256color", "PATH": "", "TMPDIR": str(tmp_path)}
        os.execvpe(_DEMO[0], _DEMO, {**os.environ, **size, **env})  # noqa: S606
    screen = b""
    try:
        while block := _read(terminal):
            # Ctrl-C through the terminal, once an actor has run: it signals the whole process group.
            if b"record(" not in screen and b"record(" in screen + block:
                os.write(terminal, b"\x03")
            screen += block
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        os.close(terminal)
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    text = screen.decode()
    assert code == 0, text
    assert "equal: each event ran exactly once or is a dead letter" in text
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
    assert demo.err == "dramatiq-bridge: the numbers of signups differ; the bridge did not complain\n"
    assert demo.left_behind() == []


def test_sigterm_while_starting_ends_the_demo(new_demo: Callable[..., Demo]) -> None:
    """A demo that is stopped while it starts leaves nothing behind."""
    demo = new_demo()
    demo.wait_for("starting two Redis")
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
    """The summary says "equal" only if each source's events all ran or are dead letters."""
    right, wrong = io.StringIO(), io.StringIO()
    Screen(right).summary({"ovens": Row(3, 3, 2, 2, 1), "audit": Row(2, 2, 2, 2, 0)})
    # The totals are equal although the sources' numbers differ.
    Screen(wrong).summary({"ovens": Row(3, 3, 3, 2, 0), "audit": Row(2, 2, 2, 3, 0)})
    assert "equal" in right.getvalue()
    assert "equal" not in wrong.getvalue()
    assert re.search(r"^total +5 +5 +4 +4 +1$", right.getvalue(), re.MULTILINE)


def test_a_short_run_on_a_plain_terminal_says_what_it_leaves_out(new_demo: Callable[..., Demo], tmp_path: Path) -> None:
    """A terminal with ASCII only does not stop the demo, nor a RabbitMQ that does not start; a short run names the rest."""
    for name in ("rabbitmq-server", "epmd"):
        program = tmp_path / name
        program.write_text("#!/bin/sh\nexit 3\n")
        program.chmod(0o755)
    demo = new_demo("--seconds", "1", PYTHONIOENCODING="ascii", PATH=str(tmp_path))
    assert demo.wait() == 0, demo.err
    assert "-- without RabbitMQ, which did not start\n" in demo.out
    assert "-- left out: the dead letter, the killed Redis; 12 s are enough for everything\n" in demo.out
    assert demo.err == ""
    assert demo.left_behind() == []
