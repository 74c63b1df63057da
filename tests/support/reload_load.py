"""Reloads under load, with good and bad files in turn: nothing may be lost, and no event routed by half of a file.

Each good file has a version, and two routes for each event, whose messages name it: an event with both messages of one
version was routed by that file alone.

    python -m tests.support.reload_load --seconds 60 --rate 2000 --processes 2
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from tests.support.brokers import Redis
from tests.support.children import patient, wait_until
from tests.support.feeds import BROKERS, AmqpFeed, Feed, MqttFeed, StreamFeed
from tests.support.processes import BridgeProcess, queue_messages

if TYPE_CHECKING:
    from collections.abc import Callable

#: The seconds between two publications.
_TICK_S: Final = 0.25
_KINDS: Final[dict[str, type[Feed]]] = {"amqp": AmqpFeed, "mqtt": MqttFeed, "redis-stream": StreamFeed}


@dataclass
class Report:
    """The events that were published, the reloads by their result, and everything that is wrong."""

    published: int = 0
    reloads: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    wrong: list[str] = field(default_factory=list)


def good(feed: Feed, sink: Redis, version: int, processes: int) -> dict[str, Any]:
    """Return a file of this version; every fourth also restarts the source."""
    config = feed.config(sink, window={"events": 1000 + version // 4})
    config["routes"] = [
        {"from": "feed", "name": f"{actor}-{version}", "actor": actor, "args": ["$payload.n", version]}
        for actor in ("one", "two")
    ]
    return {**config, "processes": processes, "dramatiq": {**config["dramatiq"], "max_memory": None}}


def run(feed: Feed, sink: Redis, bridge: BridgeProcess, *, seconds: float, rate: int, processes: int) -> Report:
    """Publish `rate` events a second into a bridge that runs `good(..., 0, ...)`, and reload it again and again meanwhile."""
    report = Report()
    over = threading.Event()
    publishing = threading.Thread(target=_publish, args=(feed, rate, over, report))
    publishing.start()
    try:
        end = time.monotonic() + seconds
        for version in count(1):
            if time.monotonic() > end:
                break
            _reload(bridge, good(feed, sink, version, processes), "bridge.reloaded", report)
            bad = good(feed, sink, version + 1, processes)
            if version % 2:
                bad["routes"][1]["args"] = ["$payload..n"]
                _reload(bridge, bad, "bridge.reload_failed", report)
            else:
                _reload(bridge, {**bad, "processes": processes + 1}, "bridge.reload_refused", report)
    finally:
        over.set()
        publishing.join()
    with sink.client() as client:
        wait_until(
            lambda: client.hlen("dramatiq:default.msgs") >= 2 * report.published, 60, "two messages of each event"
        )
    bridge.terminate()
    if bridge.wait(patient(60)) != 0:
        report.wrong.append("the exit code is not 0")
    if left := feed.unacknowledged():
        report.wrong.append(f"not acknowledged: {left}")
    _check(sink, report, bridge.wait_for("bridge.stopped"), in_order=processes == 1)
    return report


def _publish(feed: Feed, rate: int, over: threading.Event, report: Report) -> None:
    began = time.monotonic()
    while not over.wait(_TICK_S):
        due = int((time.monotonic() - began) * rate)
        feed.publish_numbers(*range(report.published, due))
        report.published = max(due, report.published)


def _reload(bridge: BridgeProcess, config: dict[str, Any], result: str, report: Report) -> None:
    said = len(bridge.events(result))
    bridge.configure(config)
    bridge.signal(signal.SIGHUP)
    bridge.wait_for(result, times=said + 1)
    report.reloads[result] += 1


def _check(sink: Redis, report: Report, stopped: dict[str, Any], *, in_order: bool) -> None:
    with sink.client() as client:
        messages = queue_messages(client, "default")
    calls: dict[int, Counter[tuple[str, int]]] = {n: Counter() for n in range(report.published)}
    versions = [message["args"][1] for message in messages]
    for message in messages:
        number, version = message["args"]
        calls[number][message["actor_name"], version] += 1
    lost = [n for n, made in calls.items() if not made]
    halves = [
        n for n, made in calls.items() if any(made["one", version] != made["two", version] for _, version in made)
    ]
    report.duplicates = sum(max(0, made.total() - 2) // 2 for made in calls.values())
    checks: dict[str, Callable[[], object]] = {
        f"lost: {lost[:10]}": lambda: lost,
        f"routed by half of a file: {halves[:10]}": lambda: halves,
        "a message of an older file follows one of a newer": lambda: in_order and versions != sorted(versions),
        f"counted as lost: {stopped['lost']}": lambda: stopped["lost"],
        "only some files were used": lambda: len(set(versions)) < min(3, report.reloads["bridge.reloaded"]),
    }
    report.wrong += [words for words, is_wrong in checks.items() if is_wrong()]
    classes = ("enqueued", "filtered", "unmatched", "deduplicated", "expired", "dead_lettered", "returned", "lost")
    if stopped["received"] + stopped["recovered"] != sum(stopped[name] for name in classes):
        report.wrong.append("the accounts differ")


def main() -> None:
    """Run it with brokers of its own, for each kind of source."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--kind", choices=list(_KINDS), action="append")
    options = parser.parse_args()
    for kind in options.kind or _KINDS:
        with Redis() as sink, BROKERS[_KINDS[kind]]() as broker:
            feed = _KINDS[kind](broker)
            feed.prepare()
            with BridgeProcess(good(feed, sink, 0, options.processes)) as bridge:
                report = run(
                    feed, sink, bridge.ready(), seconds=options.seconds, rate=options.rate, processes=options.processes
                )
        sys.stdout.write(f"{kind}: {report}\n")
        sys.stdout.flush()
        if report.wrong:
            raise SystemExit(1)


if __name__ == "__main__":
    main()
