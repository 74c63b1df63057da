"""The rewriter: the tree that Python makes of an expression -> a tree that is safe to compile, or an error."""

from __future__ import annotations

import ast
import math
import sys
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, Final
from unicodedata import normalize

from bridge.config.wording import describe, near_miss, quoted
from bridge.model.event import META_NAMES
from bridge.model.json_limits import is_encodable
from bridge.routing.expressions import calls
from bridge.routing.expressions.arithmetic import OPERATORS
from bridge.routing.expressions.columns import TableReads
from bridge.routing.expressions.comparisons import compare
from bridge.routing.expressions.fstrings import fstring
from bridge.routing.expressions.functions import FUNCTIONS
from bridge.routing.expressions.habits import check_hyphen, constant_condition, filtered_value
from bridge.routing.expressions.hints import (
    ELEMENT_HINT,
    FOREIGN_CONSTANTS,
    FOREIGN_NAMES,
    REFUSED_CONSTRUCTS,
    SIMILARITY,
)
from bridge.routing.expressions.loops import ARITHMETIC, CALL, CONTAINER, NODE, POWER, Loops, call
from bridge.routing.expressions.syntax import MAX_DEPTH, TOO_DEEP, Text, place_missing
from bridge.routing.expressions.values import MAX_INT

#: The names every expression may use; a route adds the captures of its topic.
NAMES: Final = ("payload", "topic", "headers", "meta", "source", "received_at")
#: The names that the expressions of each element of a `foreach` have beside those.
ELEMENT_NAMES: Final = ("item", "index")
#: The names that are always text.
_TEXT_NAMES: Final = frozenset({"topic", "source"})
_CONSTANTS: Final = {"true": True, "false": False, "null": None}
#: The functions that say what to do without a value.
_OPTIONAL: Final = frozenset({"default", "has", "catch"})
_TEXTS: Final = 'texts are put together as in f"{payload.a}-{payload.b}"'


@dataclass(frozen=True, slots=True)
class Expression:
    """One checked expression.

    `text` is without the leading `$`. `node` is safe to compile with the globals `RUNTIME`: each of its nodes stands on
    the line given to `parse` at the UTF-8 byte offsets of the text. `names` are the free names that it uses, `tables`
    what it looks up.

    `needs_purse` tells whether `node` reads a purse, the local name PURSE (see `compile_function`). `weight` is what
    one evaluation costs in the purse's steps, where a loop runs the expression; the loops within it pay for themselves.
    """

    text: str
    node: ast.expr
    names: frozenset[str]
    needs_purse: bool = False
    weight: int = 1
    tables: TableReads = field(default_factory=TableReads)


def parse(text: str, names: Collection[str], *, line: int = 1, in_loop: bool = False) -> Expression:
    """Check and rewrite the expression `text`, which may use `names`.

    An expression `in_loop` runs once per element of a list: what it calls pays from the purse for the size of its
    values, and its `weight` is paid by the loop.

    Raises InvalidValue for the first mistake; the offset of its diagnostic counts characters of `text`.
    """
    rewriter = _Rewriter(Text(text), names, line, in_loop=in_loop)
    node = rewriter.expression()
    loops = rewriter.loops
    return Expression(text, node, frozenset(rewriter.used), loops.needs_purse, loops.weight, rewriter.tables)


