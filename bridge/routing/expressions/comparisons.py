"""Comparisons, rewritten: as Python's own wherever they can be, otherwise as calls of `equality.py`.

No boolean equals a text, null, or a number other than 0 and 1 anyway. `x == true` is emitted as `is`.
"""

from __future__ import annotations

import ast
from typing import Final

from bridge.routing.expressions.loops import CALL, Loops, call

_ZERO_OR_ONE: Final = (0, 1)
#: What the function of `==` weighs, beside Python's own operator.
_EQUAL: Final = 10
_NUMBERS: Final = frozenset({bool, int, float})


def compare(left: ast.expr, ops: list[ast.cmpop], right: list[ast.expr], loops: Loops) -> ast.expr:
    """Return the comparison of rewritten values; in a loop it pays for their size, unless a side is written out."""
    lefts = [left, *right]
    native = [_native(*link) for link in zip(ops, lefts, right, strict=False)]
    if None in native or (loops.is_metered and any(map(_pays, ops, lefts, right))):
        return _chain(left, ops, right, loops)
    return ast.Compare(left, [op for op in native if op is not None], right)


def _chain(left: ast.expr, ops: list[ast.cmpop], right: list[ast.expr], loops: Loops) -> ast.expr:
    """Return `a < b < c` in links: each side is evaluated once, and one behind a false link never."""
    if len(ops) == 1:
        return _link(ops[0], left, right[0], loops)
    names = ("_left", "_right")
    sides = [
        side if isinstance(side, ast.Constant) else ast.Name(name, ast.Load())
        for name, side in zip(names, (left, right[0]), strict=True)
    ]
    tests = [_link(ops[0], sides[0], sides[1], loops), _chain(sides[1], ops[1:], right[1:], loops)]
    parameters = ast.arguments(
        posonlyargs=[], args=[ast.arg(name) for name in names], kwonlyargs=[], kw_defaults=[], defaults=[]
    )
    loops.add(CALL)
    return ast.Call(ast.Lambda(parameters, ast.BoolOp(ast.And(), tests)), [left, right[0]], [])


def _link(op: ast.cmpop, left: ast.expr, right: ast.expr, loops: Loops) -> ast.expr:
    native, pays = _native(op, left, right), loops.is_metered and _pays(op, left, right)
    if pays:
        loops.add(CALL)
    if isinstance(op, ast.In | ast.NotIn) and (native is None or pays):
        found = loops.purse_call("found", left, right) if pays else call("in", left, right)
        return found if isinstance(op, ast.In) else ast.UnaryOp(ast.Not(), found)
    if native is not None:
        if pays:
            left, right = loops.purse_call("paid", left), loops.purse_call("paid", right)
        return ast.Compare(left, [native], [right])
    loops.add(_EQUAL)
    equal_sides = (
        loops.purse_call("metered", ast.Name("_eq", ast.Load()), left, right) if pays else call("eq", left, right)
    )
    return equal_sides if isinstance(op, ast.Eq) else ast.UnaryOp(ast.Not(), equal_sides)


def _native(op: ast.cmpop, left: ast.expr, right: ast.expr) -> ast.cmpop | None:
    """Return Python's operator that does the same; None if none does."""
    if isinstance(op, ast.Eq | ast.NotEq):
        values = [side for side in (left, right) if is_literal(side)]
        if len(values) == 1 and isinstance(values[0], ast.Constant) and type(values[0].value) is bool:
            return ast.Is() if isinstance(op, ast.Eq) else ast.IsNot()
        return op if values and not any(map(_may_equal_boolean, values)) else None
    if isinstance(op, ast.In | ast.NotIn):
        if isinstance(right, ast.List):
            return None if any(not is_literal(each) or _may_equal_boolean(each) for each in right.elts) else op
        return op if is_literal(right) or (is_literal(left) and not _may_equal_boolean(left)) else None
    return op


def _pays(op: ast.cmpop, left: ast.expr, right: ast.expr) -> bool:
    """Whether a comparison can take long: its cost is that of values that only the event knows."""
    if isinstance(op, ast.Is | ast.IsNot):
        return False
    return not is_literal(right) and (isinstance(op, ast.In | ast.NotIn) or not is_literal(left))


def is_literal(node: ast.expr) -> bool:
    """Whether a rewritten value is written out."""
    if isinstance(node, ast.List):
        return all(map(is_literal, node.elts))
    if isinstance(node, ast.Dict):
        return all(isinstance(key, ast.Constant) for key in node.keys) and all(map(is_literal, node.values))
    return isinstance(node, ast.Constant)


def _may_equal_boolean(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) in _NUMBERS and node.value in _ZERO_OR_ONE
