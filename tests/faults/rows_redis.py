"""Rows whose victim is Dramatiq's Redis: it goes away, stands still, or its replies are lost."""

from __future__ import annotations

import time

from tests.faults.rows import Says, row
from tests.faults.stage import Stage

AWAY = (Says("sink.unavailable"),)


@row("redis-kill", says=AWAY)
def kill(stage: Stage) -> None:
    """Redis is killed (kill -9) and, some seconds later, started again from its append-only file."""
    stage.sink.kill()
    stage.wait(1, 2, 10)
    stage.sink.start()


# Each write that succeeds in between ends an outage, so each cut is one of its own in the log.
@row("redis-cut-replies", says=AWAY, most_lines=1000, stage={"through": ("sink",)})
def cut_replies(stage: Stage) -> None:
    """Connections to Redis end after a random number of reply bytes, the command having been done."""
    proxy = stage.proxies["sink"]
    proxy.cut_after = (20, 400)
    proxy.reset()
    stage.wait(4, 5, 20)
    proxy.cut_after = None
    if proxy.cuts < 5:
        stage.failures.append(f"only {proxy.cuts} replies were cut")
