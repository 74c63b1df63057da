"""Calls, rewritten: the function that is meant, its arguments, and those of them that are checked at load."""

from __future__ import annotations

import ast
from collections.abc import Collection
from typing import Any

from bridge.config.wording import near_miss, quoted
from bridge.routing.expressions.fstrings import path_of
from bridge.routing.expressions.functions import FUNCTIONS
from bridge.routing.expressions.hints import FOREIGN_FUNCTIONS, METHODS, SIMILARITY
from bridge.routing.expressions.loops import TAKE_LOOPS, call
from bridge.routing.expressions.signatures import NOT_CONSTANT
from bridge.routing.expressions.syntax import Text


def function_of(function: ast.expr, text: Text, names: Collection[str]) -> str:
    """Return the name of the function that is called. Raises InvalidValue if there is none."""
    if isinstance(function, ast.Attribute):
        name = METHODS.get(function.attr, function.attr)
        hint = f"write {name}(...)" if name in FUNCTIONS else FOREIGN_FUNCTIONS.get(name.lower(), "")
        if name == "get":
            hint = "write default(payload.field, fallback)"
        raise text.error(function, "a method can't be called in an expression", hint)
    if not isinstance(function, ast.Name):
        raise text.error(function, "only a function can be called in an expression")
    if function.id in FUNCTIONS:
        return function.id
    if function.id in names:
        raise text.error(function, f"{quoted(function.id)} is not a function")
    hint = (
        FOREIGN_FUNCTIONS.get(function.id.lower())
        or near_miss(function.id, FUNCTIONS, SIMILARITY)
        or f"the functions are {', '.join(FUNCTIONS)}"
    )
    raise text.error(function, f"there is no function {quoted(function.id)}", hint)


def arguments_of(name: str, node: ast.Call, text: Text) -> list[ast.expr]:
    """Return the arguments of a call; a comprehension without brackets, which is the only one, is a list."""
    if node.keywords:
        raise text.error(node.keywords[0], "a named argument can't be used in an expression")
    function, count = FUNCTIONS[name], len(node.args)
    most = function.max_args
    if count < function.min_args or (most is not None and count > most):
        least = function.min_args
        wanted = str(most) if most == least else f"{least} {f'to {most}' if most else 'or more'}"
        plural = "" if wanted == "1" else "s"
        raise text.error(node, f"{name}() takes {wanted} argument{plural}, not {count}")
    for loop in node.args:
        if isinstance(loop, ast.GeneratorExp):
            if count > 1 or name not in TAKE_LOOPS:
                raise text.error(loop, "a comprehension without brackets can't stand here", "write it in [ ]")
            return [ast.copy_location(ast.ListComp(loop.elt, loop.generators), loop)]
    return node.args


def constants_of(args: list[ast.expr]) -> list[Any]:
    """Return the values of rewritten arguments, NOT_CONSTANT for each that only an event can tell."""
    return [arg.value if isinstance(arg, ast.Constant) else NOT_CONSTANT for arg in args]


def check_constants(name: str, values: list[Any], node: ast.Call, written: list[ast.expr], text: Text) -> None:
    """Check the `values` of a call's arguments, which are `written` so, as far as the function says how.

    Raises:
        InvalidValue: one can't be used.
    """
    function = FUNCTIONS[name]
    place: ast.expr = node
    try:
        for index, value in enumerate(values):
            place = written[index]
            function.check(name, index, value)
        place = node
        if function.check_all is not None:
            function.check_all(values)
    except (TypeError, ValueError) as error:
        raise text.error(place, str(error)) from error


def lazy_call(name: str, args: list[ast.expr]) -> ast.expr:
    """Return the call of a function that evaluates its arguments by itself."""
    if name == "default":
        return _default(*args)
    if name == "has":
        return _has(*args)
    return _lookup(*args) if name == "lookup" else call(name, *map(_lazy, args))


def _default(value: ast.expr, fallback: ast.expr) -> ast.expr:
    base, keys = path_of(value)
    if base is not None and _harmless(fallback):
        return call("pick", base, fallback, *keys)
    return call("default", _lazy(value), _lazy(fallback))


def _has(value: ast.expr) -> ast.expr:
    base, keys = path_of(value)
    if base is None:
        return call("has", _lazy(value))
    if not keys and not isinstance(base, ast.Name):
        # has(meta.qos): a field of meta is null if, and only if, the protocol does not have it.
        return ast.Compare(base, [ast.IsNot()], [ast.Constant(None)])
    return call("present", base, *keys)


def _lookup(table: ast.expr, key: ast.expr, fallback: ast.expr | None = None) -> ast.expr:
    if fallback is None:
        return call("lookup", table, key)
    if _harmless(fallback):
        return call("lookup_or", table, key, fallback)
    return call("lookup_else", table, key, _lazy(fallback))


def _lazy(node: ast.expr) -> ast.expr:
    return ast.Lambda(ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[]), node)


def _harmless(node: ast.expr) -> bool:
    """Tell whether evaluating `node` cannot fail and costs nothing, so that it need not be lazy."""
    if isinstance(node, ast.List):
        return all(map(_harmless, node.elts))
    return isinstance(node, ast.Constant | ast.Name) or (isinstance(node, ast.Dict) and not node.keys)
