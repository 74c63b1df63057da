"""Bare fields as conditions: `payload.on` is true for every text but "", also for "false" and "off"."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from bridge.routing.expressions.rewriter import Expression

#: The functions behind `default`, whose value is mostly a field's.
_DEFAULTS = frozenset({"_pick", "_default"})


def bare_fields(expression: Expression, *, is_condition: bool) -> Iterator[tuple[str, int]]:
    """Yield each field that is a condition by itself: how it is written, and how many characters stand before it.

    Unless the expression `is_condition` as a whole, only what is behind an `if` or `not` in it is one.
    """
    text = expression.text.encode()
    parts = _parts(expression.node) if is_condition else ()
    nodes = {id(node): node for node in (*parts, *_asked(expression.node))}
    for node in nodes.values():
        if _is_field(node):
            start = node.col_offset
            yield text[start : node.end_col_offset].decode(), len(text[:start].decode())


def _asked(root: ast.AST) -> Iterator[ast.expr]:
    """Yield the conditions of every `if` and `not` below `root`."""
    for node in ast.walk(root):
        tests: list[ast.expr] = []
        if isinstance(node, ast.IfExp):
            tests = [node.test]
        elif isinstance(node, ast.comprehension):
            tests = node.ifs
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            tests = [node.operand]
        for test in tests:
            yield from _parts(test)


def _parts(node: ast.expr) -> Iterator[ast.expr]:
    """Yield the parts of a condition whose truth decides it."""
    if isinstance(node, ast.BoolOp):
        for value in node.values:
            yield from _parts(value)
    elif isinstance(node, ast.IfExp):
        yield from (*_parts(node.body), *_parts(node.orelse))
    else:
        yield node


def _is_field(node: ast.expr) -> bool:
    """Whether a node reads a field that can be of any type; those of `meta` are of a known one."""
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in _DEFAULTS
    return isinstance(node, ast.Subscript | ast.Name)
