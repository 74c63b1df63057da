"""The values of a route, expressions and literals, as the syntax trees that its function is made of."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import Any, Final

from bridge.config.dollar import is_expression, literal_text
from bridge.config.expression_traps import REMEDY
from bridge.errors import Diagnostic, InvalidValue, KeyPath
from bridge.routing import expressions
from bridge.routing.expressions import Expression, KnownTables
from bridge.routing.route_function import measuring, placed, repeating

#: The expressions of all routes by text, names, line and `in_loop`: the routes of a fleet have most of them in common.
Parsed = dict[tuple[str, tuple[str, ...], int, bool], Expression]
#: What all elements of `foreach` have in common, and may be large.
_OF_EVENT: Final = frozenset({"payload", "headers", "meta"})


@dataclass(slots=True, eq=False)
class Values:
    """Makes the trees of one route, which stands at `path`; every mistake is appended to `diagnostics`.

    `names` are those that an expression may use from here on, `used` those that one has used. An expression may look up the
    `tables`. Each expression stands on a line of its own; `source_map` maps the line to the place
    in the route and to the expression. `latest` is the expression that was read last, None if it had a mistake. `needs_purse` tells whether one of them has a loop. Once they are `in_loop`,
    each runs once per element of `foreach`, and `weight` adds up the steps that they cost for one element.
    """

    path: KeyPath
    diagnostics: list[Diagnostic]
    parsed: Parsed
    tables: KnownTables
    names: tuple[str, ...] = tuple(expressions.NAMES)
    source_map: dict[int, tuple[str, Expression]] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    latest: Expression | None = None
    needs_purse: bool = False
    in_loop: bool = False
    weight: int = 0
    _has_measured: bool = False
    _line: int = 0

    def expression(self, text: str, place: KeyPath, *, prefix: int) -> ast.expr:
        """Return the tree of an expression, which begins at the character `prefix` of the text at `place`.

        If it has a mistake, that is reported, and the tree is null.
        """
        self._line += 1
        self.latest = None
        key = (text, self.names, self._line, self.in_loop)
        expression = self.parsed.get(key)
        try:
            if expression is None:
                expression = expressions.parse(text, self.names, line=self._line, in_loop=self.in_loop)
                self.parsed[key] = expression
            self.tables.check(expression.tables)
        except InvalidValue as error:
            self.report(place, error, prefix)
            return placed(ast.Constant(None))
        self.latest = expression
        self.source_map[self._line] = (".".join(map(str, place)), expression)
        self.used |= expression.names
        self.needs_purse |= expression.needs_purse
        self.weight += expression.weight if self.in_loop else 0
        return expression.node

    def value(self, value: object, place: KeyPath) -> ast.expr:
        """Return the tree of a value of the file, in which text behind `$` is an expression."""
        if isinstance(value, str):
            if is_expression(value):
                return self._measured(self.expression(value[1:], place, prefix=1))
            return placed(ast.Constant(literal_text(value)))
        if isinstance(value, dict):
            for key in value:
                if key.startswith("$"):
                    problem, remedy = (
                        "a key is text and no expression",
                        f"if this is one expression that holds `: `, {REMEDY}",
                    )
                    self.diagnostics.append(Diagnostic((*self.path, *place, key), problem, remedy, at_key=True))
            keys: list[ast.expr | None] = [placed(ast.Constant(key)) for key in value]
            return placed(ast.Dict(keys, [self.value(item, (*place, key)) for key, item in value.items()]))
        if isinstance(value, list):
            return placed(ast.List([self.value(item, (*place, i)) for i, item in enumerate(value)], ast.Load()))
        return placed(ast.Constant(value))  # type: ignore[arg-type]  # a YAML scalar

    def _measured(self, node: ast.expr) -> ast.expr:
        """Return the tree of the latest expression, whose value is measured if a loop makes it."""
        if self.latest is None:
            return node
        if not self.latest.needs_purse:
            return node if not self.in_loop or self.latest.names.isdisjoint(_OF_EVENT) else repeating(node)
        first, self._has_measured = self.in_loop and not self._has_measured, self.in_loop
        return measuring(node, first=first)

    def report(self, place: KeyPath, error: InvalidValue, prefix: int) -> None:
        """Add the mistakes of a value at `place`, whose offsets count from the character `prefix` of its text."""
        self.diagnostics.extend(diagnostic.below((*self.path, *place), prefix) for diagnostic in error.diagnostics)


def has_expression(value: object) -> bool:
    """Tell whether a value of the file holds an expression."""
    if isinstance(value, str):
        return is_expression(value)
    if isinstance(value, dict):
        return any(map(has_expression, value.values()))
    return isinstance(value, list) and any(map(has_expression, value))


def literal(value: Any) -> Any:
    """Return a value without expressions, with `$$` at the beginning of a string replaced by `$`."""
    if isinstance(value, str):
        return literal_text(value)
    if isinstance(value, dict):
        return {key: literal(item) for key, item in value.items()}
    return [literal(item) for item in value] if isinstance(value, list) else value
