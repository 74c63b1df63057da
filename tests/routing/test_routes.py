"""Routes: the messages and dead letters of compiled routes, and the mistakes in wrong ones."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from bridge.config import Config
from bridge.errors import Diagnostic
from bridge.model.event import Event
from bridge.routing.compiler import check_routes, compile_routes
from bridge.routing.router import make
from bridge.topics.memory import MAX_KNOWN_TOPICS
from tests.support.batches import routed

SOURCES = {
    "plant": {"type": "mqtt", "url": "mqtt://localhost"},
    "orders": {"type": "amqp", "url": "amqp://localhost/", "queue": "q"},
}


def config(*routes: dict[str, Any]) -> Config:
    """Return a configuration with these routes; by default their actor is `a` and their source `plant`."""
    return Config.model_validate({
        "sources": SOURCES, "routes": [{"from": "plant", "actor": "a", **route} for route in routes],
    })  # fmt: skip


def results(*routes: dict[str, Any], payload: object = None, topic: str = "t", **event: Any) -> list[dict[str, Any]]:
    """Return the messages of one event, or its dead letters."""
    loaded = config(*routes)
    tables, problems = compile_routes(loaded)
    assert problems == []
    body = json.dumps(payload).encode()
    raw = (event.get("headers", {}), event.get("meta", {}))
    ((entry,), _) = routed(make(loaded.sources["plant"], tables["plant"]), [Event("plant", topic, body, 1234, raw=raw)])
    if entry.dead_letters:
        return [
            {"reason": letter.reason, "detail": letter.detail, "route": letter.route, "written": len(entry.messages)}
            for letter in entry.dead_letters
        ]
    return [json.loads(message.body) for message in entry.messages]


def problems(*routes: dict[str, Any]) -> list[Diagnostic]:
    """Return the mistakes in these routes."""
    return check_routes(config(*routes))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1),
        (2.5, 2.5),
        (True, True),
        (None, None),
        ("text", "text"),
        ("a $payload.x", "a $payload.x"),
        ("$$payload.x", "$payload.x"),
        ("$$$x", "$$x"),
        ("$payload.x", 7),
        ("$ payload.x", 7),
        ("$payload.deep", {"y": [1, None]}),
        ('$f"{payload.x} of {payload.deep.y[0]}"', "7 of 1"),
        ("$payload", {"x": 7, "deep": {"y": [1, None]}}),
        (["$payload.x", ["$payload.x", {"k": "$topic"}]], [7, [7, {"k": "a/b"}]]),
        ([], []),
        ("$source", "plant"),
        ("$received_at", 1234),
        ("$headers.h", "v"),
        ("$meta.qos", 1),
        ("$meta.exchange", None),
        ("$default(payload.none, [1])", [1]),
    ],
    ids=repr,
)
def test_values(value: object, expected: object) -> None:
    """A string that begins with `$` is an expression, `$$` a literal `$`; lists and mappings are resolved inside."""
    (message,) = results(
        {"args": [value], "kwargs": {"k": value}},
        payload={"x": 7, "deep": {"y": [1, None]}},
        topic="a/b",
        headers={"h": "v"},
        meta={"qos": 1},
    )
    assert message["args"] == [expected]
    assert message["kwargs"] == {"k": expected}
    assert type(message["args"][0]) is type(expected)


def test_captures_are_text() -> None:
    """A captured level is text, even if it looks like a number."""
    route = {"topic": "plants/{plant}/ovens/{oven}", "args": ["$plant", "$int(oven)", "$topic"]}
    (message,) = results(route, topic="plants/03/ovens/7")
    assert message["args"] == ["03", 7, "plants/03/ovens/7"]


def test_captures_are_each_routes_own() -> None:
    """Two routes may name the same level differently."""
    routes = [{"topic": "a/{x}", "args": ["$x"]}, {"topic": "{y}/+", "args": ["$y"], "name": "other"}]
    assert [message["args"] for message in results(*routes, topic="a/b")] == [["b"], ["a"]]


@pytest.mark.parametrize(
    ("when", "payload", "fits"),
    [
        ("payload.c > 250", {"c": 251}, True),
        ("payload.c > 250", {"c": 250}, False),
        ("payload.c > 250", {}, False),
        ("payload.c > 250", [], "wrong-type"),
        ("payload.a.b == 1", {"a": None}, False),
        ("payload.a.b == 1", {"a": {"b": 1}}, True),
        ("payload[0] == 1", [], False),
        ("payload.c > 250", {"c": "hot"}, "wrong-type"),
        ("not payload.c", {"c": 0}, True),
        ("payload.c", {"c": []}, False),
        ("payload.c", {"c": "no"}, True),
        ("true", None, True),
        ("false", None, False),
        ("not meta.retain", {}, True),
        ("has(payload.c)", {}, False),
        ('topic == "t" and source == "plant"', {}, True),
    ],
)
def test_a_missing_field_makes_a_when_false(when: str, payload: object, fits: bool | str) -> None:
    """A route fits if its `when` is true; a missing field makes it false, a wrong type makes a dead letter."""
    entries = results({"when": when}, payload=payload)
    if isinstance(fits, str):
        assert entries[0]["reason"] == fits
        assert entries[0]["detail"].startswith("when: ")
    else:
        assert len(entries) == fits


@pytest.mark.parametrize(
    ("route", "reason", "detail"),
    [
        ({"kwargs": {"unit": "$payload.unit"}}, "missing-field", "kwargs.unit: no field 'unit' in `payload.unit`"),
        (
            {"args": [1, "$payload.a.b"]},
            "missing-field",
            "args.1: no field 'b' in `payload.a.b`",
        ),
        ({"args": "$payload.all"}, "missing-field", "args: no field 'all' in `payload.all`"),
        ({"kwargs": {"k": {"n": ["$payload.x"]}}}, "missing-field", "kwargs.k.n.0: no field 'x' in `payload.x`"),
        ({"args": ["$payload.list[3]"]}, "missing-field", "args.0: no element at this index in `payload.list[3]`"),
        ({"options": {"max_age": "$payload.o"}}, "missing-field", "options.max_age: no field 'o' in `payload.o`"),
        ({"delay": "$payload.d"}, "missing-field", "delay: no field 'd' in `payload.d`"),
        ({"args": ["$payload.text + 1"]}, "wrong-type", "args.0: '+' takes numbers, not text in `payload.text + 1`"),
        ({"args": ["$1 / payload.zero"]}, "wrong-type", "args.0: division by zero in `1 / payload.zero`"),
        ({"args": ["$int(payload.text)"]}, "wrong-type", "args.0: "),
        ({"args": '$["é"] if payload.ü.x else 0'}, "missing-field", "args: no field 'x' in `payload.ü.x`"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_dead_letter_names_the_route_the_place_and_the_field(route: dict[str, Any], reason: str, detail: str) -> None:
    """A missing field in a value makes the event a dead letter, with the place in the configuration and the field's name."""
    payload = {"a": {}, "list": [1], "text": "x", "zero": 0, "ü": {}}
    (letter,) = results({"name": "the-route", **route}, payload=payload)
    assert letter["route"] == "the-route"
    assert letter["reason"] == reason
    assert letter["detail"].startswith(detail)


