"""The calls of routes that choose their target, and of the steps of `then`, against the application's actors."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.config import Config
from bridge.config.manifest import Actor, Manifest, Parameter
from bridge.manifest.checks import check_calls

ONE = (Parameter("a", "positional-or-keyword", required=True),)
TWO = (*ONE, Parameter("b", "positional-or-keyword", required=True))
ACTORS = {
    "none": Actor("default"),
    "one": Actor("default", ONE),
    "two": Actor("images", TWO),
    "silent": Actor("default", ONE, {"pipe_ignore": True}),
}
MANIFEST = Manifest(1, "2.2.1", ("app",), ACTORS)
CHOSEN: dict[str, Any] = {"name": "r", "actor": "$payload.a", "args": ["$payload.x"]}


def _mistakes(route: dict[str, Any]) -> list[str]:
    config = Config.model_validate({
        "sources": {"s": {"type": "mqtt", "url": "mqtt://localhost"}}, "routes": [{"from": "s", "actor": "one", **route}],
    })  # fmt: skip
    found = check_calls(config.with_manifest(MANIFEST), ACTORS).mistakes
    return [f"{'.'.join(map(str, each.path[2:]))}: {each.message}" for each in found]


@pytest.mark.parametrize(
    ("route", "mistakes"),
    [
        ({**CHOSEN, "allow": {"actor": ["one", "silent"]}}, []),
        ({**CHOSEN, "allow": {"actor": ["one", "two"]}}, ["args: the actor two also needs the argument 'b'"]),
        ({**CHOSEN, "allow": {"actor": ["one", "crop"]}}, ["allow.actor: the application has no actor 'crop'"]),
        (
            {**CHOSEN, "allow": {"actor": ["one", "two"]}, "queue": "default", "args": "$payload"},
            ["allow.queue: the actor two is on the queue images, not default"],
        ),
        ({"queue": "$payload.q", "allow": {"queue": ["q-{0..3}"]}, "args": [1]}, []),
        ({"queue_by": {"key": "$payload.k", "queues": {"a": "b"}}, "args": [1]}, []),
        ({"args": [1], "then": [{"actor": "one"}]}, []),
        ({"args": [1], "then": [{"actor": "two"}]}, ["then.0.args: the actor two also needs the argument 'b'"]),
        (
            {"args": [1], "then": [{"actor": "one", "args": [1]}]},
            ["then.0.args: the actor one takes 1 positional argument, not 1 and 1 from the message before"],
        ),
        ({"args": [1], "then": [{"actor": "one", "args": [1], "ignore_result": True}]}, []),
        ({"args": [1], "then": [{"actor": "silent"}, {"actor": "none"}]}, []),
        (
            {"args": [1], "then": [{"actor": "one"}, {"actor": "nobody"}]},
            ["then.1.actor: the application has no actor 'nobody'"],
        ),
        (
            {"args": [1], "then": [{"actor": "two", "queue": "default", "args": [1]}]},
            ["then.0.queue: the actor two is on the queue images, not default"],
        ),
        (
            {"args": [1], "then": [{"actor": "one", "options": {"on_failure": "nobody"}}]},
            ["then.0.options.on_failure: the application has no actor 'nobody'"],
        ),
        (
            {"foreach": "$payload", "args": ["$item", "$index"]},
            ["args: the actor one takes 1 positional argument, not 2"],
        ),
        # Of an actor among several only the event tells whether it gives its result on.
        ({**CHOSEN, "allow": {"actor": ["one", "silent"]}, "then": [{"actor": "one"}]}, []),
    ],
)
def test_each_call_is_checked(route: dict[str, Any], mistakes: list[str]) -> None:
    """That of every allowed actor, and of each step with the result of the one before."""
    assert _mistakes(route) == mistakes
