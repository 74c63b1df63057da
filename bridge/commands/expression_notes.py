"""The notes of `check` on expressions: calls that are allowed, and mean less, or more, than their words say."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from bridge.config import Config, Route
from bridge.config.dollar import is_expression, texts
from bridge.errors import Diagnostic, KeyPath
from bridge.routing.expressions.syntax import tree_of

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


class Written(NamedTuple):
    """An expression of a configuration: whose it is, its place, and how many characters stand before it there.

    `route` is None for the key of a source.
    """

    owner: str
    source: str
    route: Route | None
    path: KeyPath
    text: str
    prefix: int


def expressions_of(loaded: Config) -> Iterator[Written]:
    """Yield every expression of a configuration without mistakes."""
    for name, source in loaded.sources.items():
        key = getattr(getattr(source, "deduplicate", None), "key", None)
        if isinstance(key, str):
            yield Written(f"sources.{name}", name, None, ("sources", name, "deduplicate", "key"), key[1:], 1)
    for index, route in enumerate(loaded.routes):
        owner = f"route {route.name}"
        if route.when is not None:
            yield Written(owner, route.source, route, ("routes", index, "when"), route.when, 0)
        for path, text in texts(("routes", index), route):
            if is_expression(text) and path[2] not in _LITERALS:
                yield Written(owner, route.source, route, path, text[1:], 1)


def expression_notes(loaded: Config) -> Iterator[Diagnostic]:
    """Yield every note on the calls in expressions."""
    for written in expressions_of(loaded):
        yield from _notes(written.owner, written.path, written.text)


def _notes(owner: str, path: KeyPath, text: str) -> Iterator[Diagnostic]:
    if not _CALL.search(text):
        return
    called = {
        node.func.id
        for node in ast.walk(tree_of(text))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and len(node.args) == 1
        and not (node.func.id == "bool" and isinstance(node.args[0], _CONDITIONS))
    }
    for name, note in _NOTES.items():
        if name in called:
            yield Diagnostic(path, f"{owner}: {note}")
