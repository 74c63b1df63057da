"""Expressions that are also Python are computed as Python computes them."""

from __future__ import annotations

import ast
import json
import operator
from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bridge.errors import InvalidValue
from bridge.routing.expressions import NAMES, parse
from tests.support.evaluation import evaluate, failure


class Mapping(dict[str, Any]):
    """A payload for Python's own eval: `x.name` reads a key."""

    def __getattr__(self, name: str) -> object:
        """Read a key as an attribute."""
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


def wrap(value: object) -> object:
    """Make every mapping of a payload readable by attribute."""
    if isinstance(value, dict):
        return Mapping({key: wrap(item) for key, item in value.items()})
    return [wrap(item) for item in value] if isinstance(value, list) else value


numbers = st.one_of(
    st.integers(-(2**60), 2**60),
    st.integers(-9, 9),
    st.floats(-1e6, 1e6),
    st.floats(allow_nan=False, allow_infinity=False),
)
texts = st.text(st.characters(codec="utf-8"), max_size=6)
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
payloads = st.fixed_dictionaries(
    {"n": numbers, "m": st.one_of(numbers, st.none()), "s": texts, "t": texts, "b": st.booleans()},
    optional={
        "o": st.dictionaries(st.sampled_from(["a", "n", "s"]), scalars, max_size=3),
        "l": st.lists(scalars, max_size=4),
        "nl": st.lists(numbers, min_size=1, max_size=4),
        "sl": st.lists(texts, max_size=4),
        "any": st.recursive(scalars, lambda inner: st.lists(inner, max_size=3), max_leaves=5),
    },
)
fields = [f"payload.{name}" for name in ("n", "m", "s", "t", "b", "o", "o.a", "o.n", "l", "l[0]", "l[-1]", "any", "zz")]
numeric = st.recursive(
    st.one_of(
        st.sampled_from(
            ["payload.n", "payload.m", "payload.nl[0]", "len(payload.s)", "float(payload.n)", "max(payload.nl)"]
        ),
        st.integers(0, 2**40).map(str),
        st.floats(0, 1e9).map(repr),
    ),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "//", "%"]), inner).map(lambda x: f"({' '.join(x)})"),
        st.tuples(inner, st.integers(-4, 4)).map(lambda x: f"({x[0]} ** {x[1]})"),
        inner.map(lambda x: f"(-{x})"),
        inner.map(lambda x: f"abs({x})"),
        inner.map(lambda x: f"round({x}, 2)"),
        st.tuples(inner, inner).map(lambda x: f"min({x[0]}, {x[1]})"),
        inner.map(lambda x: f"int({x})"),
    ),
    max_leaves=4,
)
anything = st.recursive(
    st.one_of(
        numeric,
        st.sampled_from(fields),
        texts.map(lambda text: json.dumps(text, ensure_ascii=True).replace("\\ud", "d")),
        st.sampled_from(["None", "True", "False", "'a'", '"s"', "0", "[]", "{}"]),
    ),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "in", "and", "or", "not in"]), inner).map(
            lambda x: f"({' '.join(x)})"
        ),
        st.tuples(inner, inner, inner).map(lambda x: f"({x[0]} if {x[1]} else {x[2]})"),
        st.tuples(inner, inner, inner).map(lambda x: f"({x[0]} <= {x[1]} != {x[2]})"),
        inner.map(lambda x: f"(not {x})"),
        st.lists(inner, max_size=3).map(lambda x: f"[{', '.join(x)}]"),
        inner.map(lambda x: f'{{"k": {x}, payload.s: 1}}'),
        # Of anything else `bool` is stricter, and `str` and f-strings write JSON.
        st.sampled_from(fields[2:4]).map(lambda x: f'f"a {{{x}}} {{{x}!s:>9}} b"'),
        st.sampled_from(fields[2:4]).map(lambda x: f"str({x})"),
        numeric.map(lambda x: f"bool({x})"),
        st.tuples(inner, st.sampled_from(fields), inner).map(lambda x: f"[[{x[0]}, i] for i in {x[1]} if {x[2]}]"),
        st.tuples(inner, st.sampled_from(fields)).map(lambda x: f"len([i == payload.n != {x[0]} for i in {x[1]}])"),
        st.tuples(
            st.sampled_from(fields), st.sampled_from(["1:", ":1", "-2:", ":", "payload.n:", "0:len(payload.s)"])
        ).map(lambda x: f"{x[0]}[{x[1]}]"),
        st.sampled_from(fields).map(lambda x: f"len({x})"),
    ),
    max_leaves=5,
)


