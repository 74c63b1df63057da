"""One run of the demo as a user starts it, and the promises that several tests look for in its output."""

from __future__ import annotations

import os
import re
import sys
import uuid
from contextlib import suppress
from pathlib import Path

import psutil

from tests.support.children import Child, wait_until

DEMO = [sys.executable, "-m", "bridge", "demo"]


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
            self.child = Child([*(command or DEMO), *arguments], env=environment, stdout=out, stderr=err)
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


#: The ends of lines of events whose actor has not run yet.
WAITING = ("-> waits for Redis", "-> ...")


def assert_a_dead_letter(out: str) -> None:
    """One event was published so that no route takes it, and became a dead letter with its reason."""
    begun, reason = "-- published on purpose: an event that no route can take\n", r"-- why: .*JSON.*\n"
    letter = r"[\d:]{8} mqtt    plants/3/ovens/7 celsius: 231 +-> dead letter: decode\n"
    assert re.search(f"{begun}(.*\n)*{letter}{reason}", out), out
    assert out.count("dead letter: ") == 1


def assert_a_killed_redis(out: str) -> None:
    """Redis was killed while events came, and each of them ran afterwards."""
    _, killed, rest = out.partition("-- killing Redis, which holds Dramatiq's tasks, with SIGKILL; events go on ...\n")
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
