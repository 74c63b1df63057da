"""Syntax: the text of an expression, Python's tree of it, and where in the text each node stands."""

from __future__ import annotations

import ast
import re
import warnings
from typing import Final, NoReturn

from bridge.errors import ExpressionError
from bridge.routing.expressions import hints

_MAX_CHARS: Final = 4096
MAX_DEPTH: Final = 50
TOO_DEEP: Final = f"nested more than {MAX_DEPTH} deep"


def encodable(text: str) -> bool:
    """Say whether `text` has no half of a character (a surrogate), which has no bytes in UTF-8."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


class Text:
    """The text of one expression; errors and nodes are placed in it."""

    def __init__(self, text: str) -> None:
        """Raise ExpressionError for a text that is too long, or that UTF-8 does not know."""
        if len(text) > _MAX_CHARS:
            problem = f"an expression has at most {_MAX_CHARS} characters, this one has {len(text)}"
            raise ExpressionError(problem, offset=_MAX_CHARS)
        if not encodable(text) or "\0" in text:
            raise ExpressionError("not a valid text: half a character (a surrogate), or a null character")
        self._chars = text
        self._bytes = text.encode()
        # Brackets around it let it run over lines, and admit nothing but one expression.
        self._wrapped = f"[{text}\n]".replace("\r", " ")
        self._starts = [0, *(match.end() for match in re.finditer(b"\n", self._wrapped.encode()))]

    def tree(self) -> ast.expr:
        """Return Python's tree of the text. Raises ExpressionError where it is not exactly one expression."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # "\d" in a regex is no concern of the user's.
                tree = ast.parse(self._wrapped, mode="eval").body
        except SyntaxError as error:
            self._explain(error)
        except (RecursionError, MemoryError):
            raise ExpressionError(TOO_DEEP) from None
        if isinstance(tree, ast.ListComp):
            raise self.refused(tree, tree)
        if not isinstance(tree, ast.List):
            raise ExpressionError("not a valid expression")
        if not tree.elts:
            raise ExpressionError("the expression is empty")
        rest = self._bytes[self.place(tree.elts[0])[1] :].partition(b"#")[0]
        if len(tree.elts) > 1 or b"," in rest:
            raise self.error(tree.elts[-1], "there is more than one value", "write a list in [ ]")
        return tree.elts[0]

    def _explain(self, error: SyntaxError) -> NoReturn:
        message = (error.msg or "").partition(" (")[0]
        rows = self._wrapped.split("\n")
        row = min(error.lineno or 1, len(rows)) - 1
        at = sum(len(line) + 1 for line in rows[:row]) + (error.offset or 1) - 2
        at = min(max(at, 0), len(self._chars))
        if message.startswith("too many nested"):
            raise ExpressionError(TOO_DEEP, offset=at) from error
        if message.startswith("f-string"):
            found = re.search(r"""[rR]?[fF][rR]?["']""", self._chars)
            raise ExpressionError(message, offset=found.start() if found else at) from error
        if message.startswith("unterminated"):
            raise ExpressionError("a text is never closed", "add the closing quote", at) from error
        hints.explain(self._chars)
        if message.startswith("invalid syntax") or "']'" in message:
            message = "not a valid expression"
        elif "Maybe you meant" in message:
            message = message.partition(". Maybe")[0]
        raise ExpressionError(message, offset=at) from error

    def place(self, node: ast.expr | ast.keyword) -> tuple[int, int]:
        """Return the byte offsets of `node` in the text."""
        start = self._starts[node.lineno - 1] + node.col_offset - 1
        end = self._starts[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0) - 1
        return max(start, 0), min(max(end, 0), len(self._bytes))

    def written(self, node: ast.expr) -> str:
        """Return the text of `node`."""
        start, end = self.place(node)
        return self._bytes[start:end].decode(errors="replace")

    def error(self, node: ast.expr | ast.keyword, problem: str, hint: str = "") -> ExpressionError:
        """Return the error that stands at the beginning of `node`."""
        start, _ = self.place(node)
        return ExpressionError(problem, hint, len(self._bytes[:start].decode(errors="ignore")))

    def refused(self, node: ast.expr, construct: ast.AST) -> ExpressionError:
        """Return the error of a `construct` that the language does not have, at `node`."""
        words, hint = hints.REFUSED.get(type(construct), (f"the construct {type(construct).__name__!r}", ""))
        return self.error(node, f"{words} can't be used in an expression", hint)
