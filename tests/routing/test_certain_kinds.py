"""An expression whose kind of value its key never takes is a mistake at load: each event would become a dead letter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bridge.config import Config
from bridge.config.loading import load_with_places
from bridge.config.substitution import Substitution
from bridge.config.wording import describe
from bridge.routing.compiler import check_routes
from bridge.routing.expressions import FUNCTIONS
from bridge.routing.expressions.results import GIVES, kinds
from tests.docs.test_functions import EXAMPLE
from tests.routing.test_routes import problems
from tests.support.documents import page
from tests.support.routing import MQTT

ALLOW = {"name": "r", "allow": {"actor": ["a"]}}
BY_KEY = {"queues": {"a": "b"}}
EACH = {"args": ["$item"], "deduplicate": {"key": "$item"}}


@pytest.mark.parametrize(
    ("route", "place", "message"),
    [
        ({"foreach": "$payload.a == 1"}, "foreach", "takes a list, and this is always true or false"),
        ({"foreach": "$not payload.a"}, "foreach", "takes a list, and this is always true or false"),
        ({"foreach": "$payload.a > 1 and not payload.b"}, "foreach", "takes a list, and this is always true or false"),
        ({"foreach": '$f"{payload.a}"'}, "foreach", "takes a list, and this is always text"),
        ({"foreach": "$lower(payload.a)"}, "foreach", "takes a list, and this is always text"),
        ({"foreach": "$site", "topic": "{site}"}, "foreach", "takes a list, and this is always text"),
        ({"foreach": "$payload.a + 1"}, "foreach", "takes a list, and this is always a number"),
        ({"foreach": "$-5"}, "foreach", "takes a list, and this is always a number"),
        ({"foreach": "$null"}, "foreach", "takes a list, and this is always null"),
        ({"foreach": "$headers"}, "foreach", "takes a list, and this is always a mapping"),
        ({"foreach": "${k: v for k, v in items(payload)}"}, "foreach", "takes a list, and this is always a mapping"),
        ({"foreach": "$1 if payload.a else 'b'"}, "foreach", "takes a list, and this is always a number or text"),
        ({"foreach": "$catch(int(payload.a), null)"}, "foreach", "takes a list, and this is always a number or null"),
        ({"eta": "$payload.a == 1"}, "eta", "takes a number, and this is always true or false"),
        ({"eta": "$format_time(received_at, '%F')"}, "eta", "takes a number, and this is always text"),
        ({"delay": "$'10s'"}, "delay", "takes a number or null, and this is always text"),
        ({"actor": "$payload.a == 1", **ALLOW}, "actor", "takes text, and this is always true or false"),
        ({"queue": "$len(payload.a)", "allow": {"queue": ["q"]}}, "queue", "takes text, and this is always a number"),
        ({"queue_by": {"key": "$[payload.a]", **BY_KEY}}, "queue_by.key", "takes text, a number, true or false or null, and this is always a list"),
        ({"deduplicate": {"key": "$payload.a == 1"}}, "deduplicate.key", "takes text or a number, and this is always true or false"),
        ({"args": "$payload.a == 1"}, "args", "takes a list, and this is always true or false"),
        ({"kwargs": "$items(payload)"}, "kwargs", "takes a mapping, and this is always a list"),
        ({"options": {"max_retries": "$str(payload.a)"}}, "options.max_retries", "takes a number or null, and this is always text"),
        ({"options": {"store_results": "$int(payload.a)"}}, "options.store_results", "takes true or false, and this is always a number"),
        ({"then": [{"actor": "b", "delay": "$payload.a == 1"}]}, "then.0.delay", "takes a number or null, and this is always true or false"),
        ({"then": [{"actor": "b", "message_id": "$len(payload.a)"}]}, "then.0.message_id", "takes text or null, and this is always a number"),
        ({"then": [{"actor": "b", "args": "$str(payload.a)"}]}, "then.0.args", "takes a list, and this is always text"),
        ({"when": "'payload.a == 1'"}, "when", "this is text for every event, and no condition"),
        ({"when": 'f"payload.{payload.a}"'}, "when", "this is text for every event, and no condition"),
        ({"when": "null"}, "when", "this is null for every event, and no condition"),
        ({"when": "[payload.a]"}, "when", "this is a list for every event, and no condition"),
        ({"when": "{'a': payload.a}"}, "when", "this is a mapping for every event, and no condition"),
    ],
)  # fmt: skip
def test_a_value_that_no_event_makes_right_is_a_mistake(route: dict[str, Any], place: str, message: str) -> None:
    """With its place, the kinds that the key takes and that of the value, and a remedy."""
    given = {**EACH, **route} if "foreach" in route else route
    (mistake,) = problems(given)
    assert (".".join(map(str, mistake.path[2:])), mistake.message) == (place, message)
    assert mistake.hint


@pytest.mark.parametrize(
    "route",
    [
        *({"foreach": f"${text}", **EACH} for text in (
            "payload.a", "payload.a and payload.b == 1", "default(payload.a, [])", "catch(payload.a, 1)", "payload.a[1:]",
            "[] if payload.a else 1", "capture(payload.a, '(a)(b)')", "lookup('t', 'a', null)", "json(payload.a)", "split('a')",
        )),
        {"eta": "$default(payload.a, '')"},
        {"eta": "$max(payload.a)"},
        {"delay": "$null if payload.a else 1", "then": [{"actor": "b"}]},
        {"queue_by": {"key": "$payload.a == 1", **BY_KEY}},
        {"deduplicate": {"key": "$site", "within": "1h"}, "topic": "{site}"},
        {"kwargs": "$headers"},
        {"kwargs": "$merge(payload, {})"},
        {"options": {"max_retries": "$null if payload.a else 1"}},
        *({"when": text} for text in ("true", "false", "1", "0", "payload.a", "lower(payload.a)", "len(payload.a)", "[x for x in payload]",
                                      'f"{payload.a}"', "payload.a[1:]", "not 'a'", "[]")),
    ],
    ids=str,
)  # fmt: skip
def test_a_value_that_may_be_right_is_none(route: dict[str, Any]) -> None:
    """Where one of its parts is known by the event alone, and where a condition is switched on or off by a word."""
    tables: dict[str, Any] = {"t": {"values": {"a": []}}}
    config = {"sources": {"s": MQTT}, "tables": tables, "routes": [{"from": "s", "actor": "a", **route}]}
    assert check_routes(Config.model_validate(config)) == []


@pytest.mark.parametrize("environ", [{}, {"W": "payload.a == 1"}, {"W": "1"}, {"W": "false"}], ids=str)
def test_a_condition_from_outside_may_be_any(environ: dict[str, str], tmp_path: Path) -> None:
    """Also where it is not set, and a placeholder stands for it."""
    path = tmp_path / "bridge.yaml"
    path.write_text(json.dumps({"sources": {"s": MQTT}, "routes": [{"from": "s", "actor": "a", "when": "${W}"}]}))
    load_with_places(path, Substitution(environ, allow_unset=True), check_routes)


def test_the_key_of_a_source_is_checked_alike() -> None:
    """Each event would be written each time it comes, with a warning now and then."""
    key = {"deduplicate": {"key": "$payload.a == 1", "within": "1h"}}
    (mistake,) = check_routes(Config.model_validate({"sources": {"s": {**MQTT, **key}}}))
    assert mistake.path == ("sources", "s", "deduplicate", "key")
    assert mistake.message == "takes text or a number, and this is always true or false"


def test_each_function_has_its_kinds_or_gives_any() -> None:
    """A new one is not left out."""
    assert {*GIVES} | {"default", "catch", "lookup", "json"} == {*FUNCTIONS}


@pytest.mark.parametrize(("text", "result"), EXAMPLE.findall(page("functions")))
def test_an_example_of_the_documents_has_a_kind_that_is_known(text: str, result: str) -> None:
    """What the page of functions says of each is what a load takes for certain."""
    found = kinds(text)
    assert found is None or describe(json.loads(result)) in found
