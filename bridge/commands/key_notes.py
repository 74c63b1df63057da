"""The note of `check` on a key of `deduplicate` that holds a redacted field: Redis has it as the name of a key, as it is."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from bridge.commands.expression_notes import Written, expressions_of
from bridge.config import Config
from bridge.errors import Diagnostic
from bridge.routing.expressions.syntax import tree_of

#: Functions whose result does not tell their argument.
_HIDING: Final = frozenset({"sha256", "sha1", "md5", "hmac", "uuid5", "bucket", "has", "len", "type"})
_Path = tuple[str, ...]


def key_notes(loaded: Config) -> Iterator[Diagnostic]:
    """Yield one note for each key in which a field of `dead_letters.redact` can be read."""
    redact = [tuple(path.split(".")) for path in loaded.dead_letters.redact]
    if not redact:
        return
    for written in expressions_of(loaded):
        if written.path[-2:] != ("deduplicate", "key"):
            continue
        fields = _fields(tree_of(written.text), _list_of(written))
        shown = (one for field in fields for one in redact if field[: len(one)] == one[: len(field)])
        if (hidden := next(shown, None)) is not None:
            note = (
                f"Redis keeps this key as it is, and with it {'.'.join(hidden)}, which dead_letters.redact leaves out"
            )
            yield Diagnostic(written.path, f"{written.owner}: {note}; write $sha256(...) around a text")


def _list_of(written: Written) -> _Path:
    """Return the field whose elements are `item` in an expression; () if there is none."""
    foreach = None if written.route is None else written.route.foreach
    return () if foreach is None else next(_fields(tree_of(foreach[1:]), ()), ())


def _fields(node: ast.AST, item: _Path) -> Iterator[_Path]:
    """Yield the names of each field that an expression gives a part of; `item` is the field of its list."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _HIDING:
        return
    names: list[str] = []
    inner = node
    while isinstance(inner, (ast.Attribute, ast.Subscript)):
        if isinstance(inner, ast.Attribute):
            names.insert(0, inner.attr)
        elif isinstance(inner.slice, ast.Constant) and isinstance(inner.slice.value, str):
            names[:0] = inner.slice.value.split(".")
        inner = inner.value
    if isinstance(inner, ast.Name):
        root = item if inner.id == "item" else (inner.id,)
        if root[:1] in {("payload",), ("headers",), ("meta",)}:
            yield (*root, *([name.lower() for name in names] if root == ("headers",) else names))
        return
    for child in ast.iter_child_nodes(node):
        yield from _fields(child, item)
