"""The function of a route: its expressions, and the call that builds its message, compiled into one."""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from bridge.routing.expressions import PURSE, RUNTIME, STEPS, Expression
from bridge.routing.expressions.loops import call
from bridge.routing.expressions.purse import Purse
from bridge.routing.expressions.syntax import place_missing
from bridge.routing.foreach import Foreach

_SKELETON: Final = """
def route(_event, payload, _captures, _ids):
    topic = _event.topic
    source = _event.source
    received_at = _event.received_at_ms
    headers, meta = _event.readable_details()
    ({captures}) = _captures
    try:
        if not 0:
            return None
    except (_KeyError, _IndexError):
        return None
    return _build()
"""
_GUARD, _RESULT = -2, -1
#: The name of a function that takes and returns each value which is asked whether it is null, true or false.
ASKED: Final = "_asked"
#: The names that each line before the guard defines, without the captures, which are on the last one.
_DEFINED: Final = ({"topic"}, {"source"}, {"received_at"}, {"headers", "meta"})
#: The line of nodes that are no part of an expression: the last one of _SKELETON.
_RESULT_LINE: Final = _SKELETON.count("\n")


def placed(node: ast.expr) -> ast.expr:
    """Return a node with a place: `compile` wants one, and to look for nodes without one takes longer than all the rest."""
    node.lineno = node.end_lineno = _RESULT_LINE
    node.col_offset = node.end_col_offset = 0
    return node


def trace_call() -> ast.expr:
    """Return the call of a `Tracing.writer`."""
    arguments = [placed(ast.Name(name, ast.Load())) for name in ("_event", "payload")]
    return placed(ast.Call(placed(ast.Name("_trace", ast.Load())), arguments, []))


def measuring(value: ast.expr, *, first: bool) -> ast.expr:
    """Return the tree of a value that a loop makes, with the call of `purse.measured` as soon as it is evaluated.

    All values of a message have one bound together; the `first` of them starts the count.
    """
    return _of_purse("measured", value, ast.Constant(first))


def paying(value: ast.expr) -> ast.expr:
    """Return the tree of a value that is evaluated per element and is no part of its message; it pays for its text."""
    return _of_purse("printed", value)


def repeating(value: ast.expr) -> ast.expr:
    """Return the tree of a value that several messages of an event may have; it pays for its numbers."""
    return _of_purse("repeated", value)


def _of_purse(name: str, value: ast.expr, *more: ast.expr) -> ast.expr:
    tree = ast.copy_location(call(name, ast.Name(PURSE, ast.Load()), value, *more), value)
    place_missing(tree)
    return tree


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionTrees:
    """The expressions of one function as trees: its condition, and the values that it gives to `build`.

    `names` are the names that they use, and `captures` those that the topic defines. `steps` is the number of steps that
    their loops may take per event; it is 0 where none has a loop: then no purse is made.
    """

    names: Collection[str]
    captures: Sequence[str] = ()
    when: ast.expr | None = None
    values: Sequence[ast.expr]
    steps: int = 0


def compile_function(
    trees: FunctionTrees,
    build: Callable[..., Any],
    filename: str,
    *,
    functions: Mapping[str, object] = RUNTIME,
    is_plain: bool = True,
    foreach: Foreach | None = None,
) -> Callable[..., Any]:
    """Return the function of a route.

    It takes an event, its payload, the captures' values and the batch's MessageIds. It returns None if `when` is false,
    otherwise the result of `build`, called with the values of the trees and, after the first two of them, the MessageIds.
    Unless it `is_plain`, it returns a list: of one result, or with `foreach` of one result per element.

    `functions` are the globals that the expressions can reach, and maybe ASKED.
    """
    module, statements = _skeleton(tuple(trees.captures))
    function, guard, result = module.body[0], statements[_GUARD], statements[_RESULT]
    assert isinstance(function, ast.FunctionDef)  # noqa: S101 - _SKELETON defines it
    assert isinstance(guard, ast.Try)  # noqa: S101
    assert isinstance(result, ast.Return)  # noqa: S101
    assert isinstance(result.value, ast.Call)  # noqa: S101
    result.value.args = [*trees.values[:2], placed(ast.Name("_ids", ast.Load())), *trees.values[2:]]
    scope: dict[str, object] = {**functions, "_KeyError": KeyError, "_IndexError": IndexError, "_build": build}
    defined = zip(statements[:_GUARD], (*_DEFINED, trees.captures), strict=True)
    function.body = [line for line, names in defined if not set(trees.names).isdisjoint(names)]
    if trees.when is not None:
        guard.body[0].test.operand = trees.when  # type: ignore[attr-defined]
        function.body.append(guard)
    if foreach is not None:
        function.body += foreach.statements(result.value)
        scope |= foreach.scope
    elif is_plain:
        function.body.append(result)
    else:
        function.body.append(_placed_statement(ast.Return(placed(ast.List([result.value], ast.Load())))))
    if trees.steps:
        function.body.insert(0, _make_purse(trees.steps))
        scope["_Purse"] = Purse
    if ASKED in functions:
        _ask(module)
    exec(compile(module, filename, "exec"), scope)  # noqa: S102 - the tree was checked node by node
    return scope["route"]  # type: ignore[return-value]


def compile_value(
    expression: Expression,
    filename: str,
    functions: Mapping[str, object] = RUNTIME,
    *,
    captures: Sequence[str] = (),
    part: ast.expr | None = None,
) -> Callable[..., Any]:
    """Return a function that evaluates only one expression, or one `part` of it; it takes the arguments of `Route.run`."""
    trees = FunctionTrees(
        names=expression.names,
        captures=captures,
        values=[expression.node if part is None else part],
        steps=STEPS if expression.needs_purse else 0,
    )
    return compile_function(trees, lambda value, _ids: value, filename, functions=functions)


def _ask(module: ast.Module) -> None:
    """Let each value whose identity is asked for pass through the function ASKED: no object notices that itself."""
    for node in ast.walk(module):
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Is | ast.IsNot):
            node.left = ast.copy_location(ast.Call(ast.Name(ASKED, ast.Load()), [node.left], []), node.left)
            place_missing(node.left)


def _make_purse(steps: int) -> ast.stmt:
    """Return the statement that gives the function of a route the purse of one event."""
    made = placed(ast.Call(placed(ast.Name("_Purse", ast.Load())), [placed(ast.Constant(steps))], []))
    return _placed_statement(ast.Assign([placed(ast.Name(PURSE, ast.Store()))], made))


def _placed_statement(node: ast.stmt) -> ast.stmt:
    node.lineno = node.end_lineno = _RESULT_LINE
    node.col_offset = node.end_col_offset = 0
    return node


@lru_cache(maxsize=16)
def _skeleton(captures: tuple[str, ...]) -> tuple[ast.Module, list[ast.stmt]]:
    """Return the tree of _SKELETON, which the next route changes again, and the statements of its function."""
    module = ast.parse(_SKELETON.format(captures="".join(f"{name}, " for name in captures)))
    function = module.body[0]
    assert isinstance(function, ast.FunctionDef)  # noqa: S101 - _SKELETON defines it
    return module, function.body
