"""The notes of `check` on expressions: calls that are allowed, and mean less, or more, than their words say."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final

from bridge.config import Config, Route
from bridge.config.dollar import is_expression, texts
from bridge.errors import Diagnostic, KeyPath

_CALL: Final = re.compile(r"\b(?:bool|timestamp)\s*\(")
_NOTES: Final = {
    "bool": 'bool(x) reads a text: "false" is false, and a text that says neither is an error, as null is',
    "timestamp": "timestamp(x) of a text without an offset is an error:"
    ' write timestamp(x, "iso", "Europe/Berlin"), or timestamp(x, "iso") if each text has one',
}
#: Parts of a route that are never expressions, whatever they begin with: `$SYS/...` is a topic.
_LITERALS: Final = frozenset({"name", "source", "topic", "validation"})
#: Arguments of `bool` that are true or false themselves.
_CONDITIONS: Final = (ast.Compare, ast.Constant)


def expression_notes(loaded: Config) -> Iterator[Diagnostic]:
    """Yield every note on the expressions of a configuration without mistakes."""
    for name, source in loaded.sources.items():
        key = getattr(getattr(source, "deduplicate", None), "key", None)
        if isinstance(key, str):
            yield from _notes(f"sources.{name}", ("sources", name, "deduplicate", "key"), key[1:])
    for index, route in enumerate(loaded.routes):
        if route.when is not None:
            yield from _notes(f"route {route.name}", ("routes", index, "when"), route.when)
        for path, text in values(("routes", index), route):
            yield from _notes(f"route {route.name}", path, text)


def values(path: KeyPath, route: Route) -> Iterator[tuple[KeyPath, str]]:
    """Yield each expression of the route at `path` but `when`, without its `$`."""
    for below, text in texts(path, route):
        if is_expression(text) and below[2] not in _LITERALS:
            yield below, text[1:]


def _notes(owner: str, path: KeyPath, text: str) -> Iterator[Diagnostic]:
    if not _CALL.search(text):
        return
    called = {
        node.func.id
        for node in ast.walk(ast.parse(f"[{text}\n]", mode="eval"))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and len(node.args) == 1
        and not (node.func.id == "bool" and isinstance(node.args[0], _CONDITIONS))
    }
    for name, note in _NOTES.items():
        if name in called:
            yield Diagnostic(path, f"{owner}: {note}")
