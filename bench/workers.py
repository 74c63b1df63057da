"""Workers: the CPU that a real Dramatiq worker and its Redis take to fetch and acknowledge 100,000 messages, and while idle."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from bench import load, usage
from bench.costs import Setup, move, stage
from bench.report import Section
from bench.rounds import LogLine
from bench.tables import number, table
from tests.support.brokers import Redis
from tests.support.children import Child, wait_until

_THREADS: Final = 8
_MESSAGES: Final = 40_000
_ROUNDS: Final = 3
_PROCESSES: Final = (1, 4)
_IDLE_S: Final = 8
_IDLE_QUEUES: Final = (1, 10, 50)
_HASH: Final = f"dramatiq:{load.QUEUE}0.msgs"


def section(log_line: LogLine, scale: float) -> Section:
    """Measure the messages of a bridge, then workers without messages."""
    messages = max(5_000, int(_MESSAGES * scale))
    drained = []
    with stage("mqtt") as on:
        for processes in _PROCESSES:
            runs = []
            for _ in range(_ROUNDS):
                move(on, Setup("mqtt", messages))
                runs.append(_drain(on.sink, processes))
                log_line(f"workers  {processes} processes: Redis {runs[-1][0]:.2f} worker {runs[-1][1]:.2f}")
            drained.append([f"{processes}", *(number(statistics.median(values)) for values in zip(*runs, strict=True))])
    text = f"Dramatiq's worker, processes of {_THREADS} threads, with an actor that does nothing: CPU seconds per 100,000 messages of a\n"
    text += f"backlog; medians of {_ROUNDS} rounds.\n\n"
    text += table(["processes", "Redis", "worker"], drained, texts=1)
    rows = []
    for queues in _IDLE_QUEUES:
        shares = _idle(queues, max(2.0, _IDLE_S * scale))
        rows.append([f"{queues}", *(number(share * 100) for share in shares)])
        log_line(f"workers  idle, {queues} queues: Redis {shares[0]:.2%} worker {shares[1]:.2%}")
    text += "\n\nOne process without messages, in % of a core:\n\n"
    text += table(["queues", "Redis", "worker"], rows, texts=1)
    return Section("Workers", text)


def _drain(sink: Redis, processes: int) -> tuple[float, float]:
    """Return the CPU seconds per 100,000 messages of Redis and of the worker, once it has warmed up."""
    with sink.client() as client, _worker(sink, 1, processes) as pid:

        def left() -> int:
            answer: Any = client.hlen(_HASH)
            return int(answer)

        planned = left()
        wait_until(lambda: left() < planned * 0.95, 60, "the worker at work")
        first, before = left(), (usage.cpu_s(sink.pid), usage.cpu_s(pid))
        wait_until(lambda: left() == 0, 120, "every message done")
        used = [usage.cpu_s(each) - start for each, start in zip((sink.pid, pid), before, strict=True)]
    return used[0] / first * 100_000, used[1] / first * 100_000


def _idle(queues: int, seconds: float) -> tuple[float, float]:
    with Redis() as sink, _worker(sink, queues) as pid:
        time.sleep(2)
        before = usage.cpu_s(sink.pid), usage.cpu_s(pid)
        time.sleep(seconds)
        return (usage.cpu_s(sink.pid) - before[0]) / seconds, (usage.cpu_s(pid) - before[1]) / seconds


@contextmanager
def _worker(sink: Redis, queues: int, processes: int = 1) -> Iterator[int]:
    """Start a worker and return its process id."""
    names = ",".join(f"{load.QUEUE}{number}" for number in range(queues))
    env = {**os.environ, "BENCH_REDIS_URL": sink.url_of(0), "BENCH_QUEUES": names}
    command = [
        sys.executable,
        "-m",
        "dramatiq",
        "bench.actors",
        "--processes",
        f"{processes}",
        "--threads",
        f"{_THREADS}",
    ]
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "log"
        with log.open("wb") as output:
            child = Child(command, env=env, stdout=output)
        try:

            def ready() -> bool:
                return log.read_text(errors="replace").count("ready for action") >= processes

            wait_until(ready, 60, "every process of the worker ready")
            yield child.pid
        finally:
            child.kill()