class JsonEquality(ast.NodeTransformer):
    """Makes Python compare as JSON does: the comparisons become calls, which evaluate their sides one by one."""

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        """Rewrite one comparison."""
        self.generic_visit(node)
        sides = ", ".join(f"lambda: ({ast.unparse(side)})" for side in (node.left, *node.comparators))
        return ast.parse(f"_compare({[type(op).__name__ for op in node.ops]}, [{sides}])", mode="eval").body

    def visit_comprehension(self, node: ast.comprehension) -> ast.comprehension:
        """Let a loop take a list only: Python's own runs over the letters of a text as well."""
        self.generic_visit(node)
        node.iter = ast.Call(ast.Name("_list", ast.Load()), [node.iter], [])
        return node


def same(left: object, right: object) -> bool:
    """Compare as JSON does."""
    return left == right and isinstance(left, bool) == isinstance(right, bool)


def within(left: object, right: Any) -> bool:
    """Look for a value as JSON does."""
    return left in right and (not isinstance(right, list) or any(same(left, each) for each in right))


OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "Eq": same,
    "NotEq": lambda left, right: not same(left, right),
    "In": within,
    "NotIn": lambda left, right: not within(left, right),
    "Lt": operator.lt,
    "LtE": operator.le,
    "Gt": operator.gt,
    "GtE": operator.ge,
}


def compare(names: list[str], sides: list[Callable[[], Any]]) -> bool:
    """Evaluate one comparison of two or more sides."""
    left = sides[0]()
    for name, side in zip(names, sides[1:], strict=True):
        right = side()
        if not OPERATORS[name](left, right):
            return False
        left = right
    return True


def only_a_list(values: Any) -> Any:
    """Return the list that a loop runs over."""
    if not isinstance(values, list):
        raise TypeError
    return values


PYTHON: dict[str, object] = {
    "_compare": compare,
    "_list": only_a_list,
    "__builtins__": {},
    **{function.__name__: function for function in (len, int, float, str, bool, round, abs, min, max)},
}


def outcome(compute: Callable[[], object]) -> str:
    """Return the value and its type, or that there was an error."""
    try:
        return repr(compute())
    except Exception:  # noqa: BLE001
        return "error"


#: Python would take it, and it is a mistake all the same: a constant beside `and`, text beside `+`, a loop over a literal ...
_MISTAKES: Final = (
    "this side of",
    "arithmetic takes numbers",
    "would hide",
    "nested more than 3 deep",
    "a loop takes a list",
)


def _is_refused(text: str) -> bool:
    try:
        parse(text, NAMES)
    except InvalidValue as error:
        return any(mistake in str(error) for mistake in _MISTAKES)
    return False


@pytest.mark.no_cover  # it takes long enough without the tracer
@settings(max_examples=1500, deadline=None)
@given(anything, payloads)
def test_the_common_subset_is_python(text: str, payload: dict[str, object]) -> None:
    """An expression that is also Python gives exactly the same value, or both give an error."""
    assume(not _is_refused(text))
    ours = outcome(lambda: evaluate(text, payload))
    python = ast.unparse(JsonEquality().visit(ast.parse(text, mode="eval")))
    theirs = outcome(lambda: eval(python, {**PYTHON, "payload": wrap(payload)}))  # noqa: S307
    if ours != theirs:
        # Beyond the bounds of numbers only, ours is an error where Python goes on.
        assert ours == "error"
        problem = failure(text, payload).cause
        assert "larger than 2**256" in problem or "not finite" in problem or "number of more than" in problem, text
