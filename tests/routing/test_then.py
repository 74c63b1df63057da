"""`then`: what a route writes is what Dramatiq's own `pipeline` writes, and its workers run it in order."""

from __future__ import annotations

import json
import uuid
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker

from bridge.config import Config
from bridge.config.manifest import Actor, Manifest, Parameter
from bridge.routing.compiler import compile_routes
from bridge.routing.router import make
from tests.routing.test_routes import SOURCES, problems, results
from tests.support.batches import routed
from tests.support.routing import event

STEPS: list[dict[str, Any]] = [
    {"actor": "charge", "queue": "money", "args": ["$payload.id"], "options": {"max_retries": 3, "time_limit": "30s"}},
    {"actor": "print_label", "kwargs": {"of": "$payload.id"}, "delay": "10s", "ignore_result": True},
    {"actor": "notify", "delay": "$payload.wait", "message_id": '$f"order-{payload.id}"', "options": {"max_age": "$payload.wait"}},
]  # fmt: skip


def _without_ids(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message without its ids, which must be those of UUIDs, all different, and its time."""
    left = {name: value for name, value in message.items() if name not in {"message_id", "message_timestamp"}}
    options = {name: value for name, value in message["options"].items() if name != "redis_message_id"}
    if "pipe_target" in options:
        options["pipe_target"] = _without_ids(options["pipe_target"])
    return {**left, "options": options}


def _chain(message: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a message and those inside it."""
    target = message["options"].get("pipe_target")
    return [message, *(_chain(target) if target else [])]


def test_it_is_what_dramatiqs_pipeline_writes() -> None:
    """Key by key; each message has an id of its own, and the time of the write."""
    (made,) = results({"actor": "reserve", "args": ["$payload.id"], "then": STEPS}, payload={"id": 7, "wait": 500})
    messages: list[dramatiq.Message[None]] = [
        dramatiq.Message("default", "reserve", (7,), {}, {}),
        dramatiq.Message("money", "charge", (7,), {}, {"max_retries": 3, "time_limit": 30_000}),
        dramatiq.Message("default", "print_label", (), {"of": 7}, {"delay": 10_000, "pipe_ignore": True}),
        dramatiq.Message("default", "notify", (), {}, {"delay": 500, "max_age": 500}),
    ]
    broker = StubBroker()
    (theirs, *_) = dramatiq.pipeline(messages, broker=broker).messages
    broker.close()
    whole = json.loads(theirs.encode())
    assert _without_ids(made) == _without_ids(whole)
    ours = _chain(made)
    assert [each.keys() for each in ours] == [each.keys() for each in _chain(whole)]
    assert [str(uuid.UUID(each["message_id"])) for each in ours[:3]] == [each["message_id"] for each in ours[:3]]
    assert len({each["message_id"] for each in ours}) == 4
    assert ours[3]["message_id"] == "order-7"
    assert {each["message_timestamp"] for each in ours} == {made["message_timestamp"]}


def test_each_element_of_a_list_has_its_own_steps() -> None:
    """The steps see `item`, and no two have one id."""
    route = {"foreach": "$payload", "args": ["$item"], "then": [{"actor": "b", "args": ["$item", "$index"]}]}
    made = results(route, payload=["x", "y"])
    assert [each["options"]["pipe_target"]["args"] for each in made] == [["x", 0], ["y", 1]]
    ids = [one["message_id"] for each in made for one in _chain(each)]
    assert len(set(ids)) == 4


@pytest.mark.parametrize(
    ("step", "reason", "detail"),
    [
        ({"args": ["$payload.x"]}, "missing-field", "then.1.args.0: no field 'x' in `payload.x`"),
        ({"args": "$payload.id"}, "wrong-type", "then.1: args takes a list, not a number"),
        ({"kwargs": "$payload.id"}, "wrong-type", "then.1: kwargs takes a mapping, not a number"),
        ({"delay": "$payload.id * -1"}, "option", "then.1: delay takes milliseconds from 0 to ten years, not -7"),
        (
            {"delay": "$payload.id + 1795939200000"},
            "option",
            "then.1: delay takes milliseconds from 0 to ten years, not 1795939200007; a point in time less received_at is one",
        ),
        ({"message_id": "$payload.id"}, "option", "then.1: message_id takes text of 1 to 255 characters, not 7"),
        (
            {"options": {"max_retries": "$payload.name"}},
            "option",
            "then.1: options.max_retries: takes a whole number from 0, not text",
        ),
    ],
)
def test_a_step_that_no_worker_could_run_is_a_dead_letter(step: dict[str, Any], reason: str, detail: str) -> None:
    """It names the step, counted from 0; nothing is written."""
    route = {"then": [{"actor": "b"}, {"actor": "c", **step}]}
    (letter,) = results(route, payload={"id": 7, "name": "n"})
    assert (letter["reason"], letter["detail"], letter["written"]) == (reason, detail, 0)


def test_every_place_of_a_step_is_checked_when_the_file_is_read() -> None:
    """A wrong name is found at its place."""
    step = {
        "actor": "b",
        "args": ["$a"],
        "kwargs": {"k": "$a"},
        "options": {"x": "$a"},
        "delay": "$a",
        "message_id": "$a",
    }
    places = ["then.0.args.0", "then.0.kwargs.k", "then.0.options.x", "then.0.delay", "then.0.message_id"]
    assert [".".join(map(str, one.path[2:])) for one in problems({"then": [step]})] == places


def test_each_element_has_an_id_of_its_own() -> None:
    """Under one that all share only one result is found; an id with a mistake of its own has no second one."""
    steps = [{"actor": "b", "message_id": one} for one in ("$payload.id", "x", "$payloud", "$item.id", '$f"a-{index}"')]
    found = [(one.path[2:], one.message) for one in problems({"foreach": "$payload.l", "then": steps})]
    message = "all elements of an event have this id, under which only one result is found"
    places = [("then", number, "message_id") for number in range(3)]
    assert found == [(places[0], message), (places[1], message), (places[2], "there is no name 'payloud'")]
    assert problems({"then": steps[:2]}) == []


def test_an_enforced_manifest_refuses_a_step_that_does_not_bind() -> None:
    """The result of the step before is one of its arguments."""
    number = Parameter("number", "positional-or-keyword")
    actors = {"a": Actor("default"), "b": Actor("default", (number,))}
    for args, reasons in (("$payload", ["arguments"]), ("$payload[1:]", [])):
        config = Config.model_validate({
            "sources": SOURCES, "manifest": "x", "enforce_manifest": True,
            "routes": [{"from": "plant", "actor": "a", "then": [{"actor": "b", "args": args}]}],
        }).with_manifest(Manifest(1, "2.2.1", ("app",), actors))  # fmt: skip
        tables, mistakes = compile_routes(config)
        assert mistakes == []
        ((entry,), _) = routed(make(config.sources["plant"], tables["plant"]), [event("t", b"[1]")])
        assert [letter.reason for letter in entry.dead_letters] == reasons
