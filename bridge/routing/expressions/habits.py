"""Habits of other languages that mean something else in Python: each is refused, and the message says how to write it."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection
from typing import Final

from bridge.routing.expressions.syntax import Text

#: A path to a field with hyphens, as a user would write one.
_HYPHENATED: Final = re.compile(r"[A-Za-z_]\w*(?:\.\w+(?:-\w+)*)+")


def constant_condition(text: Text, node: ast.BoolOp, value: ast.Constant) -> tuple[str, str]:
    """Return message and hint for a constant side of `and` or `or`, as in `payload.a == "b" or "c"`."""
    word = "and" if isinstance(node.op, ast.And) else "or"
    message = f"this side of {word!r} is always {'true' if value.value else 'false'}"
    first = node.values[0]
    if not isinstance(first, ast.Compare) or not isinstance(first.ops[0], ast.Eq | ast.NotEq):
        return message, "compare it with something, or leave it out"
    texts = [text.written(first.comparators[0]), *map(text.written, node.values[1:])]
    membership = "in" if isinstance(first.ops[0], ast.Eq) else "not in"
    return message, f"write {text.written(first.left)} {membership} [{', '.join(texts)}]"


def filtered_value(text: Text, node: ast.BinOp, functions: Collection[str]) -> str:
    """Return how `value | function` is written here, or "" where the right side is no function."""
    name = node.right.func if isinstance(node.right, ast.Call) else node.right
    if not isinstance(name, ast.Name) or name.id not in functions:
        return ""
    arguments = node.right.args if isinstance(node.right, ast.Call) else []
    return f"{name.id}({', '.join(map(text.written, [node.left, *arguments]))})"


def check_hyphen(text: Text, node: ast.BinOp, names: Collection[str]) -> None:
    """Refuse `payload.a-b`, where `b` is none of the `names`: it is a field with a hyphen."""
    written = text.written(node)
    right = node.right
    while isinstance(right, ast.Attribute):
        right = right.value
    if _HYPHENATED.fullmatch(written) and isinstance(right, ast.Name) and right.id not in names:
        first, *steps = written.split(".")
        field = first + "".join(f'["{step}"]' if "-" in step else f".{step}" for step in steps)
        raise text.error(node, "'-' subtracts here", f"write {field} for a field with a hyphen")
