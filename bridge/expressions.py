"""The expression language: text -> checked AST -> rewritten AST, and what a failure of it means.

The language is a whitelist over Python's own grammar: what is not named here is refused. What is allowed is
rewritten so that CPython runs it natively (`payload.a` is `payload["a"]`) and so that only bounded functions of
`functions.RUNTIME` are ever called. `routes.py` puts many rewritten expressions into one function.
"""

from __future__ import annotations

import ast
import difflib
import keyword
import math
import operator
import re
import warnings
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NoReturn
from unicodedata import normalize

from bridge.errors import ExpressionError
from bridge.event import META_NAMES
from bridge.functions import (
    FUNCTIONS,
    MAX_INT,
    NULL_MESSAGE,
    RUNTIME,
    compile_regex,
    is_missing,
    kind,
    learn_message,
    quote,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from types import TracebackType

__all__ = ["FUNCTIONS", "NAMES", "RUNTIME", "Expression", "Fault", "fault", "is_missing", "parse"]

#: The names every expression may use; a route adds the captures of its topic.
NAMES: Final = ("payload", "topic", "headers", "meta", "source", "received_at")
MAX_CHARS: Final = 4096
MAX_DEPTH: Final = 50
MAX_WIDTH: Final = 100

_CONSTANTS: Final = {"true": True, "false": False, "null": None}
_FOREIGN: Final = {"nil": "null", "undefined": "null", "none": "null", **{name: name for name in _CONSTANTS}}
_METHODS: Final = {"startswith": "starts_with", "endswith": "ends_with", "loads": "json", "dumps": "to_json"}
_SPEC: Final = re.compile(r"(?:.?[<>=^])?[-+ ]?z?#?0?([0-9]*)[_,]?(?:\.([0-9]+))?[bdeEfFgGosxX%]?", re.DOTALL)
_OPERATORS: Final[dict[type[ast.AST], str]] = {
    ast.Add: "_add",
    ast.Sub: "_sub",
    ast.Mult: "_mul",
    ast.Div: "_div",
    ast.FloorDiv: "_floordiv",
    ast.Mod: "_mod",
    ast.Pow: "_pow",
    ast.USub: "_neg",
    ast.UAdd: "_pos",
}
#: What is refused, in plain words, each with its hint.
_REFUSED: Final[dict[type[ast.AST], tuple[str, str]]] = {
    ast.Lambda: ("a lambda", ""),
    ast.ListComp: ("a comprehension", ""),
    ast.SetComp: ("a comprehension", ""),
    ast.DictComp: ("a comprehension", ""),
    ast.GeneratorExp: ("a comprehension", ""),
    ast.NamedExpr: ("an assignment", "write '==' to compare"),
    ast.Await: ("'await'", ""),
    ast.Yield: ("'yield'", ""),
    ast.YieldFrom: ("'yield'", ""),
    ast.Starred: ("a starred value", ""),
    ast.Slice: ("a slice", ""),
    ast.Set: ("a set", "write a list in [ ]"),
    ast.MatMult: ("the operator '@'", ""),
    ast.BitAnd: ("the operator '&'", "write 'and'"),
    ast.BitOr: ("the operator '|'", "write 'or'"),
    ast.BitXor: ("the operator '^'", "write '**' for a power"),
    ast.LShift: ("the operator '<<'", ""),
    ast.RShift: ("the operator '>>'", ""),
    ast.Invert: ("the operator '~'", "write 'not'"),
}
#: Strings are skipped; then what other languages write, then brackets, then a keyword as a field.
_TOKENS: Final = re.compile(
    r"""(?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|[=!<>]=|(?P<foreign>&&|\|\||[=!?$])"""
    rf"""|(?P<bracket>[()\[\]{{}}])|\.\s*(?P<keyword>{"|".join(keyword.kwlist)})\b"""
)
_FOREIGN_OPERATORS: Final = {
    "&&": "write 'and'",
    "||": "write 'or'",
    "!": "write 'not'",
    "=": "write '==' to compare",
    "?": "write 'a if condition else b'",
    "$": "'$' stands only before the whole value",
}


@dataclass(frozen=True, slots=True)
class Expression:
    """One checked expression.

    `text` is without the leading `$`. `node` is safe to compile with the globals `RUNTIME`: each of its nodes stands
    on the line given to `parse` at the UTF-8 byte offsets of the text. `names` are the free names that it uses.
    """

    text: str
    node: ast.expr
    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a rewritten expression failed on an event.

    `line` is the one given to `parse`; `text_start` and `text_end` are byte offsets of the failing part in that
    expression's text (0, 0 if unknown). `missing` says that a field, an element or a null on the way was the reason.
    `problem` is for people and quotes at most 80 characters of the event.
    """

    line: int
    text_start: int
    text_end: int
    missing: bool
    problem: str


def parse(text: str, names: Collection[str], *, line: int = 1) -> Expression:
    """Check and rewrite the expression `text`, which may use `names`.

    Raises ExpressionError for the first mistake; its `offset` counts characters of `text`.
    """
    if len(text) > MAX_CHARS:
        message = f"an expression has at most {MAX_CHARS} characters, this one has {len(text)}"
        raise ExpressionError(message, offset=MAX_CHARS)
    rewriter = _Rewriter(text, names, line)
    node = ast.fix_missing_locations(rewriter.rewrite(rewriter.tree()))
    return Expression(text, node, frozenset(rewriter.used))


class _Rewriter:
    """Rewrites the tree of one expression; each `_name` method handles the nodes of type `Name`."""

    def __init__(self, text: str, names: Collection[str], line: int) -> None:
        self.text = text
        # Python normalizes the names that it parses; the caller's spelling is the one to emit.
        self.names = {normalize("NFKC", name): name for name in names}
        self.line = line
        self.depth = 0
        self.used: set[str] = set()
        self.data = b""
        self.starts = [0]

    def tree(self) -> ast.expr:
        """Parse the text. Brackets around it let it run over lines, and admit nothing but one expression."""
        wrapped = f"[{self.text}\n]".replace("\r", " ")
        try:
            self.data = self.text.encode()
            self.starts = [0, *(match.end() for match in re.finditer(b"\n", wrapped.encode()))]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # "\d" in a regex is no concern of the user's.
                tree = ast.parse(wrapped, mode="eval").body
        except SyntaxError as error:
            self._syntax(error, wrapped)
        except (RecursionError, MemoryError):
            raise self._deep(0) from None
        except ValueError as error:
            message = "not a valid text: half a character (a surrogate), or a null character"
            raise ExpressionError(message) from error
        if isinstance(tree, ast.ListComp):
            raise self._refused(tree, tree)
        if not isinstance(tree, ast.List):
            message = "not a valid expression"
            raise ExpressionError(message)
        if not tree.elts:
            message = "the expression is empty"
            raise ExpressionError(message)
        rest = self.data[self._place(tree.elts[0])[1] :].partition(b"#")[0]
        if len(tree.elts) > 1 or b"," in rest:
            raise self._error(tree.elts[-1], "there is more than one value", "write a list in [ ]")
        return tree.elts[0]

    def _syntax(self, error: SyntaxError, wrapped: str) -> NoReturn:
        message = (error.msg or "").partition(" (")[0]
        rows = wrapped.split("\n")
        row = min(error.lineno or 1, len(rows)) - 1
        at = sum(len(line) + 1 for line in rows[:row]) + (error.offset or 1) - 2
        at = min(max(at, 0), len(self.text))
        if message.startswith("too many nested"):
            raise self._deep(len(self.text[:at].encode())) from error
        if message.startswith("f-string"):
            found = re.search(r"""[rR]?[fF][rR]?["']""", self.text)
            raise ExpressionError(message, offset=found.start() if found else at) from error
        if message.startswith("unterminated"):
            message = "a text is never closed"
            raise ExpressionError(message, "add the closing quote", at) from error
        _explain(self.text)
        if message.startswith("invalid syntax") or "']'" in message:
            message = "not a valid expression"
        elif "Maybe you meant" in message:
            message = message.partition(". Maybe")[0]
        raise ExpressionError(message, offset=at) from error

    def _deep(self, byte: int) -> ExpressionError:
        at = len(self.data[:byte].decode(errors="ignore"))
        return ExpressionError(f"nested more than {MAX_DEPTH} deep", offset=at)

    def _place(self, node: ast.expr | ast.keyword) -> tuple[int, int]:
        """Return the byte offsets of `node` in the text."""
        start = self.starts[node.lineno - 1] + node.col_offset - 1
        end = self.starts[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0) - 1
        return max(start, 0), min(max(end, 0), len(self.data))

    def _error(self, node: ast.expr | ast.keyword, problem: str, hint: str = "") -> ExpressionError:
        start, _ = self._place(node)
        return ExpressionError(problem, hint, len(self.data[:start].decode(errors="ignore")))

    def _refused(self, node: ast.expr, construct: ast.AST) -> ExpressionError:
        name = type(construct).__name__
        words, hint = _REFUSED.get(type(construct), (f"the construct {name!r}", ""))
        return self._error(node, f"{words} can't be used in an expression", hint)

    def rewrite(self, node: ast.expr) -> ast.expr:
        """Return the safe form of `node`, placed on the caller's line."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self._deep(self._place(node)[0])
        rule: Callable[[Any], ast.expr] | None = getattr(self, f"_{type(node).__name__.lower()}", None)
        if rule is None or type(node) in _REFUSED:
            raise self._refused(node, node)
        new = rule(node)
        self.depth -= 1
        new.lineno = new.end_lineno = self.line
        new.col_offset, new.end_col_offset = self._place(node)
        return new

    def _all(self, nodes: Iterable[ast.expr]) -> list[ast.expr]:
        return [self.rewrite(node) for node in nodes]

    def _constant(self, node: ast.Constant) -> ast.expr:
        value = node.value
        if type(value) is str:
            if not _encodable(value):
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
        if node.id in self.names:
            name = self.names[node.id]
            self.used.add(name)
            return _load(name)
        if node.id in _CONSTANTS:
            return ast.Constant(_CONSTANTS[node.id])
        if node.id in FUNCTIONS:
            raise self._error(node, f"{node.id!r} is a function", f"call it: {node.id}(...)")
        foreign = _FOREIGN.get(node.id.lower())
        hint = f"write '{foreign}'" if foreign else _near(node.id, [*self.names.values(), *FUNCTIONS])
        if not hint and "payload" in self.names:
            hint = f"a field of the payload is written payload.{node.id}"
        raise self._error(node, f"there is no name {quote(node.id)}", hint)

    def _attribute(self, node: ast.Attribute) -> ast.expr:
        # Python normalizes the name ("µ" becomes another letter); the payload's key is as the user wrote it.
        start, end = self._place(node)
        written = self.data[start:end].decode(errors="replace").rpartition(".")[2].strip()
        name = written if normalize("NFKC", written) == node.attr else node.attr
        return self._field(node, node.value, ast.Constant(name))

    def _subscript(self, node: ast.Subscript) -> ast.expr:
        if isinstance(node.slice, ast.Tuple | ast.List | ast.Dict):
            raise self._error(node.slice, "an index is one text or whole number")
        key = self.rewrite(node.slice)
        if isinstance(key, ast.Constant) and type(key.value) not in (str, int):
            raise self._error(node.slice, "an index is a text or a whole number")
        return self._field(node, node.value, key)

    def _field(self, node: ast.expr, base: ast.expr, key: ast.expr) -> ast.expr:
        constant = key.value if isinstance(key, ast.Constant) else None
        if isinstance(base, ast.Name) and base.id == "meta" and "meta" in self.names:
            if constant not in META_NAMES:
                hint = _near(str(constant), META_NAMES) or f"it has {', '.join(META_NAMES)}"
                problem = "a field of meta is named by a constant" if constant is None else ""
                raise self._error(node, problem or f"meta has no field {quote(constant)}", hint)
            # Event.meta holds only what the protocol has; the rest is null.
            return ast.Call(ast.Attribute(self.rewrite(base), "get", ast.Load()), [key], [])
        value = self.rewrite(base)
        literal: object = value.value if isinstance(value, ast.Constant) else [] if isinstance(value, ast.List) else {}
        if type(literal) is not dict and not (type(constant) is int and type(literal) in (str, list)):
            raise self._error(node, f"{kind(literal)} that is written out has no such field")
        return ast.Subscript(value, key, ast.Load())

    def _compare(self, node: ast.Compare) -> ast.expr:
        if any(isinstance(op, ast.Is | ast.IsNot) for op in node.ops):
            left, right = self.rewrite(node.left), self.rewrite(node.comparators[-1])
            null = isinstance(right, ast.Constant) and right.value is None
            if len(node.ops) > 1 or not null or isinstance(left, ast.Constant):
                raise self._error(node, "'is' only asks whether a field is null", "write '==' to compare")
            return ast.Compare(left, list(node.ops), [right])
        return ast.Compare(self.rewrite(node.left), list(node.ops), self._all(node.comparators))

    def _boolop(self, node: ast.BoolOp) -> ast.expr:
        return ast.BoolOp(node.op, self._all(node.values))

    def _ifexp(self, node: ast.IfExp) -> ast.expr:
        return ast.IfExp(*self._all([node.test, node.body, node.orelse]))

    def _unaryop(self, node: ast.UnaryOp) -> ast.expr:
        if isinstance(node.op, ast.Invert):
            raise self._refused(node, node.op)
        value = self.rewrite(node.operand)
        if isinstance(node.op, ast.Not):
            return ast.UnaryOp(node.op, value)
        if isinstance(node.op, ast.USub) and isinstance(value, ast.Constant) and type(value.value) in (int, float):
            return ast.Constant(-value.value)  # type: ignore[operator]
        return _call(_OPERATORS[type(node.op)], value)

    def _binop(self, node: ast.BinOp) -> ast.expr:
        if type(node.op) not in _OPERATORS:
            raise self._refused(node, node.op)
        return _call(_OPERATORS[type(node.op)], self.rewrite(node.left), self.rewrite(node.right))

    def _list(self, node: ast.List) -> ast.expr:
        return ast.List(self._all(node.elts), ast.Load())

    def _tuple(self, node: ast.Tuple) -> ast.expr:
        # JSON knows one kind of list, so `("a", "b")` is the same as `["a", "b"]`.
        return ast.List(self._all(node.elts), ast.Load())

    def _dict(self, node: ast.Dict) -> ast.expr:
        keys: list[ast.expr | None] = []
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                raise self._error(value, "'**' can't be used in an expression")
            new = self.rewrite(key)
            if isinstance(new, ast.Constant) and type(new.value) is not str:
                raise self._error(key, f"a key of a mapping is a text, not {kind(new.value)}")
            keys.append(new if isinstance(new, ast.Constant) else ast.copy_location(_call("_key", new), new))
        return ast.Dict(keys, self._all(node.values))

    def _joinedstr(self, node: ast.JoinedStr) -> ast.expr:
        parts = [self._part(part) for part in node.values]
        if all(isinstance(part, ast.Constant) for part in parts):
            return ast.Constant("".join(part.value for part in parts))  # type: ignore[attr-defined]
        return _call("_concat", *parts)

    def _part(self, part: ast.expr) -> ast.expr:
        if not isinstance(part, ast.FormattedValue):
            return self.rewrite(part)
        if part.conversion not in (-1, ord("s")):
            raise self._error(part.value, f"'!{chr(part.conversion)}' can't be used in an f-string", "write {value}")
        value = self.rewrite(part.value)
        spec = _spec(part.format_spec)
        found = None if spec is None else _SPEC.fullmatch(spec)
        if spec is None or found is None:
            raise self._error(part.value, "the format of an f-string's field is a constant such as '>10' or '.2f'")
        if any(len(digits) > len(str(MAX_WIDTH)) or int(digits) > MAX_WIDTH for digits in found.groups() if digits):
            raise self._error(part.value, f"a field of an f-string is at most {MAX_WIDTH} wide")
        if part.conversion != -1:
            value = _call("_str", value)
        if not spec:
            return _call("_str", value) if isinstance(value, ast.Constant) else value
        return _call("_format", value, ast.Constant(spec))

    def _call(self, node: ast.Call) -> ast.expr:
        name = self._function(node)
        for keyword_ in node.keywords:
            raise self._error(keyword_, "a named argument can't be used in an expression")
        function, count = FUNCTIONS[name], len(node.args)
        if count < function.least or (function.most is not None and count > function.most):
            most = function.most
            wanted = str(most) if most == function.least else f"{function.least} {f'to {most}' if most else 'or more'}"
            plural = "" if wanted == "1" else "s"
            raise self._error(node, f"{name}() takes {wanted} argument{plural}, not {count}")
        if name == "default":
            return self._default(*node.args)
        if name == "has":
            return self._has(node.args[0])
        args = self._all(node.args)
        if name == "matches":
            self._check_regex(node.args[1], args[1])
        return _call(f"_{name}", *args)

    def _function(self, node: ast.Call) -> str:
        function = node.func
        if isinstance(function, ast.Attribute):
            name = _METHODS.get(function.attr, function.attr)
            hint = f"write {name}(...)" if name in FUNCTIONS else ""
            if name == "get":
                hint = "write default(payload.field, fallback)"
            raise self._error(function, "a method can't be called in an expression", hint)
        if not isinstance(function, ast.Name):
            raise self._error(function, "only a function can be called in an expression")
        if function.id in FUNCTIONS:
            return function.id
        if function.id in self.names:
            raise self._error(function, f"{quote(function.id)} is not a function")
        hint = _near(function.id, FUNCTIONS) or f"the functions are {', '.join(FUNCTIONS)}"
        raise self._error(function, f"there is no function {quote(function.id)}", hint)

    def _check_regex(self, node: ast.expr, pattern: ast.expr) -> None:
        if not isinstance(pattern, ast.Constant) or type(pattern.value) is not str:
            raise self._error(node, "the regex of matches() is a constant text")
        try:
            compile_regex(pattern.value)
        except ValueError as error:
            raise self._error(node, f"not a usable regex: {error}") from error

    def _default(self, value: ast.expr, fallback: ast.expr) -> ast.expr:
        found, otherwise = self.rewrite(value), self.rewrite(fallback)
        if _harmless(otherwise):
            base, keys = _path(found)
            if base is not None:
                return _call("_pick", base, otherwise, *keys)
        return _call("_default", _lazy(found), _lazy(otherwise))

    def _has(self, value: ast.expr) -> ast.expr:
        found = self.rewrite(value)
        if isinstance(found, ast.Call) and isinstance(found.func, ast.Attribute):
            # has(meta.qos): what the protocol does not have is null, and a null of meta is nothing else.
            return ast.Compare(found, [ast.IsNot()], [ast.Constant(None)])
        base, keys = _path(found)
        return _call("_has", _lazy(found)) if base is None else _call("_present", base, *keys)


def _load(name: str) -> ast.Name:
    return ast.Name(name, ast.Load())


def _call(name: str, *args: ast.expr) -> ast.Call:
    return ast.Call(_load(name), list(args), [])


def _lazy(node: ast.expr) -> ast.expr:
    return ast.Lambda(ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[]), node)


def _path(node: ast.expr) -> tuple[ast.expr | None, list[ast.expr]]:
    """Split `payload["a"][0]` into its base, which cannot fail, and its constant keys; None for anything else."""
    keys: list[ast.expr] = []
    while isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        keys.append(node.slice)
        node = node.value
    meta = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    return (node if meta or isinstance(node, ast.Name) else None), keys[::-1]


def _harmless(node: ast.expr) -> bool:
    """Say whether evaluating `node` cannot fail and costs nothing, so that it need not be lazy."""
    if isinstance(node, ast.List):
        return all(map(_harmless, node.elts))
    return isinstance(node, ast.Constant | ast.Name) or (isinstance(node, ast.Dict) and not node.keys)


def _encodable(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in text)


def _spec(node: ast.expr | None) -> str | None:
    """Return the constant text of a format, None where it is not constant."""
    if node is None:
        return ""
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    texts = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    return "".join(texts) if len(texts) == len(parts) and all(map(_encodable, texts)) else None


def _near(word: str, candidates: Iterable[str]) -> str:
    found = difflib.get_close_matches(word, list(candidates), 1)
    return f"did you mean '{found[0]}'?" if found else ""


def _explain(text: str) -> None:
    """Raise an ExpressionError for a mistake that people make, where one is found in a wrong expression."""
    opened: list[re.Match[str]] = []
    for match in _TOKENS.finditer(text):
        found = match.group()
        if match["foreign"]:
            message = f"{found!r} can't be used in an expression"
            raise ExpressionError(message, _FOREIGN_OPERATORS[found], match.start())
        if match["keyword"]:
            message = f"{match['keyword']!r} is a word of the language"
            raise ExpressionError(message, f'write ["{match["keyword"]}"] for the field', match.start("keyword"))
        if not match["bracket"]:
            continue
        if found in "([{":
            opened.append(match)
        elif not opened or opened.pop().group() + found not in ("()", "[]", "{}"):
            message = f"{found!r} closes nothing"
            raise ExpressionError(message, offset=match.start())
    if opened:
        message = f"{opened[-1].group()!r} is never closed"
        raise ExpressionError(message, offset=opened[-1].start())


def _learn() -> dict[str, str]:
    """Provoke each TypeError that native operators give for JSON's types, and put it in plain words.

    The texts differ between Python's versions, so they are learned from the one that runs.
    """
    samples: tuple[object, ...] = (True, 0, 0.0, None, "", [], {})
    compare = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
    learned: dict[str, str] = {}
    for left in samples:
        for right in samples:
            a, b = kind(left), kind(right)
            for sign, function in compare.items():
                learned[learn_message(function, left, right)] = f"'{sign}' can't compare {a} with {b}"
            indexable = type(left) in (str, list, dict)
            inside = f"'in' can't look for {b} in a text" if type(left) is str else f"'in' can't look into {a}"
            learned[learn_message(operator.contains, left, right)] = inside
            fields = not indexable or (type(right) is str and type(left) is not dict)
            index = f"{a} has no fields" if fields else f"{b} can't be an index of {a}"
            learned[learn_message(operator.getitem, left, right)] = index
    learned[NULL_MESSAGE] = "null has no fields"
    learned.pop("", None)
    return learned


_PLAIN: Final = _learn()


_PROBLEMS: Final[dict[type[Exception], str]] = {
    IndexError: "no element at this index",
    ZeroDivisionError: "division by zero",
    OverflowError: "a number is too large",
    RecursionError: "nested too deeply",
}


def fault(error: Exception, filename: str) -> Fault:
    """Say what `error`, raised by generated code whose `co_filename` is `filename`, means and where it came from."""
    line, start, end = _origin(error.__traceback__, filename)
    return Fault(line, start, end, is_missing(error), _problem(error))


def _origin(trace: TracebackType | None, filename: str) -> tuple[int, int, int]:
    found = None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == filename:
            found = trace
        trace = trace.tb_next
    if found is None:
        return 0, 0, 0
    position = next(islice(found.tb_frame.f_code.co_positions(), found.tb_lasti // 2, None), None)
    line, _, start, end = position or (None, None, None, None)
    if start is None or end is None:  # Python runs without columns (-X no_debug_ranges).
        start = end = 0
    return line or found.tb_lineno or 0, start, end


def _problem(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"no field {quote(error.args[0] if error.args else '')}"
    for kinds, problem in _PROBLEMS.items():
        if isinstance(error, kinds):
            return problem
    text = str(error)
    if isinstance(error, TypeError):
        return _PLAIN.get(text, text)
    return text if isinstance(error, ValueError) else f"{type(error).__name__}: {text}"
