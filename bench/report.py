"""The report that `make bench` prints and writes to bench/results.md."""

from __future__ import annotations

import datetime as dt
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import bridge
from bench import usage
from bench.contestants import BRIDGE
from bench.goals import Verdict, cpu, speed
from bench.rounds import Rounds
from bench.tables import number, table
from tests.support.broker import find_program

_PACKAGES = ("mq-bridge", "faststream", "aio-pika", "paho-mqtt", "redis", "hiredis", "dramatiq", "orjson", "uvloop")


@dataclass(frozen=True)
class Section:
    """A section of the report, in Markdown."""

    title: str
    text: str
    failures: int = 0


def throughput(all_rounds: Iterable[Rounds]) -> Section:
    """Return the table of events/s and CPU, with the contestants' settings and the failed runs."""
    rows, settings, failures = [], [], []
    for rounds in all_rounds:
        for contestant in rounds.contestants:
            name = contestant.name
            brokers = next((run.brokers for run in rounds.runs.get(name, []) if run), {})
            costs = []
            for broker in brokers:
                # `broker` is a default, because a closure would see the loop's last value.
                cost = rounds.median(name, lambda run, broker=broker: run.brokers[broker])  # type: ignore[misc]
                costs.append(f"{broker} {number(cost)}")
            rows.append(
                [
                    rounds.kind,
                    name,
                    number(rounds.median(name, speed), 0),
                    number(rounds.median(name, cpu)),
                    ", ".join(costs),
                    number(rounds.ratio(BRIDGE, name, speed), 1),
                    number(rounds.ratio(name, BRIDGE, cpu), 1),
                ]
            )
            settings.append(f"- {rounds.kind}, {name}: {contestant.settings} ({contestant.events:,} events)")
        failures += rounds.failures
    head = [
        "source",
        "contestant",
        "events/s",
        "CPU s/100k",
        "brokers' CPU s/100k",
        "bridge is faster x",
        "CPU x bridge",
    ]
    text = table(head, rows)
    text += "\n\nHow they were set up, and the events of one run:\n\n" + "\n".join(settings)
    if failures:
        text += "\n\nRuns that failed and count for nothing:\n\n" + "\n".join(f"- {failure}" for failure in failures)
    return Section("Throughput", text)


def goals(verdicts: Sequence[Verdict]) -> Section:
    """Return the table of the goals with measured values and verdicts."""
    rows = [
        [verdict.source, verdict.goal, verdict.measured, "met" if verdict.met else "not met"] for verdict in verdicts
    ]
    return Section("Goals", table(["source", "goal", "measured", "verdict"], rows))


def machine() -> Section:
    """Return the machine, its load, and the versions of Python, packages and brokers."""
    now = dt.datetime.now(dt.UTC)
    lines = [
        f"- {now:%Y-%m-%d %H:%M} UTC; {os.cpu_count()} cores, {usage.cpu_model()}; {platform.platform()}",
        f"- load of the machine at the end: {os.getloadavg()[0]:.1f}",
        f"- Python {platform.python_version()}, dramatiq-bridge {bridge.__version__}{_commit()}",
        "- " + ", ".join(f"{name} {_version(name)}" for name in _PACKAGES),
        "- " + ", ".join(_server_versions()),
    ]
    return Section("Machine and versions", "\n".join(lines))


def markdown(title: str, introduction: str, sections: Iterable[Section]) -> str:
    """Return the whole report."""
    parts = [f"# {title}", introduction]
    for section in sections:
        parts += [f"## {section.title}", section.text]
    return "\n\n".join(parts) + "\n"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"


def _server_versions() -> list[str]:
    # mosquitto has no --version; the first line of its help has the version.
    return [
        f"redis-server {_first_number('redis-server', '--version')}",
        f"mosquitto {_first_number('mosquitto', '-h')}",
        f"rabbitmq-server {_rabbitmq_version()}",
    ]


def _first_number(program: str, option: str) -> str:
    path = find_program(program)
    if path is None:
        return "(not installed)"
    done = subprocess.run([path, option], capture_output=True, text=True, timeout=30, check=False)
    match = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)
    return match[0] if match else "(unknown)"


def _rabbitmq_version() -> str:
    path = find_program("rabbitmq-server")
    if path is None:
        return "(not installed)"
    # Debian's path contains the version; asking the program would take seconds to start Erlang.
    match = re.search(r"rabbitmq_server-(\d+\.\d+\.\d+)", os.path.realpath(path))
    return match[1] if match else "(unknown)"


def _commit() -> str:
    done = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return f" at {done.stdout.strip()}" if done.returncode == 0 else ""
