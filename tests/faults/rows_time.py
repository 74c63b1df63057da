"""Rows about time: a bridge that stood still, a wall clock that is stepped, and stops that have an end."""

from __future__ import annotations

import os
import random
import tempfile
import time
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from typing import Final

from tests.faults.rows import Says, row
from tests.faults.rows_bridge import stop
from tests.faults.stage import Stage
from tests.support.clocks import DAY_S, YEAR_S, SteppedClock

_CLOCK: Final = SteppedClock(Path(tempfile.gettempdir()), f"clock-offset-{os.getpid()}")
#: Longer than a source may hold events without progress with `timeout: 1s`, and shorter than two heartbeats of RabbitMQ.
_STOOD_STILL_S: Final = 15.0
_ROUNDS: Final = 10
_LONG_ROUNDS: Final = 40


@row(
    "clock-steps",
    says=(Says("bridge.clock_stepped", fields=("seconds", "cause")),),
    keeps_all=True,
    stage={"env": _CLOCK.env},
)
def clock_steps(stage: Stage) -> None:
    """The bridge's wall clock is stepped a day forwards, a day back, ten years forwards, and back, under load."""
    stage.later(_CLOCK.remove)
    for number, offset in enumerate((DAY_S, -DAY_S, 10 * YEAR_S, 0)):
        _CLOCK.set(offset)
        stage.bridge.wait_for("bridge.clock_stepped", times=number + 1)
        stage.wait(1, 2, long_s=5)
    for event in ("source.disconnected", "source.stuck"):
        if stage.bridge.events(event):
            stage.failures.append(f"{event}: a step of the clock must end nothing")


@row(
    "bridge-stalled",
    says=(Says("bridge.stalled", fields=("seconds", "cause")),),
    recovery_s=15.0,
    stage={"settings": {"dramatiq": {"timeout": "1s"}}},
)
def stalled(stage: Stage) -> None:
    """The bridge stands still (SIGSTOP, 15 s) with events in flight, longer than a source may: no reconnect, nothing twice."""
    stage.bridge.signal(SIGSTOP)
    time.sleep(_STOOD_STILL_S)
    stage.bridge.signal(SIGCONT)
    stage.bridge.wait_for("bridge.stalled")
    stage.wait(3, 4)
    for event in ("source.disconnected", "source.stuck"):
        if stage.bridge.events(event):
            stage.failures.append(f"{event}: the bridge stood still, not the source")


@row("bridge-sigterm-connecting", sources=("amqp",))
def sigterm_connecting(stage: Stage) -> None:
    """The bridge is told to stop (SIGTERM) again and again at a random point while an AMQP source connects: exit code 0."""
    stop(stage)
    for _ in range(_ROUNDS if stage.short else _LONG_ROUNDS):
        stage.restart(stage.bridge)
        stage.bridge.wait_for("bridge.starting")
        time.sleep(random.uniform(0, 0.1))
        stop(stage)
    stage.restart(stage.bridge)
    stage.bridge.ready()


@row(
    "bridge-sigterm-silent",
    again=1,
    stage={"through": ("rabbitmq", "mosquitto", "events"), "settings": {"drain_timeout": "4s"}},
)
def sigterm_silent(stage: Stage) -> None:
    """The bridge is told to stop (SIGTERM) while the links to all sources' brokers forward nothing (drain_timeout 4 s): it ends in time."""
    for proxy in stage.proxies.values():
        proxy.stalled = True
    stage.wait(1, 2)
    stop(stage)
    for proxy in stage.proxies.values():
        proxy.reset()
        proxy.stalled = False
    stage.restart(stage.bridge)
    stage.bridge.ready()
