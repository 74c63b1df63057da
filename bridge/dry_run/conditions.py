"""Why a condition is not true: the comparison that decides it, and the values that it saw."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

from bridge.dry_run.wording import shown
from bridge.routing.expressions import EXPRESSION_ERRORS, READERS, Expression, explain_failure

#: So many values are shown of one comparison.
_MAX_VALUES: Final = 5
#: The call of `now()`, as the rewriter names it.
_CLOCK: Final = "_now"
#: Names of whole mappings: only the fields that a condition reads are shown.
_WHOLE: Final = {"payload", "headers", "meta"}


@dataclass(frozen=True, slots=True)
class Falsehood:
    """The part of a condition that makes it false. `values` holds the values it saw, by their text in the condition.

    `error` says why the part could not be evaluated, or is "".
    """

    part: str
    values: dict[str, object]
    error: str = ""
    #: Whether the part is true where the condition wants it false, behind `not`.
    negated: bool = False

    def __str__(self) -> str:
        """Return it as one sentence."""
        if self.error:
            return f"`{self.part}`: {self.error}"
        is_value = list(self.values) == [self.part]
        verdict = f"is {shown(self.values[self.part])}" if is_value else f"is {'true' if self.negated else 'false'}"
        values = "" if is_value else "; ".join(f"{text} is {shown(value)}" for text, value in self.values.items())
        wanted = ", and `not` wants it false" if self.negated else ""
        return f"`{self.part}` {verdict}{wanted}{f': {values}' if values else ''}"


class Condition:
    """A route's `when` on one event. `evaluate` returns the value of a part of it, or raises one of EXPRESSION_ERRORS."""

    def __init__(self, when: Expression, filename: str, evaluate: Callable[[ast.expr], Any]) -> None:
        self._text = when.text.encode()
        self._node = when.node
        self._filename = filename
        self._evaluate = evaluate

    def is_incomplete(self) -> bool:
        """Whether the condition misses a field of the event, and so is neither true nor false."""
        _, failure = self._outcome(self._node)
        return failure is not None

    def falsehoods(self) -> list[Falsehood]:
        """Return the parts that make the condition false: more than one where each of several would do (`or`)."""
        return list(self._explain(self._node, wanted=True))

    def _explain(self, node: ast.expr, *, wanted: bool) -> Iterator[Falsehood]:
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield from self._explain(node.operand, wanted=not wanted)
        elif isinstance(node, ast.BoolOp):
            yield from self._explain_several(node, wanted=wanted)
        elif isinstance(node, ast.IfExp):
            test, failure = self._outcome(node.test)
            if failure is not None:
                yield failure
            else:
                yield from self._explain(node.body if test else node.orelse, wanted=wanted)
        else:
            _, failure = self._outcome(node)
            yield failure or Falsehood(self._written(node), self._values(node), negated=not wanted)

    def _explain_several(self, node: ast.BoolOp, *, wanted: bool) -> Iterator[Falsehood]:
        # Of `and` one false part is enough, of `or` all have to be; behind `not` it is the other way round.
        one_is_enough = isinstance(node.op, ast.And) == wanted
        for part in node.values:
            value, failure = self._outcome(part)
            if failure is not None:
                yield failure
                return
            if bool(value) != wanted:
                yield from self._explain(part, wanted=wanted)
                if one_is_enough:
                    return

    def _outcome(self, node: ast.expr) -> tuple[Any, Falsehood | None]:
        """Return the value of a part; or None, and why it has none."""
        try:
            return self._evaluate(node), None
        except EXPRESSION_ERRORS as error:
            failure = explain_failure(error, self._filename)
            part = self._text[failure.text_start : failure.text_end].decode() or self._written(node)
            elements = failure.spell_elements({failure.line: self._text.decode()})
            return None, Falsehood(part, {}, f"{failure.cause}{elements}")

    def _values(self, node: ast.expr) -> dict[str, object]:
        values: dict[str, object] = {}
        for read in _reads(node):
            text = self._written(read)
            if text in values:
                continue
            value, failure = self._outcome(read)
            if failure is None:
                values[text] = value
            if len(values) == _MAX_VALUES:
                break
        return values

    def _written(self, node: ast.expr) -> str:
        return self._text[node.col_offset : node.end_col_offset].decode()


def _reads(node: ast.AST, inner: frozenset[str] = frozenset()) -> Iterator[ast.expr]:
    """Yield the parts of an expression that read the event: fields, captures, `topic`, and calls that read a field.

    A part that reads one of the `inner` names, of a loop's element or a side of a comparison, has no value of its own.
    """
    if isinstance(node, ast.ListComp | ast.DictComp):
        targets = {name.id for name in ast.walk(node.generators[0].target) if isinstance(name, ast.Name)}
        yield from _reads(node.generators[0].iter, inner)
        inner |= targets
        parts = [node.elt] if isinstance(node, ast.ListComp) else [node.key, node.value]
        for part in (*parts, *node.generators[0].ifs):
            yield from _reads(part, inner)
        return
    if _is_read(node):
        if not any(isinstance(each, ast.Name) and each.id in inner for each in ast.walk(node)):
            yield node
        return
    # A chain of comparisons can be a call, with its first sides as arguments and the other ones in the function.
    children = [*node.args, node.func] if isinstance(node, ast.Call) else ast.iter_child_nodes(node)
    for child in children:
        yield from _reads(child, inner)


def _is_read(node: ast.AST) -> TypeGuard[ast.expr]:
    if isinstance(node, ast.Subscript):
        return True
    if isinstance(node, ast.Name):
        return node.id not in _WHOLE and not node.id.startswith("_")
    if not isinstance(node, ast.Call):
        return False
    function = node.func
    return isinstance(function, ast.Attribute) or (
        isinstance(function, ast.Name) and (function.id == _CLOCK or function.id in READERS)
    )
