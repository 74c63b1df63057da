"""The notes of `check` on what nothing ever reaches: a rest that is never left, a value that a key never has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge.commands.notes import notes
from bridge.config import Config
from bridge.config.manifest import Actor, Manifest
from tests.commands.conftest import Terminal

SOURCES = {name: {"type": "mqtt", "url": f"mqtt://{name}", "client_id": name} for name in ("s", "t")}
REST = {"otherwise": True, "actor": "rest"}
OTHER = {"name": "o", "queue": "other"}


def _notes(*routes: dict[str, Any], manifest: Manifest | None = None) -> list[str]:
    loaded = Config.model_validate({
        "sources": SOURCES, "routes": [*({"from": "s", "actor": "a", **route} for route in routes), {"from": "t", "actor": "t"}],
    })  # fmt: skip
    return [note.message for note in notes(loaded, manifest)]


@pytest.mark.parametrize(
    ("routes", "expected"),
    [
        ([{}, REST], ["route rest: otherwise never fits, since the route a takes every event"]),
        ([{"when": "payload.x == 1"}, REST], []),
        ([{"topic": "a/#"}, REST], []),
        ([{"foreach": "$payload.l"}, REST], []),
        ([REST], ["route rest: otherwise has no effect, since each route of its source has it"]),
    ],
)
def test_a_rest_that_is_never_left(routes: list[dict[str, Any]], expected: list[str]) -> None:
    """Where another route of its source takes every event; or one that is left always."""
    assert _notes(*routes) == expected


def test_keys_of_a_route_whose_name_may_change() -> None:
    """A route without a name is numbered: with one more before it, its keys are another's."""
    keyed = {"deduplicate": {"key": "$payload.id"}}
    words = (
        "Redis remembers its keys of deduplicate under this name, which comes from its actor and its place; write name:"
    )
    assert _notes({}, keyed, {"name": "a-3", **keyed}) == [f"route a-2: {words} a-2"]


@pytest.mark.parametrize(
    ("key", "values", "unreached"),
    [
        ("$payload.region", ["eu", "EU", "1"], []),
        ("$lower(payload.region)", ["eu", "EU"], ["EU"]),
        ("$upper(payload.region)", ["eu", "EU"], ["eu"]),
        ("$payload.total > 5", ["true", "false", "yes"], ["yes"]),
        ("$not has(payload.x)", ["true", "1"], ["1"]),
        ("$has(payload.x)", ["false", "no"], ["no"]),
    ],
)
def test_values_that_a_key_never_has(key: str, values: list[str], unreached: list[str]) -> None:
    """As far as its outermost part says."""
    route = {"queue_by": {"key": key, "queues": dict.fromkeys(values, "other")}}
    assert _notes(route, OTHER) == [f"route a: {key} is never {value!r}" for value in unreached]


def test_a_value_with_the_queue_of_the_route() -> None:
    """It would go there anyway."""
    route = {"queue": "orders", "queue_by": {"key": "$payload.x", "queues": {"a": "orders", "b": "other"}}}
    assert _notes(route, OTHER) == ["route a: orders is the queue of the route, which 'a' has anyway"]


def test_queues_that_no_actor_is_on() -> None:
    """With a manifest: a worker reads a queue only if it is declared."""
    manifest = Manifest(1, "2.2.1", ("app",), {"a": Actor("default"), "b": Actor("q-1"), "t": Actor("default")})
    by_key = {"queue_by": {"key": "$payload.x", "queues": {"a": "q-1", "b": "q-2"}}}
    chosen = {"name": "c", "queue": "$payload.q", "allow": {"queue": ["q-{1..3}"]}}
    text = "no actor of the manifest is on the queue {}: workers look there only if they declare it"
    assert _notes(by_key, chosen, manifest=manifest) == [
        f"route a: {text.format('q-2')}", f"route c: {text.format('q-2')}", f"route c: {text.format('q-3')}",
    ]  # fmt: skip


def test_queues_that_stand_nowhere_else() -> None:
    """Without a manifest: `-Q` alone makes no worker read a queue."""
    by_key = {"queue": "q-0", "queue_by": {"key": "$payload.x", "queues": {"a": "q-1", "b": "q-2", "c": "default"}}}
    chosen = {"name": "c", "queue": "$payload.q", "allow": {"queue": ["q-{0..9}"]}}
    others: list[dict[str, Any]] = [
        {"name": "o", "queue": "q-1"},
        {"name": "p", "then": [{"actor": "b", "queue": "q-9"}]},
    ]
    text = "Dramatiq's workers read a queue only if the application declares it:"
    assert _notes(by_key, chosen, *others) == [
        f"route a: {text} q-2", f"route c: {text} q-2, q-3, q-4, q-5, 3 more",
    ]  # fmt: skip
    assert _notes(by_key, *others, {"name": "r", "queue": "q-2"}) == []


def test_the_values_of_steps_are_looked_at() -> None:
    """A missing `$` is noted as in the route itself."""
    step = {"actor": "b", "args": ["payload.id"], "options": {"priority": 1}}
    assert [note.partition(": ")[2] for note in _notes({"then": [step]})] == [
        "'payload.id' is text; an expression begins with $, as in $payload.id",
        "Dramatiq's Redis broker ignores the priority of a message; use another queue",
    ]


def test_check_and_graph_show_every_target(path: Path, run: Terminal) -> None:
    """The actors and queues among which an event chooses, the steps, and the rest."""
    routes = [
        {"from": "s", "name": "chosen", "actor": "$payload.a", "queue": "$payload.q", "topic": "a/#",
         "allow": {"actor": ["x", "y"], "queue": ["q-{1..6}"]}, "then": [{"actor": "z", "queue": "last"}]},
        {"from": "s", "name": "rest", "actor": "x", "queue_by": {"key": "$payload.k", "queues": {"1": "one"}}, "otherwise": True},
        {"from": "t", "name": "t", "actor": "x"},
    ]  # fmt: skip
    path.write_text(yaml.safe_dump({"sources": SOURCES, "routes": routes}, sort_keys=False))
    shown = run("check", "CONFIG")
    assert "chosen: a/# -> x, y (queues q-1, q-2, q-3, q-4, 2 more), then z (queue last)\n" in shown
    assert "rest: otherwise -> x (queues default, one)\n" in shown
    assert "rest: otherwise -> x (queues default, one)\n" in run("graph", "CONFIG", "--format", "text")
    mermaid = run("graph", "CONFIG", "--format", "mermaid")
    assert mermaid.count("r1 --> ") == 12
    assert mermaid.count('-->|"then"| ') == 12
    assert mermaid.count("r2 --> ") == 2
    assert '  s1 -.->|"otherwise"| r2\n' in mermaid
    assert '[label="otherwise"' in run("graph", "CONFIG", "--format", "dot").replace("style=dashed, ", "")