def test_one_failing_route_does_not_stop_the_others() -> None:
    """Routes stand alone: the messages of the others are written together with the dead letter."""
    routes: list[dict[str, Any]] = [{"name": "one"}, {"name": "two", "args": ["$payload.x"]}, {"name": "three"}]
    (letter,) = results(*routes, payload={})
    assert letter["route"] == "two"
    assert letter["written"] == 2


def test_several_routes_fire_together() -> None:
    """Each route that fits makes one message, in the order of the file, with its own ids."""
    messages = results({"actor": "x"}, {"actor": "y", "when": "false"}, {"actor": "z"}, {"actor": "x", "queue": "q"})
    assert [(message["actor_name"], message["queue_name"]) for message in messages] == [
        ("x", "default"), ("z", "default"), ("x", "q"),
    ]  # fmt: skip
    assert len({message["message_id"] for message in messages}) == 3


@pytest.mark.parametrize(
    ("delay", "payload", "milliseconds"),
    [
        ("10s", None, 10_000),
        ("0s", None, 0),
        ("7d", None, 7 * 86_400_000),
        ("$payload", 1500, 1500),
        ("$payload", 1500.9, 1500),
        ("$payload", 0, 0),
        ("$payload * 1000", 2, 2000),
        ("$payload", 10 * 365 * 86_400_000, 10 * 365 * 86_400_000),
        ("$payload", 10 * 365 * 86_400_000 + 1, None),
        ("$payload", -1, None),
        ("$payload", -0.1, None),
        ("$payload", "10s", None),
        ("$payload", None, None),
        ("$payload", True, None),
        ("$payload", [], None),
        ("$payload", 10**4000, None),
        ("$payload", 10**16, None),
    ],
    ids=lambda value: str(value)[:20],
)
def test_delay(delay: str, payload: object, milliseconds: int | None) -> None:
    """A delayed message goes to `.DQ` with its eta in epoch milliseconds; a value that is no delay makes a dead letter."""
    (entry,) = results({"delay": delay, "queue": "q"}, payload=payload)
    if milliseconds is None:
        assert entry["reason"] == "option"
        assert "delay takes milliseconds" in entry["detail"]
        assert len(entry["detail"]) < 200
    else:
        assert entry["queue_name"] == "q.DQ"
        assert entry["options"]["eta"] - entry["message_timestamp"] == milliseconds


