"""Latency: the time from publishing an event until a Dramatiq worker could receive its message, at a steady rate.

The publisher is a separate process. The observer waits in BLMPOP, as a worker would, and records the time of each
reply; the events of the messages are looked up afterwards. Publisher and observer are the same for all contestants.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import hiredis

from bench import load
from bench.backlogs import Backlog, PubsubBacklog
from bench.contestants import BRIDGE, FASTSTREAM, NATIVE, PEERS, POLL, SCRIPT, Contestant, Running
from bench.goals import Verdict
from bench.report import Section
from bench.rounds import LogLine
from bench.tables import number, table
from tests.support.children import Child, wait_until

RATE: Final = 2_000
SECONDS: Final = 6
#: Every contestant is measured once per round; the table has the medians.
ROUNDS: Final = 3
#: Not counted: connections and interpreters warm up.
_WARM_UP_S: Final = 2


@dataclass(frozen=True)
class Latency:
    """Milliseconds from publishing an event to receiving its message."""

    p50: float
    p99: float


def measure(backlog: Backlog, contestant: Contestant, seconds: int = SECONDS) -> Latency:
    """Publish events for some seconds and return their latency; AssertionError if an event is missing."""
    backlog.empty()
    with backlog.sink.client() as sink:
        sink.delete(load.QUEUE_KEY, load.MESSAGES_KEY)
        with contestant.start(backlog) as running:
            _await_consumer(backlog, contestant, running)
            events = RATE * seconds
            sent, seen = _offer(backlog, running, events)
        answer: Any = sink.hgetall(load.MESSAGES_KEY)
        sink.delete(load.QUEUE_KEY, load.MESSAGES_KEY)
    numbers = {identifier: json.loads(content)["args"][1] for identifier, content in answer.items()}
    latencies_ms = [
        (at - sent[numbers[identifier]]) / 1e6 for identifier, at in seen if numbers[identifier] >= RATE * _WARM_UP_S
    ]
    percentiles = statistics.quantiles(latencies_ms, n=100, method="inclusive")
    return Latency(percentiles[49], percentiles[98])


def _await_consumer(backlog: Backlog, contestant: Contestant, running: Running) -> None:
    """Publish one event, wait for its message and remove it."""
    if isinstance(backlog, PubsubBacklog):
        wait_until(backlog.subscribed, 30, f"{contestant.name} subscribed")
    backlog.fill(load.bodies(1))
    with backlog.sink.client() as sink:

        def has_arrived() -> bool:
            assert running.running, f"{contestant.name} ended\n{running.output()}"
            return bool(sink.llen(load.QUEUE_KEY) == 1)

        wait_until(has_arrived, 30, f"the first message of {contestant.name}")
        sink.delete(load.QUEUE_KEY, load.MESSAGES_KEY)


def _offer(backlog: Backlog, running: Running, events: int) -> tuple[list[int], list[tuple[bytes, int]]]:
    """Publish events; return the time of each event, and the id of each message with the time of its reply."""
    command = [sys.executable, "-m", "bench.offer", backlog.kind, backlog.broker.url, str(events), str(RATE)]
    seen: list[tuple[bytes, int]] = []
    pop = f"BLMPOP 2 1 {load.QUEUE_KEY} LEFT COUNT 1000\r\n".encode()
    reader = hiredis.Reader()
    # A bare socket: redis-py would take as long per reply as a contestant takes.
    with (
        tempfile.TemporaryFile() as output,
        socket.create_connection(("127.0.0.1", backlog.sink.port), 30) as connection,
    ):
        publisher = Child(command, env=os.environ, stdout=output, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + events / RATE + 30
            while len(seen) < events:
                connection.sendall(pop)
                while (reply := reader.gets()) is False:
                    reader.feed(connection.recv(1 << 16))
                now = time.monotonic_ns()
                if reply is not None:
                    seen += [(identifier, now) for identifier in reply[1]]
                assert running.running, f"the contestant ended\n{running.output()}"
                assert time.monotonic() < deadline, f"{len(seen)} of {events} events arrived"
            publisher.wait(30)
        finally:
            publisher.kill()
        output.seek(0)
        sent = [int(line) for line in output.read().split()]
    assert len(sent) == events, "the publisher did not finish"
    return sent, seen


def part(backlogs: Sequence[Backlog], log_line: LogLine, scale: float) -> tuple[Section, list[Verdict]]:
    """Measure every contestant that builds messages, on every source, in rounds."""
    seconds = max(_WARM_UP_S + 1, int(SECONDS * scale))
    rows: list[list[str]] = []
    verdicts: list[Verdict] = []
    failures = 0
    for backlog in backlogs:
        contestants = [each for each in PEERS[backlog.kind] if each.name not in {NATIVE, FASTSTREAM}]
        runs: dict[str, list[Latency]] = {contestant.name: [] for contestant in contestants}
        for contestant in contestants * ROUNDS:
            try:
                latency = measure(backlog, contestant, seconds)
                runs[contestant.name].append(latency)
                shown = f"p50 {number(latency.p50)} ms, p99 {number(latency.p99)} ms"
            except AssertionError as error:
                failures += 1
                shown = f"FAILED: {error}"
            log_line(f"latency  {backlog.kind:12}  {contestant.name:24} {shown}")
        medians = {name: _median(latencies) for name, latencies in runs.items() if latencies}
        for contestant in contestants:
            median = medians.get(contestant.name)
            shown_median = [number(median.p50), number(median.p99)] if median else ["FAILED", ""]
            rows.append([backlog.kind, contestant.name, *shown_median])
        verdicts += _judge(backlog.kind, medians)
    text = (
        f"{RATE:,} events/s for {seconds} s, from publish to a waiting client's having the message; "
        f"medians of {ROUNDS} rounds, in milliseconds.\n\n"
    )
    text += table(["source", "contestant", "p50 ms", "p99 ms"], rows)
    return Section("Latency", text, failures), verdicts


def _median(runs: Sequence[Latency]) -> Latency:
    return Latency(statistics.median(run.p50 for run in runs), statistics.median(run.p99 for run in runs))


def _judge(kind: str, medians: dict[str, Latency]) -> list[Verdict]:
    verdicts: list[Verdict] = []
    bridge = medians.get(BRIDGE)
    if bridge is None:
        return verdicts
    if kind == "amqp" and (poll := medians.get(POLL)):
        for name, own, other in (("p50", bridge.p50, poll.p50), ("p99", bridge.p99, poll.p99)):
            goal = f"latency {name} at most {POLL}'s"
            verdicts.append(Verdict(kind, goal, f"{own:.2f} / {other:.2f} ms", own <= other))
    if script := medians.get(SCRIPT):
        measured = f"{bridge.p99:.2f} / {script.p99:.2f} ms"
        goal = "latency p99 at most a quarter of the script's"
        verdicts.append(Verdict(kind, goal, measured, bridge.p99 <= script.p99 / 4))
    return verdicts
