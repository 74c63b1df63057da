"""Low rates: the CPU per event where events come one by one, and that of sources to which nothing comes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from typing import Final

from bench import usage
from bench.backlogs import BACKLOGS, Backlog
from bench.contestants import PEERS
from bench.costs import Setup, configs, stage
from bench.report import Section
from bench.rounds import LogLine
from bench.tables import number, table
from tests.support.children import Child, wait_until
from tests.support.processes import BridgeProcess

_KINDS: Final = ("amqp", "mqtt", "redis-stream")
#: The publisher is one process of Python: beyond this it does not keep up.
_RATES: Final = (10, 100, 1_000, 10_000)
_RATE_S: Final = 6
_SOURCES: Final = (1, 50)
_IDLE_S: Final = 10
#: After the bridge is ready, and before the measurement begins.
_SETTLE_S: Final = 2.0


def section(log_line: LogLine, scale: float) -> Section:
    """Measure the rates, then the quiet sources."""
    rows = []
    seconds = max(3, int(_RATE_S * scale))
    for kind in _KINDS:
        with BACKLOGS[kind]() as backlog:
            for rate in _RATES:
                costs, reached = _at(backlog, rate, seconds)
                rows.append([kind, f"{rate:,}", *(number(us, 0) for us in costs), number(reached, 0)])
                log_line(f"quiet  {kind} {rate}/s: {rows[-1][2:]} us")
    text = f"Events at a steady rate for {seconds} s, us of CPU per event; the broker's with its work for the publisher.\n\n"
    text += table(["source", "events/s", "bridge", "broker", "Redis", "reached/s"], rows, texts=1)
    idle = []
    for kind in _KINDS[:2]:
        for sources in _SOURCES:
            shares, mib = _idle(kind, sources, max(3.0, _IDLE_S * scale))
            idle.append([kind, f"{sources}", *(number(share * 100) for share in shares), number(mib, 0)])
            log_line(f"quiet  {kind} {sources} idle sources: {idle[-1][2:]}")
    text += "\n\nSources to which nothing comes, in % of a core, and the bridge's resident memory:\n\n"
    text += table(["source", "sources", "bridge", "broker", "Redis", "MiB"], idle, texts=1)
    return Section("Low rates", text)


def _at(backlog: Backlog, rate: int, seconds: int) -> tuple[list[float], float]:
    """Return the microseconds of CPU per event of bridge, broker and Redis, and the events/s that the publisher reached."""
    backlog.empty()
    with backlog.sink.client() as client, PEERS[backlog.kind][0].start(backlog) as running:
        client.delete("dramatiq:readings", "dramatiq:readings.msgs")
        backlog.fill([b'{"temp":1,"unit":"C","seq":1,"device":"d"}'])
        wait_until(lambda: client.llen("dramatiq:readings") == 1, 30, "the first event's message")
        time.sleep(_SETTLE_S)
        pids = [running.pid, backlog.broker.pid, backlog.sink.pid]
        before = [usage.cpu_s(pid) for pid in pids]
        command = [
            sys.executable,
            "-m",
            "bench.offer",
            backlog.kind,
            backlog.broker.url,
            str(rate * seconds),
            str(rate),
        ]
        with tempfile.TemporaryFile() as output:
            publisher = Child(command, env=os.environ, stdout=output, stderr=subprocess.DEVNULL)
            try:
                publisher.wait(seconds + 60)
            finally:
                publisher.kill()
            output.seek(0)
            sent = [int(line) for line in output.read().split()]
        wait_until(lambda: client.llen("dramatiq:readings") == rate * seconds + 1, 30, "a message of every event")
        costs = [(usage.cpu_s(pid) - start) / (rate * seconds) * 1e6 for pid, start in zip(pids, before, strict=True)]
        return costs, (len(sent) - 1) / (sent[-1] - sent[0]) * 1e9


def _idle(kind: str, sources: int, seconds: float) -> tuple[list[float], float]:
    """Return the shares of a core of bridge, broker and Redis, and the bridge's MiB."""
    with stage(kind) as on, BridgeProcess(configs(on, Setup(kind, 0, sources=sources))[0]) as bridge:
        bridge.ready(60)
        time.sleep(_SETTLE_S)
        pids = [bridge.pid, on.side.broker.pid, on.sink.pid]
        before = [usage.cpu_s(pid) for pid in pids]
        time.sleep(seconds)
        shares = [(usage.cpu_s(pid) - start) / seconds for pid, start in zip(pids, before, strict=True)]
        return shares, usage.rss_bytes(bridge.pid) / (1 << 20)
