"""`==` and `in` as JSON has them: a boolean equals only a boolean."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from typing import Any, Final

import pytest

from bridge.routing.expressions import NAMES, parse
from tests.support.evaluation import CAPTURES, build, evaluate, failure

VALUES: Final[tuple[object, ...]] = (True, False, None, 0, 1, 2, 0.0, 1.0, 1.5, "", "1", "true", [], [0], {}, {"a": 1})


def same(left: object, right: object) -> bool:
    """Compare as JSON does, but within lists and mappings as Python does."""
    return left == right and isinstance(left, bool) == isinstance(right, bool)


EQUAL: Final = ("{} == {}", "not {} != {}", "[{} == {} for i in payload.one][0]")
IN: Final = ("{} in {}", "not {} not in {}", "[{} in {} for i in payload.one][0]")


@pytest.mark.parametrize("value", VALUES)
def test_a_boolean_equals_only_a_boolean(value: object) -> None:
    """Whether a side is a field or written out, on the left or on the right, alone or in a loop."""
    written = json.dumps(value)
    names = (*NAMES, *CAPTURES)

    def function(form: str, left: str, right: str) -> Callable[..., Any]:
        return build(parse(form.format(left, right), names))

    equal = [function(form, *sides) for form in EQUAL for sides in ((written, "payload.b"), ("payload.b", written))] + [
        function(EQUAL[0], "payload.a", "payload.b")
    ]
    within = [
        function(form, *sides)
        for form in IN
        for sides in ((written, "payload.list"), ("payload.b", f"[{written}, 'x']"), ("payload.a", "[payload.b, 'x']"))
    ]
    for other in VALUES:
        payload = {"a": value, "b": other, "one": [0], "list": [other, "x"]}
        event = dict.fromkeys(names) | {"payload": payload}
        assert [each(**event) for each in equal] == [same(value, other)] * len(equal), other
        assert [each(**event) for each in within] == [same(value, other)] * len(within), other


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("'b' in payload.text", True),
        ("payload.key in payload.map", True),
        ("'zz' not in payload.map", True),
        ("payload.n == 250", True),
        ("0 < payload.n == payload.n", True),
        ("1 == payload.one == true", False),
        ("true == payload.yes != 1", True),
        ("payload.yes in [true]", True),
        ("payload.yes in [1]", False),
        ("payload.yes in payload.ones", False),
        ("payload.yes in payload.mixed", True),
        ("payload.yes in payload.numbered", False),
        ("payload.one in payload.numbered", True),
        ("1 in payload.mixed", True),
        ("[payload.yes] == [1]", True),
    ],
)
def test_comparisons(text: str, expected: bool) -> None:
    """Within compared lists Python's rule stays."""
    payload = {
        "text": "abc", "key": "k", "map": {"k": 1}, "n": 250, "one": 1, "yes": True, "ones": [1, 1.0], "mixed": [1, True],
        "numbered": {1: "a"},
    }  # fmt: skip
    assert evaluate(text, payload) is expected
    assert evaluate(f"[{text} for i in [0]]", payload) == [expected]


def test_a_side_behind_a_false_comparison_is_never_evaluated() -> None:
    """As in Python, also where a comparison is a call."""
    assert evaluate("payload.a == payload.b == payload.missing", {"a": 1, "b": True}) is False
    assert failure("payload.a == payload.b == payload.missing", {"a": 1, "b": 1}).missing
    assert evaluate("[1 for i in [0] if payload.a == payload.b == payload.missing]", {"a": 1, "b": True}) == []


@pytest.mark.parametrize(
    ("text", "is_native"),
    [
        ("payload.a == 250", True),
        ('payload.a == "a"', True),
        ("payload.a == null", True),
        ('payload.a in ["a", "b"]', True),
        ('"a" in payload.a', True),
        ("payload.a == true", True),
        ("payload.a != false", True),
        ("payload.a == []", True),
        ("payload.a < payload.b", True),
        ("payload.a == 1", False),
        ("payload.a == 0.0", False),
        ('payload.a in ["a", 0]', False),
        ("payload.a == payload.b", False),
        ("payload.a in payload.b", False),
        ("payload.a in [payload.b]", False),
    ],
)
def test_most_comparisons_are_pythons_own(text: str, is_native: bool) -> None:
    """A call costs 55 ns more: it is made only where a boolean could equal a number."""
    names = {node.id for node in _names(text)}
    assert names.isdisjoint({"_eq", "_in"}) is is_native


def _names(text: str) -> list[ast.Name]:
    return [node for node in ast.walk(parse(text, NAMES).node) if isinstance(node, ast.Name)]
