"""F-strings. Those whose fields only read are built by Python itself, in half the time that `text.concat` takes."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Final

from bridge.model.json_limits import is_encodable
from bridge.routing.expressions.loops import Loops
from bridge.routing.expressions.syntax import Text
from bridge.routing.expressions.text import check_spec

#: With at most so many fields, each a part of the event, it is soon enough to measure the whole text.
_MAX_FIELDS: Final = 8


def fstring(node: ast.JoinedStr, text: Text, rewrite: Callable[[ast.expr], ast.expr], loops: Loops) -> ast.expr:
    """Return the safe form of an f-string of the `text` of an expression."""
    parts = [_part(part, text, rewrite, loops) for part in node.values]
    if all(isinstance(part, ast.Constant) for part in parts):
        return ast.Constant("".join(part.value for part in parts))  # type: ignore[attr-defined]
    if not loops.is_metered and loops.takes_assignments and (built := _native(parts)):
        return built
    return loops.call("concat", *parts)


def _part(part: ast.expr, text: Text, rewrite: Callable[[ast.expr], ast.expr], loops: Loops) -> ast.expr:
    if not isinstance(part, ast.FormattedValue):
        return rewrite(part)
    value = rewrite(part.value)
    spec = _constant_text(part.format_spec)
    try:
        check_spec(spec)
    except ValueError as error:
        raise text.error(part.value, str(error)) from None
    # Without a format `concat` makes a text of the value; a constant field must not look like a literal part.
    if part.conversion != -1 or (not spec and isinstance(value, ast.Constant)):
        value = loops.call("str", value)
    return loops.call("format", value, ast.Constant(spec)) if spec else value


def _constant_text(node: ast.expr | None) -> str | None:
    """Return the constant text of a format, or None if it is not constant."""
    if node is None:
        return ""
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    texts = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    return "".join(texts) if len(texts) == len(parts) and all(map(is_encodable, texts)) else None


def _native(parts: list[ast.expr]) -> ast.expr | None:
    """Return the f-string of constants and fields, or None if it has to be measured while it is built.

    A field becomes `{_0 if _class(_0 := field) is _text else _str(_0)}`: text as it is, anything else by the rules of
    `str()`.
    """
    fields = [part for part in parts if not isinstance(part, ast.Constant)]
    if len(fields) > _MAX_FIELDS or any(path_of(field)[0] is None for field in fields):
        return None
    text = ast.JoinedStr([part if isinstance(part, ast.Constant) else _field(part) for part in parts])
    return ast.Call(_read("_fstring"), [text], [])


def path_of(node: ast.expr) -> tuple[ast.expr | None, list[ast.expr]]:
    """Split `payload["a"][0]` into its base, which cannot fail, and its constant keys; None for anything else."""
    keys: list[ast.expr] = []
    while isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        keys.append(node.slice)
        node = node.value
    of_meta = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    return (node if of_meta or isinstance(node, ast.Name) else None), keys[::-1]


def _field(value: ast.expr) -> ast.FormattedValue:
    kind = ast.Call(_read("_class"), [ast.NamedExpr(ast.Name("_0", ast.Store()), value)], [])
    is_text = ast.Compare(kind, [ast.Is()], [_read("_text")])
    return ast.FormattedValue(ast.IfExp(is_text, _read("_0"), ast.Call(_read("_str"), [_read("_0")], [])), -1)


def _read(name: str) -> ast.Name:
    return ast.Name(name, ast.Load())
