"""The target of a message that an event chooses: its queue by `queue_by`, its actor and queue by `allow`, its time by `eta`."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from bridge.config import Config
from bridge.config.manifest import Actor, Manifest
from bridge.routing.compiler import compile_routes
from bridge.routing.router import make
from tests.routing.test_routes import SOURCES, problems, results
from tests.support.batches import routed
from tests.support.routing import event

BY_REGION: dict[str, Any] = {
    "queue_by": {"key": "$payload.region", "queues": {"eu": "orders-eu", "1": "one", "true": "yes", "null": "none"}}
}
FREE: dict[str, Any] = {
    "name": "free",
    "actor": "$payload.task",
    "queue": '$f"q-{payload.shard}"',
    "allow": {"actor": ["resize", "crop"], "queue": ["q-{0..7}"]},
}


@pytest.mark.parametrize(
    ("region", "queue"),
    [
        ("eu", "orders-eu"),
        ("us", "default"),
        (1, "one"),
        (1.0, "one"),
        ("1", "one"),
        (True, "yes"),
        (None, "none"),
        ("EU", "default"),
        (2.5, "default"),
    ],
)
def test_a_value_chooses_the_queue(region: object, queue: str) -> None:
    """It is compared as text; any other value means the route's queue."""
    (made,) = results(BY_REGION, payload={"region": region})
    assert made["queue_name"] == queue


def test_a_missing_value_is_a_dead_letter() -> None:
    """A default in the key says which queue is meant."""
    (letter,) = results(BY_REGION, payload={})
    assert letter["detail"] == "queue_by.key: no field 'region' in `payload.region`"
    by_default = {"queue": "rest", "queue_by": {**BY_REGION["queue_by"], "key": '$default(payload.region, "eu")'}}
    assert results(by_default, payload={})[0]["queue_name"] == "orders-eu"


def test_a_value_without_a_text_is_a_dead_letter() -> None:
    """A list names no queue."""
    (letter,) = results(BY_REGION, payload={"region": ["eu"]})
    assert letter["detail"] == "queue_by.key: takes text, a number, true, false or null, not a list"


def test_a_delayed_message_waits_beside_its_queue() -> None:
    """The queue of a delay is the chosen one's."""
    (made,) = results({**BY_REGION, "delay": "10s"}, payload={"region": "eu"})
    assert made["queue_name"] == "orders-eu.DQ"
    assert made["options"]["eta"] - made["message_timestamp"] == 10_000


def test_an_event_names_an_actor_and_a_queue_among_those_allowed() -> None:
    """Only these are ever written."""
    (made,) = results(FREE, payload={"task": "crop", "shard": 7})
    assert (made["actor_name"], made["queue_name"]) == ("crop", "q-7")


@pytest.mark.parametrize(
    ("payload", "detail"),
    [
        ({"task": "drop", "shard": 0}, "actor: 'drop' is not in allow.actor"),
        ({"task": "crop", "shard": 8}, "queue: 'q-8' is not in allow.queue"),
        ({"task": "crop", "shard": "0.DQ"}, "queue: 'q-0.DQ' is not in allow.queue"),
        ({"task": ["crop"], "shard": 0}, "actor: a list is not in allow.actor"),
        ({"task": None, "shard": 0}, "actor: null is not in allow.actor"),
        ({"task": True, "shard": 0}, "actor: true is not in allow.actor"),
        ({"task": "x" * 1000, "shard": 0}, f"actor: '{'x' * 77}…' is not in allow.actor"),
    ],
)
def test_any_other_name_is_a_dead_letter(payload: Any, detail: str) -> None:
    """Its reason is `not-allowed`; a long name is cut."""
    (letter,) = results(FREE, payload=payload)
    assert (letter["reason"], letter["detail"], letter["written"]) == ("not-allowed", detail, 0)


def test_a_range_stands_for_its_names() -> None:
    """`orders-{0..7}` are eight queues, and several ranges all their pairs."""
    route = {**FREE, "allow": {"actor": ["a{1..2}-{8..10}", "z"], "queue": ["q-{0..255}"]}}
    loaded = Config.model_validate({"sources": SOURCES, "routes": [{"from": "plant", **route}]}).routes[0]
    assert loaded.actors == ["a1-8", "a1-9", "a1-10", "a2-8", "a2-9", "a2-10", "z"]
    assert (len(loaded.queues), loaded.queues[0], loaded.queues[-1]) == (256, "q-0", "q-255")
    assert len(loaded.targets) == 64


