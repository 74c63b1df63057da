"""Rows in which neighbours are broken for ever: they cost little, say little, and hold nobody up."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Final

from tests.faults.rows import row
from tests.faults.stage import Stage
from tests.support.broken_servers import WAYS, BrokenServers
from tests.support.children import wait_until

#: The goal is 2 % of a core. A busy machine takes more for the same work.
_MOST_SHARE: Final = 0.06
_MOST_LOG_BYTES: Final = 64 * 1024
#: Longer than the waits take to grow to 90 s: two minutes with 5 s at most, then 10, 20, 40 and 80 s, and time-outs of 10 s.
_SETTLE_S: Final = 300.0
_MEASURE_S: Final = 60.0
#: After the last event, before the cost of the others is measured.
_QUIET_S: Final = 2.0
_GOOD: Final = ("amqp", "mqtt", "stream-elsewhere")


def _beside(stage: Stage, count: int, ways: tuple[str, ...]) -> None:
    measure_s = 5.0 if stage.short else _MEASURE_S
    alone, _ = _cost(stage, measure_s)
    servers = BrokenServers(ways).start()
    stage.later(servers.close)
    dead = servers.sources(count // 5 if stage.short else count)

    def add(config: dict[str, Any]) -> None:
        config["sources"] |= dead
        config["routes"] += [{"from": name, "actor": "record"} for name in dead]

    stage.bridge.terminate()
    stage.bridge.wait()
    stage.configure(add)
    stage.restart(stage.bridge)
    for name in stage.sources:
        stage.bridge.wait_for("source.connected", source=name)
    wait_until(lambda: len(_failed(stage)) == len(dead), 60, "a line about each dead source")
    stage.idle_bytes = stage.bridge.rss_bytes()
    time.sleep(5.0 if stage.short else _SETTLE_S)
    share, log_bytes = _cost(stage, measure_s)
    stage.notes.append(
        f"{len(dead)} dead sources: {100 * (share - alone):.1f} % of a core beside {100 * alone:.1f} % of the good ones, all idle,"
        f" {log_bytes / 1000:.1f} KB of log a minute"
    )
    if stage.short:
        return
    if share - alone > _MOST_SHARE:
        stage.failures.append(f"they take {100 * (share - alone):.1f} % of a core, more than {100 * _MOST_SHARE:g}")
    if log_bytes > _MOST_LOG_BYTES:
        stage.failures.append(f"they write {log_bytes / 1000:.1f} KB of log a minute")


def _failed(stage: Stage) -> set[str]:
    return {line["source"] for line in stage.bridge.events("source.unavailable")}


def _cost(stage: Stage, seconds: float) -> tuple[float, float]:
    """Return the bridge's share of a core while no event comes, and the bytes of its log in a minute."""
    rates = {name: load.rate for name, load in stage.loads.items()}
    for load in stage.loads.values():
        load.rate = 0
    time.sleep(_QUIET_S)
    began, cpu_s, lines = time.monotonic(), _cpu_s(stage.bridge.pid), len(stage.bridge.lines)
    time.sleep(seconds)
    took = time.monotonic() - began
    used_s = _cpu_s(stage.bridge.pid) - cpu_s
    written = sum(len(line) + 1 for line in stage.bridge.lines[lines:])
    for name, rate in rates.items():
        stage.loads[name].rate = rate
    return used_s / took, written * 60 / took


def _cpu_s(pid: int) -> float:
    """Return how many seconds of a core a process has taken (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


_BROKEN: Final[dict[str, Any]] = {
    "stage": {"rate": 20},
    "sources": _GOOD,
    "recovery_s": 10.0,
    "unready": ("source dead-",),
    "stays_unready": True,
}


@row("neighbour-dead", **_BROKEN)
def dead(stage: Stage) -> None:
    """500 dead sources of all kinds (refused, silent, closing, HTTP, SSH): little CPU and log, good ones move, a stop is a stop."""
    _beside(stage, 500, tuple(way for way in WAYS if way != "expired"))


@row("neighbour-expired", **_BROKEN)
def expired(stage: Stage) -> None:
    """100 sources over TLS at a server whose certificate has expired: as above."""
    _beside(stage, 100, ("expired",))
