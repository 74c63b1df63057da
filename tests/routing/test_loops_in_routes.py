"""Loops in routes: their messages and dead letters, and that a route without loops has nothing of them."""

from __future__ import annotations

import dis
import types
from collections.abc import Iterator
from typing import Any

import pytest

from bridge.model.batch import Batch
from bridge.model.event import Event
from bridge.routing.compiler import compile_routes
from bridge.routing.routes import Route
from tests.routing.test_routes import config, problems, results
from tests.support.routing import router

LINES = {"order": 7, "lines": [{"sku": "a", "qty": 2}, {"sku": "b", "qty": 0}, {"qty": 1}]}


def compiled(**route: Any) -> Route:
    """Return one compiled route."""
    tables, found = compile_routes(config(route))
    assert found == []
    return tables["plant"].routes[0]


def test_a_route_makes_lists_of_lists() -> None:
    """In args, kwargs and options, and in its condition; a capture is a name like any other."""
    (message,) = results(
        {
            "topic": "{plant}/+",
            "when": "max(line.qty for line in payload.lines) > 1",
            "args": ['$[f"{plant}/{line.sku}" for line in payload.lines if has(line.sku)]', "$payload.order"],
            "kwargs": {"qty": "$[line.qty for line in payload.lines]"},
            "options": {"tags": "$[line.sku for line in payload.lines[:2]]"},
        },
        payload=LINES,
        topic="p1/x",
    )
    assert message["args"] == [["p1/a", "p1/b"], 7]
    assert message["kwargs"] == {"qty": [2, 0, 1]}
    assert message["options"]["tags"] == ["a", "b"]


BIG = "[x * 2 for x in payload.all]"


@pytest.mark.parametrize(
    ("route", "reason", "detail"),
    [
        (
            {"args": ["$1", "$[line.sku for line in payload.lines]"]},
            "missing-field",
            "args.1: no field 'sku' in `line.sku`, element 2 of `payload.lines`",
        ),
        (
            {"kwargs": {"a": "$[[line.qty / x for x in [1, 0]] for line in payload.lines]"}},
            "wrong-type",
            "kwargs.a: division by zero in `line.qty / x`, element 1 of `[1, 0]`, element 0 of `payload.lines`",
        ),
        (
            {"args": ["$[x for x in payload]"]},
            "wrong-type",
            "args.0: a loop takes a list, not a mapping: use items(x) in `payload`",
        ),
        ({"args": [f"${BIG}"]}, "too-large", "args.0: the loops of this route take too many steps in `payload.all`; leave a part of the work to the actor"),
        ({"when": f"len({BIG}) > 1"}, "too-large", "when: the loops of this route take too many steps in `payload.all`; leave a part of the work to the actor"),
        (
            {"when": "len(line for line in payload.lines if line.sku > 1) > 1"},
            "wrong-type",
            "when: '>' can't compare text with a number in `line.sku > 1`, element 0 of `payload.lines`",
        ),
        (
            {"args": ["$[payload.digits for x in payload.hundred]"]},
            "too-large",
            "args.0: the loops of this route take too many steps in `[payload.digits for x in payload.hundred]`; leave a part of the work to the actor",
        ),
        (
            {"args": ["$[payload.text for x in payload.all]"]},
            "too-large",
            "args.0: the values of the message have more than 4194304 bytes in `[payload.text for x in payload.all]`",
        ),
        (
            {"options": {"x": {"y": "$[payload.text for x in payload.all]"}}},
            "too-large",
            "options.x.y: the values of the message have more than 4194304 bytes in `[payload.text for x in payload.all]`",
        ),
    ],
)  # fmt: skip
def test_a_dead_letter_names_the_element(route: dict[str, Any], reason: str, detail: str) -> None:
    """An empty purse is a dead letter of its own kind, also in a condition."""
    payload = {**LINES, "all": [1] * 60_000, "text": "a" * 10_000, "hundred": [1] * 100, "digits": 10**4_200}
    (letter,) = results(route, payload=payload)
    assert (letter["reason"], letter["detail"]) == (reason, detail)


