"""Routes that make several messages, and those that take the rest: in tests, `route`, tests made of events, and `bridge.testing`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import dramatiq
import pytest
import yaml
from dramatiq.brokers.stub import StubBroker

from bridge.config import Config
from bridge.dry_run.as_test import as_test
from bridge.errors import InvalidValue
from bridge.model.event import Event
from bridge.testing import Bridge, NotDelivered
from tests.commands.conftest import Terminal, path, run
from tests.dry_run.conftest import Tests

__all__ = ["path", "run"]

EACH: Final[dict[str, Any]] = {
    "name": "lines",
    "when": "payload.kind == 'order'",
    "foreach": "$payload.lines",
    "args": ["$item"],
    "queue_by": {"key": "$item", "queues": {"b": "b-queue"}},
    "then": [{"actor": "after", "args": ["$item"], "message_id": '$f"fixed-{index}"'}],
}
REST: Final[dict[str, Any]] = {"name": "rest", "otherwise": True}
ORDER: Final[dict[str, Any]] = {"payload": {"kind": "order", "lines": ["a", "b"]}}


def _take(item: object) -> None:
    """Stand for an actor."""


def _lines(*items: str) -> list[dict[str, Any]]:
    return [{"route": "lines", "args": [item]} for item in items]


@pytest.mark.parametrize(
    ("expect", "differences"),
    [
        (_lines("a", "b"), []),
        ([{"args": ["a"], "queue": "default"}, {"args": ["b"], "queue": "b-queue"}], []),
        ([{"route": "lines"}, {"args": ["b"]}], []),
        (
            _lines("b", "a"),
            ['route lines: its messages are in another order: expected route: "lines", args: ["b"]; next comes route: "lines", '],
        ),
        (_lines("a"), ['not expected: route: "lines", actor: "act", queue: "b-queue", ']),
        (_lines("a", "b", "c"), ['missing: route: "lines", args: ["c"]']),
        (_lines("a", "x"), ['route lines: args[0]: expected "x" (text), the message has "b" (text)']),
    ],
)  # fmt: skip
def test_a_test_lists_every_message_in_its_order(
    tests: Tests, expect: list[dict[str, Any]], differences: list[str]
) -> None:
    """Each message of a list is expected, and in the list's order."""
    _, (result,) = tests([EACH, REST], {"event": ORDER, "expect": expect})
    assert [line[: len(start)] for line, start in zip(result.differences, differences, strict=True)] == differences


STEP: Final[dict[str, Any]] = {
    "actor": "after", "queue": "default", "args": ["a"], "kwargs": {}, "options": {"max_retries": 3},
    "delay": "10s", "message_id": "fixed-0", "ignore_result": True,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({}, ""),
        ({"args": ["x"]}, 'then[0].args[0]: expected "x" (text), the message has "a" (text)'),
        ({"kwargs": {"x": 1}}, "then[0].kwargs.x: expected 1 (a whole number), the message does not have it"),
        ({"options": {}}, "then[0].options.max_retries: not expected, the message has 3 (a whole number)"),
        ({"delay": "11s"}, "then[0].delay: expected 11s, the message has 10s"),
        ({"message_id": "x"}, 'then[0].message_id: expected "x" (text), the message has "fixed-0" (text)'),
        (
            {"ignore_result": False},
            "then[0].ignore_result: expected false (a boolean), the message has true (a boolean)",
        ),
        ({"actor": "other"}, 'then[0].actor: expected "other" (text), the message has "after" (text)'),
        ({"queue": "other"}, 'then[0].queue: expected "other" (text), the message has "default" (text)'),
    ],
)
def test_a_test_expects_the_steps_of_a_message(tests: Tests, changes: dict[str, Any], difference: str) -> None:
    """`then` lists all of them; of each the fields that are given are compared."""
    step = {
        "actor": "after", "args": ["$item"], "options": {"max_retries": 3}, "delay": "10s", "message_id": '$f"fixed-{index}"',
        "ignore_result": True,
    }  # fmt: skip
    route = {**EACH, "then": [step, {"actor": "last"}]}
    order = {"payload": {"kind": "order", "lines": ["a"]}}
    _, (whole, short) = tests(
        [route],
        {"event": order, "expect": [{"args": ["a"], "then": [{**STEP, **changes}, {"actor": "last"}]}]},
        {"event": order, "expect": [{"args": ["a"], "then": [{}]}]},
    )
    assert whole.differences == ([difference] if difference else [])
    assert short.differences == ["then: expected 1 step, the message has 2"]


def test_a_failed_test_shows_what_each_route_does(tests: Tests) -> None:
    """Why the rest did not fit, and that the list was empty."""
    _, (full, empty) = tests(
        [EACH, REST],
        {"event": ORDER, "expect": [{"route": "rest"}]},
        {"event": {"payload": {"kind": "order", "lines": []}}, "expect": [{"route": "lines"}]},
    )
    assert [line.partition(": ")[2] for line in full.context[1:]] == [
        'route lines: makes act, args ["a"], kwargs {}', 'route lines: makes act, args ["b"], kwargs {}',
        "route rest: otherwise: the route lines fits",
    ]  # fmt: skip
    assert [line.partition(": ")[2] for line in empty.context[1:]] == [
        "route lines: foreach: the list is empty", "route rest: makes act, args [], kwargs {}",
    ]  # fmt: skip


