"""The kinds of values that an expression can give, as far as its outermost part says: known before any event comes."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from bridge.config.wording import describe
from bridge.routing.expressions.syntax import tree_of

TEXT, NUMBER, BOOLEAN, NULL, LIST, MAPPING = map(describe, ("", 0, True, None, [], {}))

#: A field, as most expressions are or begin: of these nothing is known, and nothing has to be parsed again.
_FIELD: Final = re.compile(r"payload[\w.]*")
#: The functions that give values of one kind.
_OF_KIND: Final[Mapping[str, tuple[str, ...]]] = {
    BOOLEAN: ("has", "bool", "starts_with", "ends_with", "matches", "any", "all"),
    TEXT: (
        *("type", "str", "lower", "upper", "strip", "replace", "join", "decimal", "format_time", "to_json", "base64"),
        *("base64_decode", "hex", "url_encode", "url_decode", "sha256", "md5", "sha1", "hmac", "uuid5"),
    ),
    NUMBER: (
        *("len", "int", "float", "round", "abs", "sum", "cents", "bucket"),
        *("now", "timestamp", "day_at", "weekday"),
    ),
    LIST: ("split", "keys", "values", "items", "sort", "unique", "flatten"),
    MAPPING: ("merge", "without"),
}
#: The kinds that each function gives, of those that are known.
GIVES: Final[Mapping[str, frozenset[str]]] = {
    **{name: frozenset({kind}) for kind, names in _OF_KIND.items() for name in names},
    "capture": frozenset({TEXT, LIST, NULL}),
    "min": frozenset({NUMBER, TEXT}),
    "max": frozenset({NUMBER, TEXT}),
}
#: Functions that give one of their arguments.
_CHOOSERS: Final = frozenset({"default", "catch"})
_NAMES: Final = {
    "topic": TEXT,
    "source": TEXT,
    "received_at": NUMBER,
    "index": NUMBER,
    "headers": MAPPING,
    "true": BOOLEAN,
    "false": BOOLEAN,
    "null": NULL,
}
_NODES: Final[Mapping[type[ast.expr], str]] = {
    ast.Compare: BOOLEAN,
    ast.BinOp: NUMBER,
    ast.JoinedStr: TEXT,
    ast.List: LIST,
    ast.Tuple: LIST,
    ast.ListComp: LIST,
    ast.Dict: MAPPING,
    ast.DictComp: MAPPING,
}


def kinds(text: str, captures: Collection[str] = ()) -> frozenset[str] | None:
    """Return the kinds of values that a valid expression can give, None if they are not known.

    `captures` are names that are always text.
    """
    return None if _FIELD.fullmatch(text) else _kinds(tree_of(text), captures)


def constant_kind(text: str) -> str:
    """Return the kind of a valid expression that is written out, so that it is the same for every event; "" of others."""
    if _FIELD.match(text):
        return ""
    tree = tree_of(text)
    if isinstance(tree, ast.JoinedStr):
        return TEXT if any(isinstance(part, ast.Constant) for part in tree.values) else ""
    is_filled = isinstance(tree, ast.Constant) or bool(getattr(tree, "elts", None) or getattr(tree, "keys", None))
    found = _kinds(tree, ()) if is_filled or (isinstance(tree, ast.Name) and tree.id == "null") else None
    return next(iter(found or ()), "")


def _kinds(node: ast.expr, captures: Collection[str]) -> frozenset[str] | None:
    known = _NODES.get(type(node))
    if known is not None:
        return frozenset({known})
    if isinstance(node, ast.Constant):
        return frozenset({describe(node.value)})
    if isinstance(node, ast.Name):
        name = TEXT if node.id in captures else _NAMES.get(node.id)
        return None if name is None else frozenset({name})
    if isinstance(node, ast.UnaryOp):
        return frozenset({BOOLEAN if isinstance(node.op, ast.Not) else NUMBER})
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice):
        return frozenset({TEXT, LIST})
    if isinstance(node, ast.BoolOp):
        return _together(node.values, captures)
    if isinstance(node, ast.IfExp):
        return _together((node.body, node.orelse), captures)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id in _CHOOSERS:
            return _together(node.args, captures)
        return GIVES.get(node.func.id)
    return None


def _together(nodes: Iterable[ast.expr], captures: Collection[str]) -> frozenset[str] | None:
    """Return the kinds of all the values; None if those of one are not known."""
    every: frozenset[str] = frozenset()
    for node in nodes:
        found = _kinds(node, captures)
        if found is None:
            return None
        every |= found
    return every