def test_an_element_without_the_field_makes_a_when_false() -> None:
    """As a field that is missing anywhere in it."""
    assert results({"when": "len(line for line in payload.lines if line.sku == 'a') == 1"}, payload=LINES) == []
    assert results({"when": "len(line for line in payload.lines if default(line.sku, '') == 'a') == 1"}, payload=LINES)


def test_a_deduplication_key_may_hold_a_loop() -> None:
    """It has a purse of its own; where that is empty, the event has no key, and is written."""
    key = '$join(",", [line.sku for line in payload.lines])'
    events = [
        Event("s", "t", body, 0, raw=({}, {}))
        for body in (b'{"lines":[{"sku":"a"},{"sku":"b"}]}', b'{"lines":[%b1]}' % (b"1," * 100_000))
    ]
    router([{"actor": "record"}], deduplicate={"key": key}).route(Batch(events))
    assert [event.deduplication_key for event in events] == [b"a,b", b""]


def test_a_mistake_in_a_loop_has_its_place() -> None:
    """`check` points to the character."""
    (mistake,) = problems({"args": ["$[line.sku for payload in payload.lines]"]})
    assert (mistake.path, mistake.offset) == (("routes", 0, "args", 0), len("$[line.sku for "))


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def by_hand(_event: Any, payload: Any, _captures: Any, _ids: Any) -> Any:
    """Do what the compiled route does, as one would write it."""
    topic = _event.topic
    headers, meta = _event.readable_details()
    (plant,) = _captures
    try:
        if not payload["c"] > 250:
            return None
    except (_KeyError, _IndexError):  # type: ignore[name-defined]  # noqa: F821
        return None
    return _build(  # type: ignore[name-defined]  # noqa: F821
        [plant, topic, _upper(payload["a"]["b"])], {"id": headers["id"], "qos": meta.get("qos")}, _ids  # type: ignore[name-defined]  # noqa: F821
    )  # fmt: skip


def _instructions(code: types.CodeType) -> list[tuple[str, object]]:
    return [(each.opname, each.argrepr) for each in dis.get_instructions(code) if not each.opname.startswith("JUMP")]


def test_a_route_without_a_loop_is_compiled_to_the_same_code_as_ever() -> None:
    """To that of a function written by hand: no purse is made, nothing is measured, no call is metered."""
    route = compiled(
        topic="{plant}/#",
        when="payload.c > 250",
        args=["$plant", "$topic", "$upper(payload.a.b)"],
        kwargs={"id": "$headers.id", "qos": "$meta.qos"},
    )
    assert _instructions(route.run.__code__) == _instructions(by_hand.__code__)


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("$upper(payload.a)", set()),
        ("$[x for x in payload.a]", {"_Purse", "_each", "_measured"}),
        ("$[upper(x) for x in payload.a]", {"_Purse", "_each", "_measured", "_metered"}),
        ("$[x.a == x.b for x in payload.a]", {"_Purse", "_each", "_measured", "_metered"}),
        ("$[x < payload.b for x in payload.a]", {"_Purse", "_each", "_measured", "_paid"}),
        ("$[x in payload.b for x in payload.a]", {"_Purse", "_each", "_measured", "_found"}),
        ('$[matches(x, "a") for x in payload.a]', {"_Purse", "_each", "_measured", "_searched"}),
        ('$[split(x, ",") for x in payload.a]', {"_Purse", "_each", "_measured", "_seeking"}),
        ("$[x[1:] for x in payload.a]", {"_Purse", "_each", "_measured", "_sliced"}),
        ("${x: 1 for x in payload.a}", {"_Purse", "_each", "_measured", "_keyed"}),
        ("$[b for a, b in payload.a]", {"_Purse", "_each_pair", "_measured"}),
        ('$[x == "a" and x in ["a"] and len(x) > 1 and has(x.a) for x in payload.a]', {"_Purse", "_each", "_measured"}),
    ],
)
def test_only_what_can_be_large_is_metered(value: str, names: set[str]) -> None:
    """A twin stands where a value's size decides the cost, and within a loop only."""
    twins = {
        "_Purse",
        "_each",
        "_each_pair",
        "_measured",
        "_metered",
        "_paid",
        "_found",
        "_searched",
        "_seeking",
        "_sliced",
        "_keyed",
    }
    used = {name for code in _codes(compiled(args=[value]).run.__code__) for name in code.co_names}
    assert used & twins == names
