"""One run: a contestant moves a backlog to Redis and acknowledges it; its time, CPU and memory are measured."""

from __future__ import annotations

import functools
import json
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from signal import SIGCONT, SIGSTOP
from typing import Any, Final

import redis

from bench import load, usage
from bench.backlogs import Backlog, PubsubBacklog
from bench.contestants import Contestant, Running
from tests.support.children import wait_until

#: Share of the events before the measurement begins: the contestant starts up.
_WARM_UP: Final = 0.02
_POLL_INTERVAL_S: Final = 0.005
#: Wait after the last event: acknowledgements take CPU too.
_ACKNOWLEDGE_S: Final = 0.5
_TIMEOUT_S: Final = 120.0
#: Finds an event's `seq` in its message: the second of the args.
_SEQ: Final = re.compile(rb'"args": ?\["%b", ?(\d+),' % load.PLANT.encode())


@dataclass(frozen=True)
class Run:
    """The measured values; `cpu` and `brokers` are CPU seconds per 100,000 events."""

    events_per_s: float
    cpu: float
    brokers: dict[str, float]
    peak_rss_bytes: int


def measure(backlog: Backlog, contestant: Contestant, *, events: int = 0, size: int = load.EVENT_BYTES) -> Run:
    """Measure how the contestant moves a backlog of `events` (default: the contestant's number).

    Raises:
        AssertionError: an event is missing, or the broker still holds one at the end.
    """
    bodies = _bodies(events or contestant.events, size)
    backlog.empty()
    with backlog.sink.client() as sink:
        sink.delete(load.QUEUE_KEY, load.MESSAGES_KEY, load.NATIVE_STREAM)
        if backlog.waits:
            backlog.fill(bodies)
            with contestant.start(backlog) as running:
                run = _watch(backlog, contestant, running, sink, len(bodies))
        else:
            assert isinstance(backlog, PubsubBacklog)
            with contestant.start(backlog) as running:
                wait_until(lambda: _alive(running) and backlog.subscribed(), 30, f"{contestant.name} subscribed")
                os.kill(running.pid, SIGSTOP)
                backlog.fill(bodies)
                os.kill(running.pid, SIGCONT)
                run = _watch(backlog, contestant, running, sink, len(bodies))
        _check(sink, contestant, len(bodies))
        sink.delete(load.QUEUE_KEY, load.MESSAGES_KEY, load.NATIVE_STREAM)
    held = backlog.held()
    assert held == 0, f"{contestant.name} left {held} of {len(bodies)} events unacknowledged"
    return run


def _watch(backlog: Backlog, contestant: Contestant, running: Running, sink: redis.Redis, events: int) -> Run:
    def count_moved() -> int:
        answer: Any = (sink.llen if contestant.messages else sink.xlen)(contestant.sink_key)
        return int(answer)

    def cpu_used() -> dict[str, float]:
        return {name: usage.cpu_s(pid) for name, pid in {"": running.pid, **backlog.processes}.items()}

    deadline = time.monotonic() + _TIMEOUT_S
    while (first := count_moved()) < events * _WARM_UP:
        _alive(running)
        assert time.monotonic() < deadline, f"{contestant.name} did not begin\n{running.output()}"
        time.sleep(_POLL_INTERVAL_S)
    assert first < events, f"{events} events are too few to measure {contestant.name}"
    began, before = time.monotonic(), cpu_used()
    count, now = first, began
    while count < events:
        _alive(running)
        assert now < deadline, f"{contestant.name} stopped at {count} of {events}\n{running.output()}"
        # Each poll costs CPU here and in Redis, so the interval shrinks as the end comes near.
        rate = (count - first) / (now - began) if now > began else 0.0
        remaining_s = (events - count) / rate if rate else 0.0
        time.sleep(max(_POLL_INTERVAL_S, min(0.25, remaining_s / 2)))
        now, count = time.monotonic(), count_moved()
    peak = usage.peak_rss_bytes(running.pid)
    time.sleep(_ACKNOWLEDGE_S)
    after = cpu_used()
    moved = events - first
    costs = {name: (after[name] - before[name]) / moved * 100_000 for name in before}
    return Run(moved / (now - began), costs.pop(""), costs, peak)


def _alive(running: Running) -> bool:
    assert running.running, f"the contestant ended\n{running.output()}"
    return True


def _check(sink: redis.Redis, contestant: Contestant, events: int) -> None:
    """Check that every event became one message, as the rule says."""
    count: Any = (sink.llen if contestant.messages else sink.xlen)(contestant.sink_key)
    assert count == events, f"{contestant.name} made {count} of {events}"
    if not contestant.messages:
        return
    assert sink.hlen(load.MESSAGES_KEY) == events, f"{contestant.name}: the messages and the list do not agree"
    contents: Any = sink.hvals(load.MESSAGES_KEY)
    message = json.loads(contents[0])
    assert (message["args"], message["kwargs"]) == load.expected(message["args"][1]), f"{contestant.name}: {message}"
    seen = {match[1] for content in contents if (match := _SEQ.search(content))}
    assert len(seen) == events, f"{contestant.name} made {events} messages of {len(seen)} different events"


@functools.lru_cache(maxsize=4)
def _bodies(count: int, size: int) -> Sequence[bytes]:
    return load.bodies(count, size)
