"""Rows about events that come again: those with a deduplication key, and the one that ends the bridge each time."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import redis

from tests.faults import checker
from tests.faults.rows import Says, row
from tests.faults.stage import Stage
from tests.support.children import wait_until, with_fault

ROUNDS = 3
#: How often the bridge may end by the event that ends it: until it is found, and then until it is given up.
_MOST_ENDS = 12
#: A mapping each: a shared one would become an anchor of YAML, which the bridge refuses.
_BY_NUMBER = {source: {"deduplicate": {"key": "$payload.n"}} for source in ("amqp", "mqtt")}
_CRASHING = with_fault("crashing")


@row("identity-kill", sources=("amqp", "mqtt"), stage={"per_source": _BY_NUMBER})
def identity_kill(stage: Stage) -> None:
    """Killed (kill -9) three times under load, with events that have a deduplication key: none is lost, and none comes twice."""
    for _ in range(ROUNDS):
        stage.wait(0.2, 1.0, 3.0)
        stage.bridge.kill()
        stage.restart(stage.bridge)
        stage.bridge.ready()


@row(
    "identity-mended",
    sources=("amqp", "mqtt"),
    again=10,  # what was a dead letter is a message as well
    says=(Says("event.dead_lettered", fields=("reason", "route")),),
    stage={"per_source": _BY_NUMBER, "rate": 50},
)
def identity_mended(stage: Stage) -> None:
    """A wrong route makes dead letters of events with a deduplication key; it is mended, and they are published again."""

    def break_routes(config: dict[str, Any]) -> None:
        for route in config["routes"]:
            route["args"] = ["$payload.missing"]

    _restart_with(stage, break_routes)
    with stage.client() as client:
        wait_until(lambda: all(_dead(client, source) for source in stage.sources), what="dead letters of each source")
        _restart_with(stage)
        dead = {source: _dead(client, source) for source in stage.sources}
        for source, numbers in dead.items():
            stage.loads[source].send([b'{"n": %d, "text": ""}' % number for number in numbers])
        with suppress(AssertionError):
            wait_until(lambda: not any(_unqueued(client, source, dead[source]) for source in dead), 10)
        for source, numbers in dead.items():
            queued = checker.look(client, (source,))[source].queued
            if dropped := [number for number in numbers if not queued[number]]:
                stage.failures.append(f"{source}: dropped as duplicates of dead letters: {checker.shown(dropped)}")
            if twice := [number for number, count in queued.items() if count > 1]:
                stage.failures.append(f"{source}: written twice: {checker.shown(twice)}")


def _unqueued(client: redis.Redis, source: str, numbers: list[int]) -> list[int]:
    queued = checker.look(client, (source,))[source].queued
    return [number for number in numbers if not queued[number]]


def _restart_with(stage: Stage, change: Callable[[dict[str, Any]], None] | None = None) -> None:
    stage.bridge.terminate()
    stage.bridge.wait()
    stage.configure(change)
    stage.restart(stage.bridge)
    stage.bridge.ready()


def _dead(client: redis.Redis, source: str) -> list[int]:
    return sorted(checker.look(client, (source,))[source].dead)


@row(
    "poison",
    sources=("amqp", "mqtt", "stream", "stream-elsewhere"),
    again=_MOST_ENDS,
    most_lines=60,  # each start says anew what it suspects
    recovery_s=20.0,  # behind what a bridge that ends forty times has left lying
    says=(Says("event.dead_lettered", fields=("reason", "cause", "topic")),),
    stage={"env": _CRASHING},
)
def poison(stage: Stage) -> None:
    """One event of each source ends the bridge whenever it is decoded: each is a dead letter after ten times; others flow."""
    for load in stage.loads.values():
        load.send([b'{"n": "poison"}'])
    ends = 0
    deadline = time.monotonic() + 150
    with stage.client() as client:
        while (found := checker.poisoned(client)) < len(stage.sources):
            assert time.monotonic() < deadline, f"{found} of {len(stage.sources)} found after {ends} ends"
            if not stage.bridge.running:
                ends += 1
                stage.restart(stage.bridge)
            time.sleep(0.05)
    if ends > len(stage.sources) * _MOST_ENDS:
        stage.failures.append(f"the bridge has ended {ends} times")
