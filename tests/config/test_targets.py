"""Mistakes in `foreach`, `otherwise`, `then`, `queue_by`, `allow` and `eta`: each at its place, with its remedy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from bridge.config import load

HEAD: Final = """\
sources:
  plant: {type: mqtt, url: mqtt://localhost}
routes:
"""
#: The keys of a route, and the first line of each mistake behind the file's name.
CASES: Final = {
    "an expression of an actor needs allow": (
        "actor: $payload.task",
        [
            "35: routes[0].actor: an expression alone would let anyone call any actor; write the name of the actor, or list its names under allow: actor:",
        ],
    ),
    "so does one of a queue": (
        "actor: a, queue: $payload.q, allow: {actor: [a]}",
        [
            "35: routes[0].actor: the actor is written out, so allow.actor has no effect; write an expression, as in actor: $payload.actor",
            "45: routes[0].queue: an expression alone would let anyone write to any queue; write the name of the queue, or list its names under allow: queue:",
        ],
    ),
    "queue_by and an expression of queue are one too many": (
        "actor: a, queue: $payload.q, allow: {queue: [a]}, queue_by: {key: $payload.k, queues: {x: y}}",
        [
            "78: routes[0].queue_by: queue_by chooses the queue, and so does the expression of queue; write one of them",
        ],
    ),
    "delay and eta are one too many": (
        "actor: a, delay: 1s, eta: $payload.at",
        [
            "49: routes[0].eta: delay says when, and so does eta; write one of them",
        ],
    ),
    "a limit needs its list": (
        "actor: a, foreach_limit: 5",
        [
            "38: routes[0].foreach_limit: there is no foreach that it bounds",
        ],
    ),
    "a list is an expression": (
        "actor: a, foreach: [1, 2], eta: 10s",
        [
            "47: routes[0].foreach: takes an expression, not a list; it begins with $, as in $payload.items",
            "60: routes[0].eta: takes an expression; a time from the event on is delay: 10s",
        ],
    ),
    "bounds hold": (
        "actor: a, foreach: $payload.l, foreach_limit: 10001",
        [
            "74: routes[0].foreach_limit: takes a number up to 10000",
        ],
    ),
    "twenty steps follow, and no more": (
        f"actor: a, then: [{', '.join(['{actor: b}'] * 21)}]",
        ["44: routes[0].then: takes at most 20 entries"],
    ),
    "every name of allow is one": (
        "actor: $payload.a, allow: {actor: [], queue: [a, __b, 'x-{9..2}', 'y-{0..256}', 5]}",
        [
            "62: routes[0].allow.actor: takes at least one name",
            "77: routes[0].allow.queue[1]: a queue's name cannot begin with __; Dramatiq keeps its own keys under such names",
            "85: routes[0].allow.queue[2]: {9..2} takes a smaller number, then a larger one; as in orders-{0..7}",
            "97: routes[0].allow.queue[3]: {0..256} stands for more than 256 names",
            "108: routes[0].allow.queue[4]: takes the name of a queue, not a number",
        ],
    ),
    "queue_by is checked": (
        "actor: a, queue_by: {key: region, queues: {eu: x.DQ, us: ''}}",
        [
            "54: routes[0].queue_by.key: takes an expression; it begins with $, as in $region",
            "75: routes[0].queue_by.queues.eu: a queue's name is letters, digits, _ and -, and begins with a letter or _; other names, such as x.DQ, damage Dramatiq's own keys",
            "85: routes[0].queue_by.queues.us: a queue's name is letters, digits, _ and -, and begins with a letter or _; other names, such as x.DQ, damage Dramatiq's own keys",
        ],
    ),
    "then names the next message, and nothing else does": (
        "actor: a, options: {pipe_target: {actor_name: b}}, then: [{actor: c}]",
        [
            "48: routes[0].options.pipe_target: pipe_target names the next message, and so does then:; write that message as a step of then:",
        ],
    ),
    "a step is one message": (
        "actor: a, then: [{actor: $payload.x}, {queue: q}, {actor: b, options: {pipe_ignore: true}}, {actor: c, message_id: 5}]",
        [
            "53: routes[0].then[0].actor: takes the name of an actor, no expression: that would let anyone call any actor",
            "66: routes[0].then[1]: the key 'actor' is missing; add actor: actor to call",
            "99: routes[0].then[2].options.pipe_ignore: a step has its own key for this; write ignore_result: beside options:",
            "143: routes[0].then[3].message_id: takes text, not a number; or leave it out",
        ],
    ),
    "a queue that is not there is written out": (
        "actor: a, allow: {queue: [b]}",
        [
            "53: routes[0].allow.queue: the queue is written out, so allow.queue has no effect; write an expression, as in queue: $payload.queue",
        ],
    ),
    "keys that are no text leave no empty mapping": (
        "actor: a, queue_by: {key: $payload.k, queues: {true: b, 1: c}}",
        [
            "75: routes[0].queue_by.queues: a key is text; quote it",
            "84: routes[0].queue_by.queues: a key is text; quote it",
        ],
    ),
    "otherwise is true or false": (
        "actor: a, otherwise: rest",
        [
            "49: routes[0].otherwise: takes true or false, not text; a condition goes into when:",
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_is_placed_and_explained(case: str, mistakes: Callable[[str], str]) -> None:
    """Line, column, path, message and remedy."""
    keys, expected = CASES[case]
    lines = mistakes(f"{HEAD}  - {{from: plant, name: r, {keys}}}\n").splitlines()
    assert [line for line in lines if line.startswith("bridge.yaml:")] == [f"bridge.yaml:4:{line}" for line in expected]


def test_a_route_whose_actor_is_chosen_has_a_name(mistakes: Callable[[str], str]) -> None:
    """No log and no metric could tell it from another."""
    text = mistakes(f"{HEAD}  - {{from: plant, actor: $payload.a, allow: {{actor: [x]}}}}\n")
    assert "routes[0].actor: a route whose actor is an expression has a name; add name:, for logs and metrics" in text


@pytest.mark.parametrize("then", ["null", "[]"])
def test_a_route_may_say_that_nothing_follows(tmp_path: Path, then: str) -> None:
    """As null does in other keys."""
    path = tmp_path / "bridge.yaml"
    path.write_text(f"{HEAD}  - {{from: plant, actor: a, then: {then}}}\n", encoding="utf-8")
    assert load(path, environ={}).routes[0].then == []
