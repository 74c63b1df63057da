"""Rows whose victim is the bridge itself."""

from __future__ import annotations

import time

from tests.faults.rows import row
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


@row("bridge-kill-unwritten", again=1)
def kill_unwritten(stage: Stage) -> None:
    """The bridge is killed (kill -9) while Redis stands still: it holds a window that it has not written."""
    stage.sink.pause()
    time.sleep(1)
    stage.bridge.kill()
    stage.sink.resume()
    stage.restart(stage.bridge)
    stage.bridge.ready()