def test_several_rests_stand_alone(tests: Tests) -> None:
    """Each takes the event, and none takes it from another; a route that failed is not called one that fits."""
    failing = {"name": "failing", "when": "payload.kind == 'order'", "args": ["$payload.none"]}
    routes = [REST, failing, {**REST, "name": "second"}]
    _, (left, failed) = tests(
        routes,
        {"event": {"payload": {"kind": "x"}}, "expect": [{"route": "rest"}, {"route": "second"}]},
        {"event": ORDER, "expect": [{"route": "rest"}, {"route": "second"}], "expect_dead_letter": {"route": "failing", "reason": "missing-field"}},
    )  # fmt: skip
    assert left.differences == []
    why = "otherwise: the route failing should have taken the event, which became a dead letter"
    assert [line.partition(": ")[2] for line in failed.context[1:] if "otherwise" in line] == [
        f"route rest: {why}", f"route second: {why}",
    ]  # fmt: skip


def test_a_condition_of_a_list_is_covered(tests: Tests) -> None:
    """An empty list makes `when` true, and no message."""
    empty = {"event": {"payload": {"kind": "order", "lines": []}}, "expect": []}
    suite, _ = tests([EACH], empty)
    assert suite.coverage.gaps == {"lines": ["no test makes a message of it", "no test makes its `when` false"]}


def test_route_shows_every_message(path: Path, run: Terminal) -> None:
    """As text with their number, as JSON in a list."""
    routes = [{**EACH, "from": "orders", "actor": "act"}, {**REST, "from": "orders", "actor": "act"}]
    sources = {"orders": {"type": "amqp", "url": "amqp://localhost:1/", "queue": "orders"}}
    path.write_text(yaml.safe_dump({"sources": sources, "routes": routes}))
    words = ("route", "CONFIG", "--from=orders", "--topic=t", f"--payload={json.dumps(ORDER['payload'])}")
    text = run(*words)
    assert "lines: fits; 2 messages; to queues default, b-queue:" in text
    assert "rest: otherwise: the route lines fits" in text
    lines, rest = run.json(*words)["routes"]
    assert [one["args"] for one in lines["messages"]] == [["a"], ["b"]]
    assert [one["queue_name"] for one in lines["messages"]] == ["default", "b-queue"]
    assert (rest["verdict"], rest["fits"]) == ("otherwise", False)


def test_an_event_with_several_messages_becomes_a_test(tests: Tests) -> None:
    """It lists them all, and holds; of very many messages no test is made."""
    suite, _ = tests([{**EACH, "then": []}, REST])
    event = Event("plant", "t", json.dumps(ORDER["payload"]).encode(), 1_700_000_000_000)
    (case,) = yaml.safe_load(as_test(suite.config, event, "two"))
    assert [one["args"] for one in case["expect"]] == [["a"], ["b"]]
    many = json.dumps({"kind": "order", "lines": ["x"] * 201}).encode()
    with pytest.raises(InvalidValue, match="a test of its 201 messages would be too large"):
        as_test(suite.config, Event("plant", "t", many, 1_700_000_000_000), "many")


def test_an_event_with_steps_becomes_a_test(tests: Tests) -> None:
    """Their ids are expected where the route gives them: others are new in each run."""
    steps = [{"actor": "after", "args": ["$item"], "message_id": "$item"}, {"actor": "last", "delay": "10s"}]
    suite, _ = tests([{**EACH, "then": steps}])
    event = Event("plant", "t", json.dumps(ORDER["payload"]).encode(), 1_700_000_000_000)
    (case,) = yaml.safe_load(as_test(suite.config, event, "steps"))
    assert case["expect"][1]["then"] == [
        {"actor": "after", "queue": "default", "args": ["b"], "message_id": "b"},
        {"actor": "last", "queue": "default", "delay": "10s"},
    ]


def test_an_application_gets_every_message(tmp_path: Path) -> None:
    """`bridge.testing` puts them all into the broker, or none; the steps' actors are asked for, too."""
    path = tmp_path / "bridge.yaml"
    config = {
        "sources": {"plant": {"type": "mqtt", "url": "mqtt://localhost"}},
        "routes": [{"from": "plant", "actor": "act", **EACH}],
    }
    path.write_text(yaml.safe_dump(config))
    Config.model_validate(config)
    broker = StubBroker()
    dramatiq.actor(broker=broker, actor_name="act")(_take)
    event: dict[str, Any] = {"from": "plant", "topic": "t", "payload": {"kind": "order", "lines": ["a", "c"]}}
    bridge = Bridge(path)
    with pytest.raises(NotDelivered, match="the broker has no actor 'after'"):
        bridge.deliver(broker, event)
    assert broker.queues["default"].qsize() == 0
    dramatiq.actor(broker=broker, actor_name="after")(_take)
    assert [one.args for one in bridge.deliver(broker, event)] == [["a"], ["c"]]
    assert broker.queues["default"].qsize() == 2
    event["payload"] = {"kind": "order", "lines": ["b"]}
    with pytest.raises(NotDelivered, match="route lines: the broker has no queue 'b-queue'; declare it"):
        bridge.deliver(broker, event)
    broker.declare_queue("b-queue")
    bridge.deliver(broker, event)
    assert broker.queues["b-queue"].qsize() == 1
