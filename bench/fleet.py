"""A large fleet: the CPU per event of routing 100,000 topics by 10,000 routes, and the memory that it takes."""

from __future__ import annotations

import gc
import os
import random
import time
from collections.abc import Sequence
from typing import Any, Final

from bench import usage
from bench.backlogs import Backlog
from bench.goals import Verdict
from bench.report import Section
from bench.rounds import LogLine
from bench.tables import number, table
from bridge.model.batch import Batch
from bridge.model.event import Event
from bridge.process.event_loop import GC_THRESHOLD
from tests.support.routing import router

_ROUTES: Final = 10_000
_TOPICS: Final = 100_000
_BATCH: Final = 1_000
_MAX_US: Final = 20.0
#: The memory of topics, with room for the allocator.
_MAX_MIB: Final = 24.0
#: Settings of a source, the topic of a route, and that of an event.
_KINDS: Final[dict[str, tuple[dict[str, Any], str, str]]] = {
    "mqtt": ({}, "plants/p{}/{{oven}}/#", "plants/p{}/o{}/t"),
    "amqp": ({"type": "amqp", "url": "amqp://localhost", "queue": "q"}, "plants.p{}.{{oven}}.#", "plants.p{}.o{}.t"),
    "redis-pubsub": (
        {"type": "redis-pubsub", "url": "redis://localhost", "patterns": ["*"]}, "plants:p{}:{{oven}}:*", "plants:p{}:o{}:t",
    ),
}  # fmt: skip


def part(backlogs: Sequence[Backlog], log_line: LogLine, scale: float) -> tuple[Section, list[Verdict]]:
    """Route every topic once, in random order, so that none is known; without brokers."""
    rows, verdicts = [], []
    for kind in [backlog.kind for backlog in backlogs if backlog.kind in _KINDS]:
        us, mib = _measure(kind, max(_BATCH, int(_TOPICS * scale)))
        rows.append([kind, number(us), number(mib)])
        log_line(f"fleet  {kind}  {us:.1f} us/event, {mib:.1f} MiB")
        verdicts.append(Verdict(kind, f"fleet: below {_MAX_US:g} us of CPU per event", f"{us:.1f} us", us < _MAX_US))
        verdicts.append(Verdict(kind, f"fleet: below {_MAX_MIB:g} MiB more", f"{mib:.1f} MiB", mib < _MAX_MIB))
    text = f"{_TOPICS:,} topics, {_ROUTES:,} routes with a capture, of which one fits; routing alone.\n\n"
    return Section("Large fleets", text + table(["source", "us of CPU per event", "MiB more"], rows, texts=1)), verdicts


def _measure(kind: str, topics: int) -> tuple[float, float]:
    settings, pattern, topic = _KINDS[kind]
    routes = [
        {"actor": "log", "name": f"r{place}", "topic": pattern.format(place), "args": ["$payload.n", "$oven"]}
        for place in range(_ROUTES)
    ]
    routing = router(routes, **settings)
    names = [topic.format(place % _ROUTES, place) for place in range(topics)]
    random.Random(1).shuffle(names)
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 20)  # as the bridge runs
    before, took = usage.rss_bytes(os.getpid()), 0.0
    for start in range(0, topics, _BATCH):
        events = [Event("s", name, b'{"n": 1}', 0, size=50) for name in names[start : start + _BATCH]]
        while events:
            batch = Batch(events)
            began = time.thread_time()
            counts = routing.route(batch)
            took += time.thread_time() - began
            assert counts.enqueued == counts.received
            events = events[counts.received :]
    return took / topics * 1e6, (usage.rss_bytes(os.getpid()) - before) / (1 << 20)
