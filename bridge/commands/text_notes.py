"""The notes of `check` on values that are always text: a comparison with a number, arithmetic, and text as a condition.

The values of a form, of an entry of a stream and of a .csv are text, whatever stands in them; so are captures.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from bridge.commands.expression_notes import Written, expressions_of
from bridge.config import Config
from bridge.errors import Diagnostic
from bridge.routing.body_reader import source_kind
from bridge.routing.expressions import ELEMENT_NAMES, NAMES, KnownTables, parse
from bridge.routing.expressions.columns import table_of
from bridge.routing.expressions.conditions import bare_fields
from bridge.routing.expressions.results import GIVES, NUMBER, TEXT
from bridge.routing.expressions.syntax import Text

_TEXT_FUNCTIONS: Final = frozenset(name for name, kinds in GIVES.items() if kinds == frozenset({TEXT}))
_NUMBER_FUNCTIONS: Final = frozenset(name for name, kinds in GIVES.items() if kinds == frozenset({NUMBER}))
_NUMBERS_OF_META: Final = frozenset({"priority", "timestamp", "expires_in", "qos"})
#: The functions that give another value where there is none, and the number of the argument that is this value.
_FALLBACKS: Final = {"default": 1, "catch": 1, "lookup": 2}
_ORDER: Final = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
_IS_ASKED: Final = re.compile(r"\b(?:if|not)\b")


class _Fault(NamedTuple):
    """A part of an expression that never does what it says, and the value in it that is text."""

    part: ast.expr
    text: ast.expr
    words: str
    with_boolean: bool = False


def text_notes(loaded: Config) -> Iterator[Diagnostic]:
    """Yield every note on values that are always text, and on other fields that are conditions by themselves."""
    tables = KnownTables(loaded.tables, loaded.rows)
    for written in expressions_of(loaded):
        if written.source not in loaded.sources:
            continue  # the name of its source has no value on this machine
        values = _Values(loaded, written, tables)
        text = Text(written.text)
        for fault in values.faults(text.tree()):
            name = text.written(fault.text)
            remedy = f'{name} == "true", or bool({name})' if fault.with_boolean else f"float({name}), or int({name})"
            words = f"{written.owner}: `{name}` is text, so `{text.written(fault.part)}` {fault.words}; write {remedy}"
            yield Diagnostic(written.path, words, offset=written.prefix + text.offset(fault.part))
        yield from _conditions(written, values)


def _conditions(written: Written, values: _Values) -> Iterator[Diagnostic]:
    """Yield the fields that are conditions by themselves: a text is true whatever it says."""
    is_when = written.path[2:] == ("when",)
    if not is_when and not _IS_ASKED.search(written.text):
        return
    is_of_element = written.route is not None and written.route.foreach is not None and written.path[2:] != ("foreach",)
    names = (*NAMES, *values.captures, *(ELEMENT_NAMES if is_of_element else ()))
    for field, offset in bare_fields(parse(written.text, names), is_condition=is_when):
        is_text = values.is_text(Text(field).tree())
        remedy = f'{field} == "true", or bool({field})' if is_text else f"{field} == true"
        words = f'{written.owner}: `{field}` is true for every text, also for "false"; write {remedy}'
        yield Diagnostic(written.path, words, offset=written.prefix + offset)


class _Values:
    """What is known of the values in one expression, whatever the event."""

    def __init__(self, loaded: Config, written: Written, tables: KnownTables) -> None:
        source, route = loaded.sources[written.source], written.route
        syntax = source.traits.topics
        topic = None if route is None else route.topic
        self.captures = () if topic is None else tuple(syntax.compile(topic).captures)
        own_kind = None if route is None else route.decode
        kind = own_kind or source_kind(source)
        properties = source.traits.properties(source)
        self._meta = {name for name, each in properties.meta.items() if each.is_text}
        self._texts = {"topic", "source", *self.captures} | ({"payload"} if kind in {"text", "bytes"} else set())
        has_text_fields = kind == "form" or (own_kind is None and source.traits.presents_json(source))
        self._mappings = {"payload"} if has_text_fields else set()
        self._mappings |= {"headers"} if properties.headers == "text" else set()
        self._tables = tables

    def is_text(self, node: ast.expr) -> bool:
        """Whether a value is text in each event that has it: a fallback may be of another type."""
        if isinstance(node, ast.Name):
            return node.id in self._texts
        if isinstance(node, ast.JoinedStr):
            return True
        if isinstance(node, ast.IfExp):
            return self.is_text(node.body) and self.is_text(node.orelse)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id == "lookup":
                return self._tables.gives_text(table_of(node) or "")
            return node.func.id in _TEXT_FUNCTIONS or (
                node.func.id in {"default", "catch"} and self.is_text(node.args[0])
            )
        base, name = _field(node)
        if isinstance(base, ast.Call):
            return len(base.args) == _FALLBACKS["lookup"] and self._tables.is_csv(table_of(base) or "")
        return isinstance(base, ast.Name) and (base.id in self._mappings or (base.id == "meta" and name in self._meta))

    def faults(self, tree: ast.expr) -> Iterator[_Fault]:
        """Yield each part of a tree in which a text stands where only a number, true or false has a meaning."""
        for node in ast.walk(tree):
            if isinstance(node, ast.Compare):
                sides = [node.left, *node.comparators]
                for op, left, right in zip(node.ops, sides, sides[1:], strict=False):
                    yield from self._of_comparison(node, op, left, right)
            elif isinstance(node, ast.BinOp):
                found = next((side for side in (node.left, node.right) if self.is_text(side)), None)
                if found is not None:
                    yield _Fault(node, found, "is an error")
            elif isinstance(node, ast.UnaryOp) and not isinstance(node.op, ast.Not) and self.is_text(node.operand):
                yield _Fault(node, node.operand, "is an error")

    def _of_comparison(self, node: ast.Compare, op: ast.cmpop, left: ast.expr, right: ast.expr) -> Iterator[_Fault]:
        if isinstance(op, ast.In | ast.NotIn):
            elements = right.elts if isinstance(right, ast.List | ast.Tuple) else []
            never = all(_is_other(each) and not _is_fallback(left, each) for each in elements)
            if elements and never and self.is_text(left):
                yield _Fault(node, left, _always(op), all(map(_is_boolean, elements)))
            return
        for text, other in ((left, right), (right, left)):
            if not self.is_text(text):
                continue
            if not _is_other(other):
                if isinstance(op, _ORDER) and not _is_made(text) and not self._is_also_text(other):
                    yield _Fault(node, text, "is an error unless the other side is text too")
            elif isinstance(op, _ORDER):
                yield _Fault(node, text, "is an error", _is_boolean(other))
            elif isinstance(op, ast.Eq | ast.NotEq) and not _is_fallback(text, other):
                yield _Fault(node, text, _always(op), _is_boolean(other))

    def _is_also_text(self, node: ast.expr) -> bool:
        return self.is_text(node) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _is_made(node: ast.expr) -> bool:
    """Whether an expression makes a text by itself, and knows it for one."""
    is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _TEXT_FUNCTIONS
    return is_call or isinstance(node, ast.JoinedStr)


def _always(op: ast.cmpop) -> str:
    return "is never true" if isinstance(op, ast.Eq | ast.In) else "is always true"


def _field(node: ast.expr) -> tuple[ast.expr | None, object]:
    """Return the base and the name of a field; None for anything else."""
    if isinstance(node, ast.Attribute):
        return node.value, node.attr
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
        return node.value, node.slice.value
    return None, ""


def _is_other(node: ast.expr) -> bool:
    """Whether a value is a number, true or false, whatever the event."""
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.Not) or _is_other(node.operand)
    if isinstance(node, ast.Constant):
        return type(node.value) in {bool, int, float}
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in _NUMBER_FUNCTIONS
    base, name = _field(node)
    of_meta = isinstance(base, ast.Name) and base.id == "meta" and name in _NUMBERS_OF_META
    return (
        of_meta
        or _is_boolean(node)
        or isinstance(node, ast.BinOp)
        or (isinstance(node, ast.Name) and node.id == "received_at")
    )


def _is_boolean(node: ast.expr) -> bool:
    if isinstance(node, ast.Constant):
        return type(node.value) is bool
    return isinstance(node, ast.Compare) or (isinstance(node, ast.Name) and node.id in {"true", "false"})


def _is_fallback(text: ast.expr, other: ast.expr) -> bool:
    """Whether a value may equal the other by its fallback: any but one that is written out differently."""
    if not isinstance(text, ast.Call) or not isinstance(text.func, ast.Name):
        return isinstance(text, ast.IfExp) and (_is_fallback(text.body, other) or _is_fallback(text.orelse, other))
    position = _FALLBACKS.get(text.func.id)
    if position is None or len(text.args) <= position:
        return False
    fallback = text.args[position]
    is_written = isinstance(fallback, ast.Constant) or _is_boolean(fallback)
    return not (is_written and isinstance(other, ast.Constant | ast.Name)) or ast.dump(fallback) == ast.dump(other)
