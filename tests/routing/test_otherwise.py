"""`otherwise`: a route that fits only where no route of its source without it does."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.config import Config
from bridge.routing.compiler import compile_routes
from bridge.routing.router import make
from tests.routing.test_routes import SOURCES, results
from tests.support.batches import routed
from tests.support.routing import event, router

REST: dict[str, Any] = {"otherwise": True, "name": "rest", "args": ["rest"]}
HOT: dict[str, Any] = {"when": "payload.c > 250", "name": "hot", "args": ["hot"]}


@pytest.mark.parametrize(
    ("payload", "made"),
    [({"c": 300}, ["hot"]), ({"c": 20}, ["rest"]), ({}, ["rest"])],
)
@pytest.mark.parametrize("routes", [(HOT, REST), (REST, HOT)])
def test_it_takes_what_no_other_route_takes(routes: Any, payload: Any, made: list[str]) -> None:
    """Wherever it stands in the file; a condition that misses a field does not fit."""
    assert [one["args"][0] for one in results(*routes, payload=payload)] == made


def test_a_dead_lettered_route_counts_as_one_that_fits() -> None:
    """An event that a route should have taken is not taken by the rest."""
    failing = {"name": "failing", "args": ["$payload.missing"]}
    (letter,) = results(failing, REST, payload={"c": 1})
    assert (letter["route"], letter["written"]) == ("failing", 0)


def test_its_own_topic_and_condition_hold() -> None:
    """It takes none of the rest that they leave out."""
    assert results(HOT, {**REST, "topic": "b/#"}, payload={"c": 1}, topic="a") == []
    assert len(results(HOT, {**REST, "topic": "a/#"}, payload={"c": 1}, topic="a/b")) == 1
    assert results(HOT, {**REST, "when": "payload.c > 100"}, payload={"c": 1}) == []


@pytest.mark.parametrize(
    ("first", "made"), [({}, ["rest", "second"]), ({"when": "false"}, ["second"]), ({"foreach": "$[]"}, ["second"])]
)
def test_several_of_them_stand_alone(first: Any, made: list[str]) -> None:
    """As all routes do: each takes the rest, whatever becomes of the others."""
    second = {**REST, "name": "second", "args": ["second"]}
    for routes in ((HOT, {**REST, **first}, second), (second, HOT, {**REST, **first})):
        assert sorted(one["args"][0] for one in results(*routes, payload={"c": 1})) == made
        assert [one["args"][0] for one in results(*routes, payload={"c": 300})] == ["hot"]


def test_a_rest_that_fails_leaves_the_others_theirs() -> None:
    """In a batch, too, where each event is asked for itself."""
    routes: list[dict[str, Any]] = [
        {"actor": "hot", "when": "payload.c > 250"},
        {"actor": "rest", "otherwise": True, "args": ["$payload.id"]},
        {"actor": "second", "otherwise": True},
    ]
    bodies = [b'{"c": 1}', b'{"c": 300}', b'{"c": 1, "id": 2}', b'{"c": 300, "id": 2}']
    _, counts = routed(router(routes), [event("t", body) for body in bodies])
    assert {name: (one.matched, one.filtered, one.dead_lettered) for name, one in counts.routes.items()} == {
        "hot": (2, 2, 0), "rest": (1, 2, 1), "second": (2, 2, 0),
    }  # fmt: skip


def test_routes_of_other_sources_do_not_count() -> None:
    """They see other events."""
    config = Config.model_validate({
        "sources": SOURCES, "routes": [{"from": "orders", "actor": "all"}, {"from": "plant", "actor": "a", **REST}],
    })  # fmt: skip
    tables, _ = compile_routes(config)
    ((entry,), _) = routed(make(config.sources["plant"], tables["plant"]), [event("t")])
    assert len(entry.messages) == 1


def test_an_empty_list_leaves_the_event_to_the_rest() -> None:
    """A route without a message does not fit."""
    assert len(results({"foreach": "$payload.lines", "name": "lines"}, REST, payload={"lines": []})) == 1


def test_each_route_is_counted() -> None:
    """The rest is matched where it fits, and filtered where another does."""
    routes: list[dict[str, Any]] = [
        {"actor": "hot", "topic": "a/+", "when": "payload.c > 250"},
        {"actor": "rest", "otherwise": True},
    ]
    events = [
        event("a/x", b'{"c": 300}'),
        event("a/x", b'{"c": 1}'),
        event("b", b'{"c": 300}'),
        event("a/x", b'{"c": "x"}'),
    ]
    _, counts = routed(router(routes), events)
    assert {name: (one.matched, one.filtered, one.dead_lettered) for name, one in counts.routes.items()} == {
        "hot": (1, 1, 1), "rest": (2, 2, 0),
    }  # fmt: skip
    assert (counts.enqueued, counts.dead_lettered) == (3, 1)