class _Rewriter:
    """Rewrites the tree of one expression; each `_name` method handles the nodes of type `Name`."""

    def __init__(self, text: Text, names: Collection[str], line: int, *, in_loop: bool) -> None:
        self._text = text
        self._error = text.error
        # Python normalizes the names that it parses; the caller needs its own spelling.
        self._names = {normalize("NFKC", name): name for name in names}
        self._line = line
        self._depth = 0
        self.loops = Loops(text, {*self._names, *FUNCTIONS}, self._rewrite, line, in_loop=in_loop)
        self.used: set[str] = set()
        self.tables = TableReads()

    def expression(self) -> ast.expr:
        """Return the safe form of the whole text."""
        node = self._rewrite(self._text.tree())
        place_missing(node)
        return node

    def _rewrite(self, node: ast.expr) -> ast.expr:
        """Return the safe form of `node`, placed on the caller's line."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error(node, TOO_DEEP)
        rule: Callable[[Any], ast.expr] | None = getattr(self, f"_{type(node).__name__.lower()}", None)
        if rule is None or type(node) in REFUSED_CONSTRUCTS:
            raise self._text.refused(node, node)
        self.loops.add(NODE)
        new = rule(node)
        self._depth -= 1
        new.lineno = new.end_lineno = self._line
        new.col_offset, new.end_col_offset = self._text.place(node)
        return new

    def _all(self, nodes: Iterable[ast.expr]) -> list[ast.expr]:
        return [self._rewrite(node) for node in nodes]

    def _constant(self, node: ast.Constant) -> ast.expr:
        value = node.value
        if type(value) is str:
            if not is_encodable(value):
                raise self._error(node, "a text holds half a character (a surrogate)")
        elif type(value) is int:
            if value > MAX_INT:
                raise self._error(node, "a number is larger than 2**256")
        elif type(value) is float:
            if not math.isfinite(value):
                raise self._error(node, "a number is too large")
        elif value is not None and type(value) is not bool:
            words = {bytes: "a text of bytes", complex: "a complex number"}.get(type(value), "'...'")
            raise self._error(node, f"{words} can't be used in an expression")
        return ast.Constant(value)

    def _name(self, node: ast.Name) -> ast.expr:
        if node.id in self.loops.names:
            return ast.Name(node.id, ast.Load())
        if node.id in self._names:
            name = self._names[node.id]
            self.used.add(name)
            return ast.Name(name, ast.Load())
        if node.id in _CONSTANTS:
            return ast.Constant(_CONSTANTS[node.id])
        if node.id in FUNCTIONS:
            raise self._error(node, f"{node.id!r} is a function", f"call it: {node.id}(...)")
        constant = FOREIGN_CONSTANTS.get(node.id.lower())
        hint = (
            f"write '{constant}'"
            if constant
            else near_miss(node.id, [*self.loops.names, *self._names.values(), *FUNCTIONS], SIMILARITY)
        )
        if node.id in FOREIGN_NAMES:
            hint = "the decoded body is called payload"
        elif node.id in ELEMENT_NAMES:
            hint = ELEMENT_HINT
        elif not hint and "payload" in self._names:
            hint = f'a field of the payload is written payload.{node.id}, a text "{node.id}"'
        raise self._error(node, f"there is no name {quoted(node.id)}", hint)

    def _attribute(self, node: ast.Attribute) -> ast.expr:
        # Python normalizes the name ("µ" becomes another letter); the payload has the key that the user wrote.
        written = self._text.written(node).rpartition(".")[2].strip()
        name = written if normalize("NFKC", written) == node.attr else node.attr
        return self._field(node, node.value, ast.Constant(name))

    def _subscript(self, node: ast.Subscript) -> ast.expr:
        if isinstance(node.slice, ast.Tuple | ast.List | ast.Dict):
            raise self._error(node.slice, "an index is one text or whole number")
        if isinstance(node.slice, ast.Slice):
            return self._part_of(node.value, node.slice)
        key = self._rewrite(node.slice)
        if isinstance(key, ast.Constant) and type(key.value) not in (str, int):
            raise self._error(node.slice, "an index is text or a whole number")
        if self.loops.is_metered and not isinstance(key, ast.Constant):
            self.loops.add(CALL)
            key = ast.copy_location(self.loops.purse_call("paid", key), key)
        return self._field(node, node.value, key)

    def _part_of(self, base: ast.expr, part: ast.Slice) -> ast.expr:
        if part.step is not None:
            raise self._error(part.step, "a slice has no step", "write x[from:to]")
        value = self._rewrite(base)
        ends: list[ast.expr] = [ast.Constant(0), ast.Constant(sys.maxsize)]
        for position, written in enumerate((part.lower, part.upper)):
            if written is None:
                continue
            end = ends[position] = self._rewrite(written)
            if isinstance(end, ast.Constant) and type(end.value) is not int:
                raise self._error(written, f"a slice takes whole numbers, not {describe(end.value)}")
        literal: object = value.value if isinstance(value, ast.Constant) else {} if isinstance(value, ast.Dict) else []
        if type(literal) not in (str, list):
            raise self._error(base, f"a slice is of text or a list, not of {describe(literal)}")
        return self.loops.call("slice", value, *ends)

    def _field(self, node: ast.expr, base: ast.expr, key: ast.expr) -> ast.expr:
        constant = key.value if isinstance(key, ast.Constant) else None
        if isinstance(base, ast.Name) and base.id == "meta" and "meta" in self._names:
            if constant not in META_NAMES:
                hint = near_miss(str(constant), META_NAMES, SIMILARITY) or f"it has {', '.join(META_NAMES)}"
                problem = "a field of meta is named by a constant" if constant is None else ""
                raise self._error(node, problem or f"meta has no field {quoted(constant)}", hint)
            # `meta` holds only the fields of the protocol; every other field is null.
            return ast.Call(ast.Attribute(self._rewrite(base), "get", ast.Load()), [key], [])
        if isinstance(base, ast.Name) and base.id in _TEXT_NAMES and type(constant) is str and base.id in self._names:
            hint = "{name} in the route's topic captures a level of it" if base.id == "topic" else ""
            raise self._error(node, f"{base.id} is text and has no fields", hint)
        value = self._rewrite(base)
        self.tables.add_field(base, constant, self._text.offset(node))
        literal: object = value.value if isinstance(value, ast.Constant) else [] if isinstance(value, ast.List) else {}
        if type(literal) is not dict and not (type(constant) is int and type(literal) in (str, list)):
            raise self._error(node, f"{describe(literal)} that is written out has no such field")
        return ast.Subscript(value, key, ast.Load())

    def _compare(self, node: ast.Compare) -> ast.expr:
        left, right = self._rewrite(node.left), self._all(node.comparators)
        if any(isinstance(op, ast.Is | ast.IsNot) for op in node.ops):
            null = isinstance(right[0], ast.Constant) and right[0].value is None
            if len(right) > 1 or not null or isinstance(left, ast.Constant):
                raise self._error(node, "'is' only asks whether a field is null", "write '==' to compare")
        return compare(left, node.ops, right, self.loops)

    def _boolop(self, node: ast.BoolOp) -> ast.expr:
        values = self._all(node.values)
        for written, value in zip(node.values, values, strict=True):
            if isinstance(value, ast.Constant):
                raise self._error(written, *constant_condition(self._text, node, value))
        return ast.BoolOp(node.op, values)

    def _listcomp(self, node: ast.ListComp | ast.DictComp) -> ast.expr:
        return self.loops.comprehension(node)

    _dictcomp = _listcomp

    def _ifexp(self, node: ast.IfExp) -> ast.expr:
        return ast.IfExp(*self._all([node.test, node.body, node.orelse]))

    def _unaryop(self, node: ast.UnaryOp) -> ast.expr:
        if isinstance(node.op, ast.Not):
            return ast.UnaryOp(node.op, self._rewrite(node.operand))
        if type(node.op) not in OPERATORS:
            raise self._text.refused(node, node.op)
        value = self._rewrite(node.operand)
        if isinstance(node.op, ast.USub) and isinstance(value, ast.Constant) and type(value.value) in (int, float):
            return ast.Constant(-value.value)  # type: ignore[operator]
        self.loops.add(ARITHMETIC)
        return call(type(node.op).__name__, value)

    def _binop(self, node: ast.BinOp) -> ast.expr:
        if isinstance(node.op, ast.BitOr) and (filtered := filtered_value(self._text, node, FUNCTIONS)):
            raise self._error(node, "a filter behind '|' can't be used in an expression", f"write {filtered}")
        if type(node.op) not in OPERATORS:
            raise self._text.refused(node, node.op)
        if isinstance(node.op, ast.Sub):
            check_hyphen(self._text, node, {*self._names, *self.loops.names})
        left, right = self._rewrite(node.left), self._rewrite(node.right)
        for written, side in ((node.left, left), (node.right, right)):
            if isinstance(side, ast.Constant) and type(side.value) not in (int, float):
                raise self._error(written, f"arithmetic takes numbers, not {describe(side.value)}", _TEXTS)
        self.loops.add(POWER if isinstance(node.op, ast.Pow) else ARITHMETIC)
        return call(type(node.op).__name__, left, right)

    def _list(self, node: ast.List | ast.Tuple) -> ast.expr:
        self.loops.add(CONTAINER)
        return ast.List(self._all(node.elts), ast.Load())

    #: JSON knows one kind of list, so `("a", "b")` is the same as `["a", "b"]`.
    _tuple = _list

    def _dict(self, node: ast.Dict) -> ast.expr:
        keys: list[ast.expr | None] = []
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                raise self._error(value, "'**' can't be used in an expression")
            keys.append(self.loops.key(key))
        self.loops.add(2 * CONTAINER)
        return ast.Dict(keys, self._all(node.values))

    def _joinedstr(self, node: ast.JoinedStr) -> ast.expr:
        return fstring(node, self._text, self._rewrite, self.loops)

    def _call(self, node: ast.Call) -> ast.expr:
        name = calls.function_of(node.func, self._text, self._names)
        written = calls.arguments_of(name, node, self._text)
        columns_before = len(self.tables.columns)
        args = self._all(written)
        if name in _OPTIONAL:
            self.tables.make_optional(columns_before)
        values = calls.constants_of(args)
        calls.check_constants(name, values, node, written, self._text)
        self.loops.add(FUNCTIONS[name].cost(values))
        if name == "lookup" and isinstance(args[0], ast.Constant):
            self.tables.tables.append((str(args[0].value), self._text.offset(written[0])))
            args[1] = self.loops.paid(args[1])
        if FUNCTIONS[name].lazy:
            self.loops.add(CALL)
            return calls.lazy_call(name, args)
        return self.loops.call(name, *args)
