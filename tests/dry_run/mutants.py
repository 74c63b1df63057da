"""Mutants of a configuration's routes: each has one operator or one literal changed."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from bridge.config.wording import spell_path

_OPERATORS: Final[dict[type[ast.AST], type[ast.AST]]] = {
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
}
#: Parts of a route whose text is an expression only behind `$`.
_VALUES: Final = (
    *("args", "kwargs", "options", "delay"),
    *("foreach", "eta", "then", "queue_by", "actor", "queue", "deduplicate"),
)
#: Bounds, which no event of a test needs to reach.
_BOUNDS: Final = frozenset({"foreach_limit", "allow"})
#: The keys of a table of which a lookup depends; and those of a schema on which no payload does.
_OF_TABLES: Final = {"key", "value", "delimiter"}
#: The keys of a source on which its payload depends, with other values of each.
_OF_BODIES: Final[dict[str, tuple[object, ...]]] = {
    "decode": ("json", "text", "bytes"),
    "charset": ("utf-8", "iso-8859-1", "utf-16"),
    "content_encoding": ("none", "zstd"),
    "lenient": (False, True),
    "empty": ("dead-letter", "as-null", "drop"),
}
_ANNOTATIONS: Final = frozenset({"$schema", "$id", "$comment", "title", "description", "examples", "default"})


@dataclass(frozen=True, slots=True)
class Mutant:
    """A whole configuration with one change, and words for it."""

    change: str
    config: dict[str, Any]


def mutants(config: dict[str, Any]) -> Iterator[Mutant]:
    """Yield every mutant of the routes, tables and bodies; those that differ only in a name of the route are none."""
    for index, route in enumerate(config["routes"]):
        for path, value in _scalars((), route):
            # How long a key is remembered, no test of one event can tell.
            if path[0] in {"name", "from"}.union(_BOUNDS) or path == ("deduplicate", "within"):
                continue
            if path[0] == "validate" and not _ANNOTATIONS.isdisjoint(path):
                continue
            for changed in _changed(path, value):
                yield _mutant(config, ("routes", index, *path), value, changed)
    for name, table in config.get("tables", {}).items():
        for key in _OF_TABLES & table.keys():
            yield _mutant(
                config, ("tables", name, key), table[key], f"{table[key]}x"[-1 if key == "delimiter" else 0 :]
            )
    for name, source in config["sources"].items():
        for key in _OF_BODIES.keys() & source.keys():
            for changed in _OF_BODIES[key]:
                if changed != source[key]:
                    yield _mutant(config, ("sources", name, key), source[key], changed)


def _mutant(config: dict[str, Any], path: tuple[Any, ...], value: Any, changed: Any) -> Mutant:
    mutant = copy.deepcopy(config)
    inside: Any = mutant
    for step in path[:-1]:
        inside = inside[step]
    inside[path[-1]] = changed
    return Mutant(f"{spell_path(path)}: {value!r} -> {changed!r}", mutant)


def _scalars(path: tuple[Any, ...], value: Any) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _scalars((*path, key), item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _scalars((*path, index), item)
    else:
        yield path, value


def _changed(path: tuple[Any, ...], value: Any) -> Iterator[Any]:
    if path[0] == "when":
        yield from _expressions(str(value))
    elif path[0] == "topic":
        yield from _topics(str(value))
    elif isinstance(value, str) and value.startswith("$") and path[0] in _VALUES:
        # What separates the parts of a key, no test can tell either.
        yield from (f"${text}" for text in _expressions(value[1:], texts=path[0] != "deduplicate"))
    elif path[0] == "decode":
        yield from {"text", "json", "bytes"} - {value}
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, (int, float)):
        yield value + 1
    elif isinstance(value, str):
        yield _text(value)


def _text(value: str) -> str:
    """Return another text of the same kind: a duration stays one."""
    number = value.rstrip("hmsd")
    return f"{int(number) + 1}{value[len(number) :]}" if number.isdecimal() and number != value else f"{value}x"


def _topics(topic: str) -> Iterator[str]:
    separator = "/" if "/" in topic else "."
    levels = topic.split(separator)
    for index, level in enumerate(levels):
        if level[:1].isalnum():
            yield separator.join([*levels[:index], f"{level}x", *levels[index + 1 :]])


def _expressions(text: str, *, texts: bool = True) -> Iterator[str]:
    """Yield the expression with each operator and each literal changed, one at a time, as Python writes it."""
    text = f"({text})"  # it may have several lines
    count = len(list(ast.walk(ast.parse(text, mode="eval"))))
    for number in range(count):
        tree = ast.parse(text, mode="eval")
        node = list(ast.walk(tree))[number]
        if not texts and isinstance(node, ast.Constant) and isinstance(node.value, str):
            continue
        if _mutate(node):
            yield ast.unparse(tree)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield ast.unparse(_Without(node).visit(tree))


class _Without(ast.NodeTransformer):
    """Takes one `not` away."""

    def __init__(self, gone: ast.UnaryOp) -> None:
        self._gone = gone

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        return node.operand if node is self._gone else self.generic_visit(node)


def _mutate(node: ast.AST) -> bool:
    if isinstance(node, ast.Compare):
        other = _OPERATORS.get(type(node.ops[0]))
        if other is not None:
            node.ops[0] = other()  # type: ignore[call-overload]
        return other is not None
    if isinstance(node, (ast.BoolOp, ast.BinOp)):
        other = _OPERATORS.get(type(node.op))
        if other is not None:
            node.op = other()  # type: ignore[assignment]
        return other is not None
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        node.value = not node.value if isinstance(node.value, bool) else node.value + 1
        return True
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        node.value += "x"
        return True
    if isinstance(node, ast.Attribute):
        node.attr += "x"
        return True
    return False
