"""Rows whose victim is the bridge itself."""

from __future__ import annotations

import threading
import time
from signal import SIGUSR1

from tests.faults.experiment import STOP_S
from tests.faults.rows import Says, row
from tests.faults.stage import Stage

ROUNDS = 3


@row("bridge-kill", again=ROUNDS)
def kill(stage: Stage) -> None:
    """The bridge is killed (kill -9) at a random point under load and started again, three times."""
    for _ in range(ROUNDS):
        stage.wait(0.2, 1.0, 3.0)
        stage.bridge.kill()
        stage.restart(stage.bridge)
        stage.bridge.ready()


# Killed, not stopped by SIGSTOP: what a stopped Redis has in its sockets it would still do when it goes on.
@row("bridge-kill-unwritten", again=1, says=(Says("sink.unavailable"),))
def kill_unwritten(stage: Stage) -> None:
    """The bridge is killed (kill -9) while Redis is away: it holds a window that it has not written."""
    stage.sink.kill()
    stage.bridge.wait_for("sink.unavailable")
    stage.wait(1, 2)
    stage.bridge.kill()
    stage.sink.start()
    stage.restart(stage.bridge)
    stage.bridge.ready()


@row("bridge-kill-unsettled", again=1, must_duplicate=True, stage={"through": ("rabbitmq", "mosquitto", "events")})
def kill_unsettled(stage: Stage) -> None:
    """The bridge is killed (kill -9) between write and settle: a proxy keeps every acknowledgement back."""
    for proxy in stage.proxies.values():
        proxy.holding = True
    stage.wait(1, 2)
    stage.bridge.kill()
    for proxy in stage.proxies.values():
        proxy.reset()
        proxy.holding = False
    stage.restart(stage.bridge)
    stage.bridge.ready()


@row("bridge-sigterm")
def sigterm(stage: Stage) -> None:
    """The bridge is told to stop (SIGTERM) in bursts of 1,000 events: it drains within 25 s, and nothing comes twice."""
    _in_bursts(stage)
    stop(stage)
    stage.restart(stage.bridge)
    stage.bridge.ready()


@row(
    "bridge-sigterm-redis-away", again=1, says=(Says("sink.unavailable"),), stage={"settings": {"drain_timeout": "4s"}}
)
def sigterm_redis_away(stage: Stage) -> None:
    """The bridge is told to stop (SIGTERM) while Redis is away (drain_timeout 4 s): it ends in time all the same."""
    stage.sink.kill()
    stage.bridge.wait_for("sink.unavailable")
    stage.wait(1, 2)
    stop(stage)
    stage.sink.start()
    stage.restart(stage.bridge)
    stage.bridge.ready()


@row(
    "bridge-replicas",
    again=2,
    sources=("amqp", "amqp-stream", "mqtt", "stream", "stream-elsewhere"),
    stage={"replicas": 2},
)
def replicas(stage: Stage) -> None:
    """Of two bridges that share their sources each is killed (kill -9) in turn and stays away for a while."""
    for bridge in stage.bridges:
        bridge.kill()
        stage.wait(1, 2)
        stage.restart(bridge)
        bridge.ready()


@row(
    "bridge-log-unread",
    says=(Says("log.lines_left_out", fields=("count", "since")),),
    recovery_s=30.0,  # at this level the libraries log every frame
    stage={"settings": {"log": {"level": "debug"}}},
)
def log_unread(stage: Stage) -> None:
    """Nobody reads the bridge's log (a full pipe, debug level) while bursts come: all flows, and it is stopped (SIGTERM) unread."""
    for again in (True, False):
        stage.bridge.read_log(wanted=False)
        _fill_log(stage)
        _in_bursts(stage, wait=True)
        if again:
            stage.bridge.read_log(wanted=True)
            stage.bridge.wait_for("log.lines_left_out")
    stop(stage)
    stage.restart(stage.bridge)
    stage.bridge.ready()


@row("bridge-burst", keeps_all=True, stage={"rate": 0}, recovery_s=None)
def burst(stage: Stage) -> None:
    """10,000 events of each source at once, and nothing else."""
    _in_bursts(stage, 10_000, wait=True)


def stop(stage: Stage) -> None:
    """Stop the bridge as systemd does, within the promised time."""
    since = time.monotonic()
    stage.bridge.terminate()
    code = stage.bridge.wait(STOP_S + 10)
    took = time.monotonic() - since
    if code != 0 or took > STOP_S:
        stage.failures.append(f"SIGTERM: exit code {code} after {took:.1f} s")


def _fill_log(stage: Stage) -> None:
    """Let the bridge log more than a pipe (64 KiB) and its own queue (1 MiB) hold: each state is a kilobyte or more."""
    for _ in range(3000):
        stage.bridge.signal(SIGUSR1)
        time.sleep(0.001)


def _in_bursts(stage: Stage, count: int = 1000, *, wait: bool = False) -> None:
    threads = [threading.Thread(target=load.burst, args=(count,)) for load in stage.loads.values()]
    for thread in threads:
        thread.start()
    if wait:
        for thread in threads:
            thread.join()
    else:
        time.sleep(0.3)
