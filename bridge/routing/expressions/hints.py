"""Hints: the habits of other languages and common mistakes, each with the correct form."""

from __future__ import annotations

import ast
import keyword
import re
from typing import Final

from bridge.errors import InvalidValue

#: By their lower case: the constants of other languages, and of this one in other cases.
FOREIGN_CONSTANTS: Final = {
    "true": "true",
    "false": "false",
    "null": "null",
    "none": "null",
    "nil": "null",
    "undefined": "null",
}
METHODS: Final = {"startswith": "starts_with", "endswith": "ends_with", "loads": "json", "dumps": "to_json"}
#: The refused constructs in plain words, each with its hint.
REFUSED_CONSTRUCTS: Final[dict[type[ast.AST], tuple[str, str]]] = {
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
_OPERATORS: Final = {
    "&&": "write 'and'",
    "||": "write 'or'",
    "!": "write 'not'",
    "=": "write '==' to compare",
    "?": "write 'a if condition else b'",
    "$": "'$' stands only before the whole value",
}
#: Strings are skipped; then operators of other languages, then brackets, then a keyword as a field.
_TOKENS: Final = re.compile(
    r"""(?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|[=!<>]=|(?P<foreign>&&|\|\||[=!?$])"""
    rf"""|(?P<bracket>[()\[\]{{}}])|\.\s*(?P<keyword>{"|".join(keyword.kwlist)})\b"""
)


def explain(text: str) -> None:
    """Raise InvalidValue if a wrong expression holds one of these mistakes."""
    opened: list[re.Match[str]] = []
    for match in _TOKENS.finditer(text):
        sign = match.group()
        if match["foreign"]:
            raise InvalidValue(f"{sign!r} can't be used in an expression", _OPERATORS[sign], match.start())
        if match["keyword"]:
            hint = f'write ["{match["keyword"]}"] for the field'
            raise InvalidValue(f"{match['keyword']!r} is a word of the language", hint, match.start("keyword"))
        if not match["bracket"]:
            continue
        if sign in "([{":
            opened.append(match)
        elif not opened or opened.pop().group() + sign not in ("()", "[]", "{}"):
            raise InvalidValue(f"{sign!r} closes nothing", offset=match.start())
    if opened:
        raise InvalidValue(f"{opened[-1].group()!r} is never closed", offset=opened[-1].start())
