"""Expressions in tests: compiled as a route compiles them, and evaluated on one event."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from bridge.errors import Diagnostic, InvalidValue
from bridge.routing.expressions import (
    NAMES,
    PURSE,
    RUNTIME,
    STEPS,
    Expression,
    ExpressionFailure,
    explain_failure,
    is_missing,
    parse,
)
from bridge.routing.expressions.purse import Purse

FILENAME = "<test route>"
CAPTURES = ("oven", "plant")


def build(expression: Expression, functions: Mapping[str, object] = RUNTIME) -> Callable[..., Any]:
    """Make a function of every name from an expression, as a route does."""
    arguments = ast.arguments(
        posonlyargs=[],
        args=[ast.arg(name) for name in (*NAMES, *CAPTURES)],
        kwonlyargs=[],
        kw_defaults=[],
        defaults=[],
    )
    if expression.needs_purse:
        arguments.args.append(ast.arg(PURSE))
    tree = ast.fix_missing_locations(ast.Expression(ast.Lambda(arguments, expression.node)))
    function: Callable[..., Any] = eval(compile(tree, FILENAME, "eval"), dict(functions))  # noqa: S307
    if not expression.needs_purse:
        return function
    return lambda *args, **values: function(*args, **values, **{PURSE: Purse(STEPS)})


def evaluate(text: str, payload: object = None, *, functions: Mapping[str, object] = RUNTIME, **values: object) -> Any:
    """Evaluate an expression on one event."""
    event: dict[str, object] = {
        "payload": payload,
        "topic": "plants/3/ovens/7",
        "headers": {"tenant": "acme"},
        "meta": {"retain": False, "qos": 1},
        "source": "plant",
        "received_at": 1_763_800_000_000,
        "oven": "7",
        "plant": "3",
    }
    return build(parse(text, (*NAMES, *CAPTURES), line=7), functions)(**event | values)


def failure(text: str, payload: object = None) -> ExpressionFailure:
    """Return the explanation of an expression that must fail on `payload`."""
    with pytest.raises(Exception) as caught:  # noqa: PT011
        evaluate(text, payload)
    assert not isinstance(caught.value, InvalidValue)
    explained = explain_failure(caught.value, FILENAME)
    assert explained.missing is is_missing(caught.value)
    return explained


def refusal(text: str) -> Diagnostic:
    """Return the mistake of an expression that must not compile."""
    with pytest.raises(InvalidValue) as caught:
        parse(text, (*NAMES, *CAPTURES))
    (diagnostic,) = caught.value.diagnostics
    assert 0 <= (diagnostic.offset or 0) <= len(text)
    return diagnostic


PAYLOAD: dict[str, object] = {
    "celsius": 300,
    "ratio": 2.5,
    "unit": None,
    "name": "Ofen Süd",
    "tags": ["hot", "loud"],
    "site": {"id": 9, "odd key": 1, "class": "A", "none": None},
    "µs": 4,
    "empty": "",
}
