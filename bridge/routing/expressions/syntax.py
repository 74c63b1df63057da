"""Syntax: the text of an expression, Python's tree of it, and where in the text each node stands."""

from __future__ import annotations

import ast
import re
import warnings
from typing import Final, NoReturn

from bridge.errors import InvalidValue
from bridge.model.json_limits import is_encodable
from bridge.routing.expressions import hints
from bridge.routing.expressions.written_texts import read_texts

_MAX_CHARS: Final = 4096
MAX_DEPTH: Final = 50
TOO_DEEP: Final = f"nested more than {MAX_DEPTH} deep"
#: The nodes of rewritten trees that have a place, or hold nodes that have one.
_NODES: Final = (ast.expr, ast.comprehension, ast.arguments, ast.arg)
#: The attributes of a node that are its place.
PLACE: Final = ("lineno", "end_lineno", "col_offset", "end_col_offset")


class Text:
    """The text of one expression; errors and nodes are placed in it."""

    def __init__(self, text: str) -> None:
        """Raise InvalidValue for a text that is too long, or that UTF-8 cannot encode."""
        if len(text) > _MAX_CHARS:
            message = f"an expression has at most {_MAX_CHARS} characters, this one has {len(text)}"
            raise InvalidValue(message, offset=_MAX_CHARS)
        if not is_encodable(text) or "\0" in text:
            raise InvalidValue("not a valid text: half a character (a surrogate), or a null character")
        self._chars = text
        self._bytes = text.encode()
        # Brackets let the text continue over lines, and admit nothing but expressions.
        self._wrapped = f"[{text}\n]".replace("\r", " ")
        self._starts = [0, *(match.end() for match in re.finditer(b"\n", self._wrapped.encode()))]

    def tree(self) -> ast.expr:
        """Return Python's tree of the text. Raises InvalidValue if it is not exactly one expression."""
        tree = self._parsed()
        if not isinstance(tree, ast.List):
            raise InvalidValue("not a valid expression")
        if not tree.elts:
            raise InvalidValue("the expression is empty")
        rest = self._bytes[self.place(tree.elts[0])[1] :].partition(b"#")[0]
        if len(tree.elts) > 1 or b"," in rest:
            raise self.error(tree.elts[-1], "there is more than one value", "write a list in [ ]")
        return tree.elts[0]

    def _parsed(self) -> ast.expr:
        fields = read_texts(self._chars)
        try:
            tree = _python_tree(self._wrapped)
        except SyntaxError as error:
            for start, field in fields:
                Text(field)._check_field(start)  # noqa: SLF001 - its own class
            self._explain(error)
        except (RecursionError, MemoryError):
            raise InvalidValue(TOO_DEEP) from None
        if isinstance(tree, ast.ListComp):
            raise self.error(tree, "a comprehension without brackets can't be used in an expression", "write it in [ ]")
        return tree

    def _check_field(self, start: int) -> None:
        """Check the syntax of this text, which begins at `start` in an f-string."""
        try:
            self._parsed()
        except InvalidValue as error:
            raise InvalidValue.of([each.below((), start) for each in error.diagnostics]) from None

    def _explain(self, error: SyntaxError) -> NoReturn:
        message = error.msg or ""
        rows = self._wrapped.split("\n")
        row = min(error.lineno or 1, len(rows)) - 1
        offset = sum(len(line) + 1 for line in rows[:row]) + (error.offset or 1) - 2
        offset = min(max(offset, 0), len(self._chars))
        if message.startswith("too many nested"):
            raise InvalidValue(TOO_DEEP, offset=offset) from error
        hints.explain(self._chars)
        raise InvalidValue(*hints.words_for(message, self._chars[offset : offset + 1]), offset) from error

    def place(self, node: ast.expr | ast.keyword) -> tuple[int, int]:
        """Return the byte offsets of `node` in the text."""
        start = self._starts[node.lineno - 1] + node.col_offset - 1
        end = self._starts[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0) - 1
        return max(start, 0), min(max(end, 0), len(self._bytes))

    def written(self, node: ast.expr) -> str:
        """Return the text of `node`."""
        start, end = self.place(node)
        return self._bytes[start:end].decode(errors="replace")

    def error(self, node: ast.expr | ast.keyword, message: str, hint: str = "") -> InvalidValue:
        """Return the error that stands at the beginning of `node`."""
        return InvalidValue(message, hint, self.offset(node))

    def offset(self, node: ast.expr | ast.keyword) -> int:
        """Return where `node` begins, in characters."""
        start, _ = self.place(node)
        return len(self._bytes[:start].decode(errors="ignore"))

    def refused(self, node: ast.expr, construct: ast.AST) -> InvalidValue:
        """Return the error of a `construct` that the language does not have, at `node`."""
        words, hint = hints.REFUSED_CONSTRUCTS.get(type(construct), (f"the construct {type(construct).__name__!r}", ""))
        return self.error(node, f"{words} can't be used in an expression", hint)


def place_missing(root: ast.expr) -> None:
    """Give each node without a place that of its parent, as `ast.fix_missing_locations` does in four times the time."""
    parents: list[tuple[ast.AST, dict[str, int]]] = [(root, {})]
    while parents:
        parent, place = parents.pop()
        values = vars(parent)
        if "lineno" in values:
            place = {name: values[name] for name in PLACE}
        elif isinstance(parent, (ast.expr, ast.arg)):
            values.update(place)
        for value in list(values.values()):
            children = value if type(value) is list else (value,)
            parents += [(each, place) for each in children if isinstance(each, _NODES)]


def tree_of(text: str) -> ast.expr:
    """Return Python's tree of an expression that has been found valid: its texts are not read again."""
    return _python_tree(f"({text}\n)".replace("\r", " "))


def _python_tree(source: str) -> ast.expr:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "\d" in a regex is no concern of the user's.
        return ast.parse(source, mode="eval").body
