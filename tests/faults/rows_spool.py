"""Rows whose victim is the spool, or what only a spool holds while Dramatiq's Redis is away."""

from __future__ import annotations

import random
import resource
import shutil
import time
from pathlib import Path
from typing import Any

from tests.faults import checker
from tests.faults.rows import Says, row
from tests.faults.rows_bridge import stop
from tests.faults.stage import Stage
from tests.support.children import wait_until

SPOOLED = ("mqtt", "mqtt-qos0", "pubsub")
AWAY = (Says("sink.unavailable"),)
_SPOOL: dict[str, Any] = {"spool": "64MiB", "rate": 500}


# In order: what is published after a minute's outage comes behind what that minute has brought.
@row("spool-outage", unready=("sink: ",), sources=SPOOLED, keeps_all=True, says=AWAY, recovery_s=20.0, stage=_SPOOL)
def outage(stage: Stage) -> None:
    """Redis is away for many windows of events, also of sources that promise nothing: none is lost, none comes twice."""
    stage.sink.kill()
    stage.wait(4, 5, 60)
    stage.sink.start()


@row("spool-kill", unready=("sink: ",), sources=SPOOLED, keeps_all=True, says=AWAY, recovery_s=None, stage=_SPOOL)
def kill(stage: Stage) -> None:
    """With the spool filled while Redis is away, the bridge is killed (kill -9), and twice more while it catches up."""
    _fill(stage)
    stage.bridge.kill()
    stage.sink.start()
    for _ in range(2):
        stage.restart(stage.bridge)
        stage.bridge.wait_for("spool.found", timeout=10)
        stage.wait(0.0, 0.1)
        stage.bridge.kill()
    stage.restart(stage.bridge)
    stage.bridge.ready()


@row("spool-slow-redis", sources=SPOOLED, keeps_all=True, recovery_s=20.0, stage={**_SPOOL, "through": ("sink",)})
def slow(stage: Stage) -> None:
    """Every reply of Redis takes 300 ms longer, which is too slow for what comes."""
    stage.proxies["sink"].latency_s = 0.3
    stage.wait(3, 4, 30)
    stage.proxies["sink"].latency_s = 0


@row(
    "spool-flipped-bytes",
    sources=SPOOLED,
    says=(*AWAY, Says("spool.corrupt", fields=("lost",))),
    recovery_s=None,
    own_loss="the disk's: twenty of the spool's bytes were flipped; the bridge counts exactly what is lost by it",
    losers=SPOOLED,
    stage=_SPOOL,
)
def flipped(stage: Stage) -> None:
    """While Redis and the bridge are away, bytes of the spool are flipped: what is lost by it is counted exactly."""
    _fill(stage)
    stop(stage)
    for _ in range(20):
        path = random.choice([path for path in _files(stage) if path.stat().st_size])
        data = bytearray(path.read_bytes())
        data[random.randrange(len(data))] ^= 0xFF
        path.write_bytes(data)
    stage.sink.start()
    stage.restart(stage.bridge)
    stage.bridge.ready()
    with stage.client() as client:
        for source in stage.sources:
            said = _await_said(stage, source)
            _compare(stage, source, checker.look(client, [source])[source], said)


@row(
    "spool-disk-full",
    sources=SPOOLED,
    says=(*AWAY, Says("spool.full", fields=("cause",))),
    recovery_s=None,
    own_loss="the disk's: it is full, and nobody else holds what comes; counted exactly",
    losers=("mqtt-qos0", "pubsub"),
    stage=_SPOOL,
)
def disk_full(stage: Stage) -> None:
    """The disk is full while Redis is away: what has an acknowledgement waits, of the rest the newest is lost and counted."""
    # No file may grow beyond this: the same call fails as on a full disk, with an error as clear.
    resource.prlimit(stage.bridge.pid, resource.RLIMIT_FSIZE, (65_536, resource.RLIM_INFINITY))
    stage.sink.kill()
    stage.bridge.wait_for("spool.full", timeout=20)
    stage.wait(2, 3)
    for load in stage.loads.values():
        load.stop()
    resource.prlimit(stage.bridge.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    stage.sink.start()
    _await_counted(stage, settled=True)
    stop(stage)
    with stage.client() as client:
        arrived = checker.look(client, stage.sources)
    for counts in stage.bridge.events("source.counts"):
        _compare(stage, counts["source"], arrived[counts["source"]], counts["lost"])
    stage.restart(stage.bridge)
    stage.bridge.ready()


@row(
    "spool-removed",
    sources=SPOOLED,
    keeps_all=True,
    says=(*AWAY, Says("spool.directory_lost", fields=("cause", "events"))),
    recovery_s=20.0,
    stage=_SPOOL,
)
def removed(stage: Stage) -> None:
    """The spool's directory is removed while Redis is away, with all that it holds: it is made again, and nothing is lost."""
    stage.sink.kill()
    stage.wait(3, 4, 20)
    _remove(stage.spool)
    stage.wait(1, 2, 10)
    stage.sink.start()


def _remove(directory: Path) -> None:
    """Remove it with all that it holds, though the bridge makes files in it meanwhile."""
    for attempt in range(20):
        try:
            shutil.rmtree(directory)
        except OSError:
            if attempt == 19:
                raise
            time.sleep(0.05)
        else:
            return


def _fill(stage: Stage) -> None:
    """Let the spool take many windows while Redis is away; nothing more is published then, and all of it is there."""
    stage.sink.kill()
    stage.wait(3, 4, 20)
    for load in stage.loads.values():
        load.stop()
    _await_counted(stage, settled=False)
    # What was sent and not confirmed may come too.
    _await_steady(lambda: sum(path.stat().st_size for path in _files(stage)))


def _compare(stage: Stage, source: str, arrived: checker.Arrived, counted: int) -> None:
    """Note a failure unless `counted` is what is missing; of what was sent and not confirmed, nobody knows whether it had come."""
    ledger = stage.loads[source].ledger
    missing, unconfirmed = len(arrived.missing(ledger)), ledger.sent - len(ledger.confirmed)
    if not missing <= counted <= missing + unconfirmed:
        stage.failures.append(f"{source}: {missing} are missing, {counted} were counted")


def _await_counted(stage: Stage, *, settled: bool) -> None:
    """Wait until the bridge, which has not been restarted, counts as many events of each source as were confirmed.

    `settled`: and until all of them are written or lost.
    """
    for source, load in stage.loads.items():

        def counted(source: str = source, wanted: int = len(load.ledger.confirmed)) -> bool:
            state = stage.bridge.state(source)
            return bool(state["received"] >= wanted and not (settled and (state["in_flight"] or state["spooled"])))

        wait_until(counted, what=f"every event of {source} counted")


def _files(stage: Stage) -> list[Path]:
    return sorted(stage.spool.rglob("*.spool"))


def _await_said(stage: Stage, source: str) -> int:
    """Return how many events the bridge has said to be lost, once it has written the rest."""
    wait_until(lambda: stage.bridge.state(source)["spooled"] == 0, what="an empty spool")
    return sum(line["lost"] for line in stage.bridge.events("spool.corrupt") if line["source"] == source)


def _await_steady(value: Any) -> None:
    before, since = value(), time.monotonic()

    def steady() -> bool:
        nonlocal before, since
        now = value()
        if now != before or not now:
            before, since = now, time.monotonic()
        return time.monotonic() - since > 1.5

    wait_until(steady, 60, "a steady value")