@pytest.mark.parametrize(
    ("written", "names"),
    [
        ("q-{01..03}", ["q-01", "q-02", "q-03"]),
        ("q-{8..010}", ["q-008", "q-009", "q-010"]),
        ("q-{0..2}", ["q-0", "q-1", "q-2"]),
        ("q-{00..01}-{9..10}", ["q-00-9", "q-00-10", "q-01-9", "q-01-10"]),
    ],
)
def test_a_range_keeps_leading_zeros(written: str, names: list[str]) -> None:
    """As in a shell, `{01..03}` has as many digits in each name: an event that names `q-01` is allowed."""
    route = {**FREE, "allow": {"actor": ["a"], "queue": [written]}}
    loaded = Config.model_validate({"sources": SOURCES, "routes": [{"from": "plant", **route}]}).routes[0]
    assert loaded.queues == names


def test_with_a_manifest_a_chosen_actor_is_called_on_its_own_queue() -> None:
    """A route that names no queue takes that of the actor, also where an event chooses it; so does a step of `then`."""
    actors = {name: Actor(queue=f"{name}-queue", parameters=()) for name in ("resize", "crop", "notify")}
    route = {**FREE, "allow": {"actor": ["resize", "crop"]}, "then": [{"actor": "notify"}]}
    del route["queue"]
    loaded = Config.model_validate({"sources": SOURCES, "routes": [{"from": "plant", **route}]})
    loaded = loaded.with_manifest(Manifest(1, "2.2.1", ("app",), actors))
    tables, mistakes = compile_routes(loaded)
    assert mistakes == []
    ((entry,), _) = routed(make(loaded.sources["plant"], tables["plant"]), [event("t", b'{"task": "crop"}')])
    made = json.loads(entry.messages[0].body)
    assert (made["queue_name"], made["options"]["pipe_target"]["queue_name"]) == ("crop-queue", "notify-queue")
    assert loaded.routes[0].queues == ["resize-queue", "crop-queue"]


def test_eta_is_a_time_and_a_past_one_is_at_once() -> None:
    """A message that is due waits in no `.DQ`, which workers read into their memory."""
    now_ms = time.time_ns() // 1_000_000
    (later,) = results({"eta": "$payload.at"}, payload={"at": now_ms + 60_000})
    assert (later["queue_name"], later["options"]["eta"]) == ("default.DQ", now_ms + 60_000)
    for at in (10**11, now_ms - 1, now_ms - 0.5):
        (made,) = results({"eta": "$payload.at"}, payload={"at": at})
        assert (made["queue_name"], "eta" in made["options"]) == ("default", False)
    (made,) = results({"eta": "$now() - 60000"}, payload={})
    assert made["queue_name"] == "default"


@pytest.mark.parametrize("at", [None, "2026-11-28", True, [], 1e300, 1 << 62])
def test_an_eta_that_is_no_time_is_a_dead_letter(at: object) -> None:
    """So is one more than ten years from now: a text, seconds as microseconds."""
    (letter,) = results({"eta": "$payload.at"}, payload={"at": at})
    assert letter["reason"] == "option"
    assert letter["detail"].startswith("eta takes milliseconds since 1970, at most ten years from now, not ")


@pytest.mark.parametrize(
    ("at", "shown"), [(None, "null"), (True, "true"), ("2026-11-28", "'2026-11-28'"), (10**14, "100000000000000")]
)
def test_what_is_no_time_is_shown_as_it_is(at: object, shown: str) -> None:
    """Only a text has quotes."""
    (letter,) = results({"eta": "$payload.at"}, payload={"at": at})
    assert letter["detail"].rpartition("not ")[2] == shown


@pytest.mark.parametrize("at", [1_795_881_594, 1_795_881_594.5, 10**11 - 1, 0, -5])
def test_an_eta_in_seconds_is_a_dead_letter(at: float) -> None:
    """As milliseconds it would be past, and the message due at once without a word."""
    (letter,) = results({"eta": "$payload.at"}, payload={"at": at})
    words = f"eta takes milliseconds since 1970, and {at} of them end before 1973: multiply seconds by 1000"
    assert (letter["reason"], letter["detail"]) == ("option", words)


def test_the_expressions_of_a_target_are_checked() -> None:
    """A wrong name is found when the file is read, at its place."""
    route = {
        "name": "x", "actor": "$payloud.a", "allow": {"actor": ["a"]}, "eta": "$nwo()",
        "queue_by": {"key": "$payload..a", "queues": {"a": "b"}},
    }  # fmt: skip
    assert [one.path[2:] for one in problems(route)] == [("eta",), ("actor",), ("queue_by", "key")]
