"""Idle: CPU and memory of a bridge that is connected to all four sources and receives no events."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from bench import load, usage
from bench.backlogs import Backlog
from bench.goals import Verdict
from bench.report import Section
from bench.rounds import LogLine
from tests.support.processes import BridgeProcess

SECONDS: Final = 20
#: Wait after the bridge is ready, before the measurement.
_QUIET_S: Final = 3


def part(backlogs: Sequence[Backlog], log_line: LogLine, scale: float) -> tuple[Section, list[Verdict]]:
    """Measure the share of a core and the resident memory."""
    seconds = max(2.0, SECONDS * scale)
    config = {
        "dramatiq": {"url": backlogs[0].sink.url_of(0)},
        "sources": {backlog.kind: backlog.source for backlog in backlogs},
        "routes": [{**load.route(backlog.topic), "name": backlog.kind, "from": backlog.kind} for backlog in backlogs],
    }
    for backlog in backlogs:
        backlog.empty()
    with BridgeProcess(config) as bridge:
        bridge.ready()
        time.sleep(_QUIET_S)
        before = usage.cpu_s(bridge.pid)
        time.sleep(seconds)
        share = (usage.cpu_s(bridge.pid) - before) / seconds * 100
        resident = usage.rss_bytes(bridge.pid) / (1 << 20)
    kinds = ", ".join(backlog.kind for backlog in backlogs)
    text = f"{share:.2f} % of a core over {seconds:.0f} s and {resident:.0f} MiB resident, connected to {kinds}."
    log_line(f"idle  {text}")
    verdicts = [
        Verdict("all", "idle: below 1 % of a core", f"{share:.2f} %", share < 1),
        Verdict("all", "idle: below 80 MiB resident", f"{resident:.0f} MiB", resident < 80),
    ]
    return Section("Idle", text), verdicts
