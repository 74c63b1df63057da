"""Lists and mappings: sums, order, and equality."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.routing.expressions.lists import MAX_ELEMENTS, flatten, sort, sum_of, unique
from tests.support.evaluation import evaluate, failure

MANY = [1] * (MAX_ELEMENTS + 1)
NAN = float("nan")


@pytest.mark.parametrize(
    ("text", "payload", "expected"),
    [
        ("sum(payload)", [], 0),
        ("sum(payload)", [1, 2], 3),
        ("sum(payload)", [0.1] * 10, 1.0),
        ("sum(payload)", [2**60, 0.5], 2.0**60),
        ("keys(payload)", {"b": 1, "a": 2}, ["b", "a"]),
        ("values(payload)", {"b": 1, "a": None}, [1, None]),
        ("items(payload)", {}, []),
        ('merge({"a": {"x": 1}}, payload, {"c": 3})', {"a": {"y": 2}, "b": 2}, {"a": {"y": 2}, "b": 2, "c": 3}),
        ('without(payload, "a", "c")', {"c": 1, "b": 2, "a": 3}, {"b": 2}),
        ("any(payload)", [], False),
        ("any(payload)", [False, False], False),
        ("all(payload)", [True, True], True),
        ("all(payload)", [True, False], False),
        ("sort(payload)", [], []),
        ("sort(payload)", [2, 1.5, 10**30], [1.5, 2, 10**30]),
        ("sort(payload)", ["b", "B", "é", "a"], ["B", "a", "b", "é"]),
        ("sort(payload)", [[2, "x"], [1, "b"], [1, "a"]], [[1, "b"], [1, "a"], [2, "x"]]),
        ("sort(payload, true)", [[1, "b"], [2, "x"], [1, "a"]], [[2, "x"], [1, "b"], [1, "a"]]),
        ("sort(payload, false)", [2, 1], [1, 2]),
        ("unique(payload)", ["1", 1, "1", None, None, True, False, 0, 1.0], ["1", 1, None, True, False, 0]),
        ("unique(payload)", [2**70, float(2**70), 2**70 + 1, 1e300, 0.5, 0.5, -0.0, 0], [2**70, 2**70 + 1, 1e300, 0.5, -0.0]),
        ("unique(payload)", [{"a": 1, "b": [2]}, {"b": [2], "a": 1}, {"a": 1}, [], []], [{"a": 1, "b": [2]}, {"a": 1}, []]),
        ("unique(payload)", [[1], [1.0], [True], "[1]"], [[1], [1.0], [True], "[1]"]),
        ("unique(payload)", [b"a", b"a", "a"], [b"a", "a"]),
        ("flatten(payload)", [[1, [2]], 3, [], "ab"], [1, [2], 3, "ab"]),
        ("flatten([payload, payload])", [1], [1, 1]),
    ],
)  # fmt: skip
def test_a_result(text: str, payload: object, expected: object) -> None:
    """With its types: 1 is not 1.0."""
    assert repr(evaluate(text, payload)) == repr(expected)


@pytest.mark.parametrize(
    ("text", "payload", "cause"),
    [
        ("sum(payload)", [1, True], "sum() takes a list of numbers, not true or false"),
        ("sum(payload)", [1, "1"], "sum() takes a list of numbers, not text"),
        ("sum(payload)", [1, NAN], "sum(): a number is not finite"),
        ("sum(payload)", [1e308, 1e308], "a number is too large"),
        ("sum(payload)", [2**256, 1], "sum(): a number is larger than 2**256"),
        ("sum(payload)", None, "sum() takes a list, not null"),
        ("keys(payload)", [], "keys() takes a mapping, not a list"),
        ("items(payload)", None, "items() takes a mapping, not null"),
        ("merge({}, payload)", None, "merge() takes a mapping, not null"),
        ("without({}, payload)", 1, "without() takes text as key, not a number"),
        ("any(payload)", [True, 1], "any() takes a list of true and false, not a number"),
        ("all(payload)", [False, None], "all() takes a list of true and false, not null"),
        ("any(payload)", {}, "any() takes a list, not a mapping"),
        ("sort(payload)", [1, "1"], "sort() takes numbers only or texts only, or lists that begin with them, not a mix of both"),
        ("sort(payload)", [1, True], "or lists that begin with them, not true or false"),
        ("sort(payload)", [[1], 1], "or lists that begin with them, not a list"),
        ("sort(payload)", [[[1]], [[2]]], "or lists that begin with them, not a list"),
        ("sort(payload)", [[1], []], "sort(): an element is an empty list"),
        ("sort(payload)", [1.0, NAN], "sort(): a number is not finite"),
        ("sort([1], payload)", 1, "sort() takes true or false as second argument, not a number"),
        ("sort([payload, payload, payload])", "a" * 400_000, "sort(): the texts are longer than 1048576 characters"),
        ("unique([payload, [payload]])", ["a" * 600_000], "unique(): the elements are longer than 1048576 characters"),
        ("flatten([payload, payload])", MANY[1:], "flatten(): there are more than 10000 elements"),
        ("merge(payload.a, payload.b)", {"a": dict.fromkeys(map(str, range(6000))), "b": dict.fromkeys(map(str, range(6000, 12_000)))},
         "merge(): there are more than 10000 elements"),
        *((f"{name}(payload)", MANY, f"{name}(): there are more than 10000 elements") for name in ("sum", "any", "sort", "unique", "flatten")),
        *((f"{name}(payload)", dict.fromkeys(map(str, range(10_001))), f"{name}(): there are more than 10000 elements")
          for name in ("keys", "values", "items", "merge")),
    ],
)  # fmt: skip
def test_a_wrong_value_is_an_error(text: str, payload: object, cause: str) -> None:
    """In words that say the reason."""
    assert cause in failure(text, payload).cause


def test_ten_thousand_elements_are_taken() -> None:
    """One more is refused, see above."""
    assert sum_of(MANY[1:]) == MAX_ELEMENTS


numbers = st.one_of(st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False, width=32))
scalars = st.one_of(
    st.none(), st.booleans(), numbers, st.text(max_size=2), st.integers(-2, 2), st.sampled_from([0.5, 1.0])
)


def _equal(left: Any, right: Any) -> bool:
    if type(left) in {list, dict} or type(right) in {list, dict}:
        return type(left) is type(right) and json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)
    return (type(left) is bool) is (type(right) is bool) and bool(left == right)


@given(
    st.lists(
        st.one_of(scalars, st.lists(scalars, max_size=2), st.dictionaries(st.text(max_size=1), scalars, max_size=2))
    )
)
def test_unique_leaves_out_what_an_earlier_one_equals(elements: list[Any]) -> None:
    """As comparing each with each would."""
    expected: list[Any] = []
    for element in elements:
        if not any(_equal(element, other) for other in expected):
            expected.append(element)
    assert repr(unique(elements)) == repr(expected)


@given(st.lists(st.one_of(st.integers(-(2**60), 2**60), st.floats(-1e200, 1e200))))
def test_a_sum_is_rounded_once(terms: list[Any]) -> None:
    """The nearest float to the exact sum of the terms, whichever Python runs."""
    if float in map(type, terms):
        assert sum_of(terms) == float(sum(map(Fraction, map(float, terms))))
    else:
        assert sum_of(terms) == sum(terms)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers()).map(list)), st.booleans())
def test_equal_elements_keep_their_order(elements: list[Any], descending: bool) -> None:
    """Also where the order is descending."""
    assert sort(elements, descending) == sorted(elements, key=lambda one: -one[0] if descending else one[0])
    assert flatten([[each] for each in elements]) == elements


def test_thousands_of_numbers_with_one_hash_are_no_trap() -> None:
    """Python's own dict would compare each with each: half a second for ten thousand."""
    same = [k * (2**61 - 1) for k in range(MAX_ELEMENTS)]
    assert len({hash(each) for each in same}) == 1
    assert unique(same) == same
    assert math.isfinite(float(same[-1]))
