"""Random rows one after another under load, against one bridge that never ends: `python -m tests.faults.soak --minutes 30`.

All the time every source gets hostile events beside its load, and now and then 100,000 a second for some seconds. Reports memory, file descriptors, tasks and threads over time, and what the ledger says in the end.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from signal import SIGUSR1
from statistics import median
from typing import Final

from tests.faults import checker
from tests.faults.collector import Collector
from tests.faults.experiment import BROKEN_OFF, await_recovery
from tests.faults.flood import Flood
from tests.faults.plot import Series, draw
from tests.faults.rows import Row, named
from tests.faults.rows_input import HOSTILE
from tests.faults.sources import EVERY, KINDS
from tests.faults.stage import Brokers, Stage

#: Rows that leave the bridge alive and lose nothing by a broker's own fault.
ROWS: Final = (
    *("redis-kill", "redis-pause", "redis-latency", "redis-cut-replies", "redis-script-flush"),
    *(
        "redis-oom",
        "redis-noreplicas",
        "redis-readonly",
        "redis-masterdown",
        "redis-misconf",
        "redis-busy",
        "redis-noperm",
    ),
    *("rabbitmq-restart", "rabbitmq-kill", "rabbitmq-connections-closed", "rabbitmq-alarm"),
    *("mosquitto-restart", "mosquitto-flapping", "events-kill", "events-pause", "sources-reset", "sources-refuse"),
)
#: Growth of the median from the second fifth of the time to the last fifth that is no growth yet.
MOST_MIB: Final = 8.0
MOST_DESCRIPTORS: Final = 3.0
MOST_THREADS: Final = 1.0
MOST_TASKS: Final = 3.0
_RECOVERY_S: Final = 20.0
_HOSTILE: Final = list(HOSTILE.values())
#: How often in half seconds, and how long.
_FLOOD_EVERY: Final = 90
_FLOOD_S: Final = 1.0
_PROXIED: Final = ("sink", "rabbitmq", "mosquitto", "events")


@dataclass(slots=True)
class Samples:
    """One sample per second of a process, in MiB and numbers."""

    times: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    descriptors: list[float] = field(default_factory=list)
    threads: list[float] = field(default_factory=list)
    tasks: list[float] = field(default_factory=list)

    def take(self, stage: Stage, since: float) -> None:
        """Add a sample."""
        process = Path(f"/proc/{stage.bridge.pid}")
        self.memory.append(stage.bridge.rss_bytes() / 2**20)
        self.descriptors.append(len(list((process / "fd").iterdir())))
        self.threads.append(len(list((process / "task").iterdir())))
        # What it said to the signal of a second ago.
        states = (log for log in reversed(stage.bridge.logs) if log.get("event") == "bridge.state")
        self.tasks.append(next(states, {"tasks": 0})["tasks"])
        stage.bridge.signal(SIGUSR1)
        self.times.append(time.monotonic() - since)


def growth(values: Sequence[float]) -> float:
    """Return by how much the median of the last fifth is above that of the second."""
    fifth = max(1, len(values) // 5)
    return median(values[-fifth:]) - median(values[fifth : 2 * fifth] or values)


def soak(
    stage: Stage, seconds: float, say: Callable[[str], None]
) -> tuple[Samples, list[tuple[float, float]], list[str]]:
    """Run random rows for so long; return the samples, when there was a fault, and what did not hold."""
    samples, spans, failures = Samples(), [], []
    since, ended = time.monotonic(), threading.Event()
    collector = Collector(stage)
    rows = [named(name) for name in ROWS]

    def sample() -> None:
        while not ended.wait(1):
            with suppress(OSError, AssertionError):  # the bridge has ended, which is said below
                samples.take(stage, since)

    for load in stage.loads.values():
        load.start()
    collector.start()
    threading.Thread(target=sample, name="samples", daemon=True).start()
    garbage = threading.Thread(target=_send_garbage, args=(stage, ended), name="garbage", daemon=True)
    garbage.start()
    while time.monotonic() - since < seconds and stage.bridge.running:
        stage.wait(1, 5)
        row = random.choice(rows)
        begun = time.monotonic() - since
        problems, took = _one(stage, row, collector)
        spans.append((begun, time.monotonic() - since))
        say(
            f"{begun:7.0f} s  {row.name:<28} recovered after {took:4.1f} s"
            + "".join(f"\n  - {one}" for one in problems)
        )
        failures += [f"{row.name}: {one}" for one in problems]
    ended.set()
    garbage.join(30)
    for load in stage.loads.values():
        load.stop()
    failures += _settled(stage, collector)
    return samples, spans, failures


def _send_garbage(stage: Stage, ended: threading.Event) -> None:
    """Send a hostile body twice a second to each source in turn, and now and then a flood of them to one."""
    for turn, source in enumerate(cycle(stage.loads)):
        if ended.wait(0.5):
            return
        stage.loads[source].send_while_connected([random.choice(_HOSTILE)])
        if turn % _FLOOD_EVERY == _FLOOD_EVERY - 1:
            flood = Flood("pubsub", stage.events.port, stage.feeds["pubsub"].topic)
            ended.wait(_FLOOD_S)
            flood.end()


def _one(stage: Stage, row: Row, collector: Collector) -> tuple[list[str], float]:
    problems: list[str] = []
    try:
        row.act(stage)
    except BROKEN_OFF as error:
        problems.append(f"{type(error).__name__}: {error}")
    problems += stage.failures
    stage.failures.clear()
    took = await_recovery(stage, _RECOVERY_S, collector.newest, problems)
    return problems, took


def _settled(stage: Stage, collector: Collector) -> list[str]:
    """Stop the bridge, and compare the ledger with everything that was collected."""
    time.sleep(5)
    stage.bridge.terminate()
    failures = [] if stage.bridge.wait() == 0 else ["the bridge did not end with exit code 0"]
    collector.stop()
    for source, its in collector.arrived.items():
        missing = its.missing(stage.loads[source].ledger)
        if missing and KINDS[source].guarantee:
            failures.append(f"{source}: lost {len(missing)}: {checker.shown(missing)}")
        failures += its.orphans[:5]
        print(
            f"{source:<18} {len(stage.loads[source].ledger.confirmed):>9,} confirmed {len(missing):>7,} missing"
            f"{'' if KINDS[source].guarantee else ' (at most once)'} {its.duplicates:>5,} duplicates"
        )
    return failures


def main() -> int:
    """Soak; 1 if anything was lost or grew."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--output", type=Path, default=Path("soak.png"), metavar="PNG")
    parser.add_argument("--path", choices=["fast", "library"], default="fast", help="how AMQP and MQTT are read")
    parser.add_argument("--rate", type=int, default=100, help="events per second of each source")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    random.seed(options.seed)
    logging.disable()
    settings = {"dramatiq": {"timeout": "1s", "connect_timeout": "1s"}}
    stage = {"short": True, "fast": options.path == "fast", "rate": options.rate, "spool": "64MiB"}
    with Brokers() as brokers, Stage(brokers, EVERY, through=_PROXIED, settings=settings, **stage) as ready:
        samples, spans, failures = soak(ready, options.minutes * 60, lambda line: print(line, flush=True))
    watched = [
        ("resident memory, MiB", samples.memory, MOST_MIB),
        ("open file descriptors", samples.descriptors, MOST_DESCRIPTORS),
        ("tasks", samples.tasks, MOST_TASKS),
        ("threads", samples.threads, MOST_THREADS),
    ]
    for title, values, most in watched:
        grown = growth(values)
        print(f"{title:<24} from {min(values):.1f} to {max(values):.1f}, growth of the median {grown:+.1f}")
        if grown > most:
            failures.append(f"{title} grew by {grown:.1f}, more than {most:g}")
    title = f"{options.minutes:g} min, {len(spans)} faults (shaded), {options.path} path, seed {options.seed}"
    draw(options.output, title, samples.times, [Series(name, values) for name, values, _ in watched], spans)
    print("\n".join(f"FAILED {one}" for one in failures) or f"held; {options.output} shows it")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