def test_options() -> None:
    """Durations become milliseconds, expressions are evaluated, `$$` is a literal `$`, unknown options are kept."""
    options = {"time_limit": "30s", "max_retries": "$payload.r", "custom": {"a": "$payload.r"}, "other": "$$x"}
    (message,) = results({"options": options}, payload={"r": 3})
    del message["options"]["redis_message_id"]
    assert message["options"] == {"time_limit": 30_000, "max_retries": 3, "custom": {"a": 3}, "other": "$x"}
    assert "eta" not in message["options"]


def test_a_hundred_routes_cost_a_bounded_cache() -> None:
    """The cache keeps at most MAX_KNOWN_TOPICS of 10,000 distinct topics, and every topic still finds its routes."""
    table = compile_routes(config(*({"topic": f"r/{i}/{{x}}", "name": f"r{i}"} for i in range(100))))[0]["plant"]
    for number in range(10_000):
        ((route, captures),) = table.matches(f"r/{number % 100}/{number}")
        assert (route.name, captures) == (f"r{number % 100}", (str(number),))
        assert len(table.known) <= MAX_KNOWN_TOPICS
    assert table.matches("r/5/5") is table.matches("r/5/5")
    assert table.matches("elsewhere") == ()


@pytest.mark.no_cover  # the tracer takes a multiple of the CPU time that is measured
def test_routes_without_a_name_are_numbered_by_their_actor() -> None:
    """5,000 of one actor are named in no time; a name that is given is skipped."""
    began = time.process_time()
    named = [route.name for route in config(*({"name": "a-3"} if n == 0 else {} for n in range(5000))).routes]
    assert time.process_time() - began < 2
    assert len(set(named)) == 5000


@pytest.mark.parametrize(
    ("route", "loc", "offset", "words"),
    [
        ({"topic": "a/#/b"}, ("topic",), 2, "# must be the last level"),
        ({"topic": "a/{payload}"}, ("topic",), 2, "{payload} would hide `payload`"),
        ({"topic": "a/{len}"}, ("topic",), 2, "{len} would hide `len`"),
        ({"when": "payload.x >"}, ("when",), None, "not a valid expression"),
        ({"when": "payload.x > celsius"}, ("when",), 12, "there is no name 'celsius'"),
        ({"args": [1, "$nope"]}, ("args", 1), 1, "there is no name 'nope'"),
        ({"args": "$nope"}, ("args",), 1, "there is no name 'nope'"),
        ({"kwargs": {"k": {"n": ["$1 + nope"]}}}, ("kwargs", "k", "n", 0), 5, "there is no name 'nope'"),
        ({"options": {"max_age": "$payload.a + nope"}}, ("options", "max_age"), 13, "there is no name 'nope'"),
        ({"delay": "$nope"}, ("delay",), 1, "there is no name 'nope'"),
        ({"topic": "a/{x}", "args": ["$y"]}, ("args", 0), 1, "there is no name 'y'"),
        ({"from": "orders", "topic": "a.b#"}, ("topic",), 3, "# must stand alone"),
        ({"args": ["$payload.__class__.mro()"]}, ("args", 0), None, ""),
        ({"args": ["$(lambda: 1)"]}, ("args", 0), None, "a lambda"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_mistake_has_its_place(
    route: dict[str, Any], loc: tuple[str | int, ...], offset: int | None, words: str
) -> None:
    """Each mistake has the path of its value and the offset of the wrong character in it."""
    (problem,) = problems({}, route)
    assert problem.path == ("routes", 1, *loc)
    assert words in problem.message
    if offset is not None:
        assert problem.offset == offset


def test_every_mistake_is_found_at_once() -> None:
    """A mistake in a route hides no other mistake in the same route or in the next one."""
    mistakes = problems({"when": "x", "args": ["$y", "$z"], "topic": "#a"}, {}, {"kwargs": {"k": "$w"}})
    assert [problem.path for problem in mistakes] == [
        ("routes", 0, "topic"), ("routes", 0, "when"), ("routes", 0, "args", 0), ("routes", 0, "args", 1),
        ("routes", 2, "kwargs", "k"),
    ]  # fmt: skip


def test_a_route_belongs_to_its_source() -> None:
    """A route takes the events of its own source only."""
    tables, _ = compile_routes(config({"name": "p"}, {"name": "o", "from": "orders"}))
    assert {name: [route.name for route in table.routes] for name, table in tables.items()} == {
        "plant": ["p"], "orders": ["o"],
    }  # fmt: skip


def test_an_expression_that_yaml_took_for_a_mapping_is_a_mistake() -> None:
    """YAML reads `$x ? {a: 1}` and the like as mappings: without this mistake the message would be silently wrong."""
    (problem,) = problems({"args": [{'$payload.a == "b" ? 1': 2}]})
    assert problem.path == ("routes", 0, "args", 0, '$payload.a == "b" ? 1')
    assert problem.hint.startswith("if this is one expression that holds `: `, write the whole value in single quotes")
