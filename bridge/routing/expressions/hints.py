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
#: Names that other programs have for the decoded body.
FOREIGN_NAMES: Final = frozenset(
    {"msg", "message", "event", "data", "body", "this", "self", "root", "value", "it", "doc"}
)
#: Functions of other programs, each with the way it is done here.
FOREIGN_FUNCTIONS: Final = {
    **dict.fromkeys(
        ("env", "getenv", "environ", "secret"), "write ${NAME} in a value; an expression reads the event only"
    ),
    **dict.fromkeys(("contains", "includes", "str_contains"), 'write "a" in payload.text'),
    **dict.fromkeys(("concat", "format", "sprintf", "strcat"), 'write f"{payload.a}-{payload.b}"'),
    **dict.fromkeys(("exists", "defined", "isset", "present", "hasattr"), "write has(payload.a)"),
    **dict.fromkeys(("length", "size", "count"), "write len(payload.a)"),
    **dict.fromkeys(("get", "ifnull", "coalesce", "nvl", "if_null", "catch"), "write default(payload.a, fallback)"),
    **dict.fromkeys(("trim", "strip_whitespace"), "write strip(payload.a)"),
    **dict.fromkeys(("tolower", "downcase", "lowercase", "lcase"), "write lower(payload.a)"),
    **dict.fromkeys(("toupper", "upcase", "uppercase", "ucase"), "write upper(payload.a)"),
    **dict.fromkeys(("parse_json", "from_json", "json_parse", "fromjson"), "write json(payload.a)"),
    **dict.fromkeys(("tojson", "stringify", "encode_json", "json_encode"), "write to_json(payload.a)"),
    **dict.fromkeys(
        ("match", "regex", "regex_match", "re_match", "regexp", "rlike"), 'write matches(payload.a, "regex")'
    ),
    **dict.fromkeys(("number", "to_number", "parse_float", "double", "tonumber"), "write float(payload.a)"),
    **dict.fromkeys(("integer", "to_int", "parse_int", "toint"), "write int(payload.a)"),
    **dict.fromkeys(("string", "to_string", "tostring"), "write str(payload.a)"),
    **dict.fromkeys(("today", "date", "datetime", "current_timestamp", "time"), "write now(), milliseconds since 1970"),
    **dict.fromkeys(("parse_timestamp", "strptime", "to_timestamp", "parse_time"), "write timestamp(payload.a)"),
    **dict.fromkeys(("if", "iif", "ternary", "cond"), "write a if condition else b"),
    "b64encode": "write base64(payload.a)",
}
METHODS: Final = {"startswith": "starts_with", "endswith": "ends_with", "loads": "json", "dumps": "to_json"}
#: The refused constructs in plain words, each with its hint.
REFUSED_CONSTRUCTS: Final[dict[type[ast.AST], tuple[str, str]]] = {
    ast.Lambda: ("a lambda", ""),
    ast.SetComp: ("a set", "write a list in [ ]"),
    ast.GeneratorExp: ("a comprehension without brackets", "write it in [ ]"),
    ast.NamedExpr: ("an assignment", "write '==' to compare"),
    ast.Await: ("'await'", ""),
    ast.Yield: ("'yield'", ""),
    ast.YieldFrom: ("'yield'", ""),
    ast.Starred: ("a starred value", ""),
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
    "$": "'$' stands only before the whole value; a field is written payload.a",
    "===": "write '==' to compare",
    "!==": "write '!=' to compare",
    "<>": "write '!=' to compare",
    "=~": 'write matches(payload.a, "regex")',
    "??": "write default(payload.a, fallback)",
    "?.": "write default(payload.a.b, fallback)",
    "[*]": "write [0] for one element",
    "{{": "write the expression without braces",
    "and": "write 'and'",
    "or": "write 'or'",
    "not": "write 'not'",
    "like": 'write matches(payload.a, "regex")',
    "matches": 'write matches(payload.a, "regex")',
    "contains": 'write "a" in payload.text',
    "between": "write 1 <= payload.a <= 2",
}
#: Strings are skipped; then operators of other languages, then brackets, then a keyword as a field.
_TOKENS: Final = re.compile(
    r"""(?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|(?P<foreign>[=!]==|<>|=~|\?\?|\?\.|\[\*\]|\{\{)"""
    r"""|[=!<>]=|(?P<sign>&&|\|\||[=!?$])|(?P<index>\.[0-9]+)(?=\W|$)"""
    r"""|(?<![\w.])(?P<word>AND|And|OR|Or|NOT|Not|like|LIKE|between|BETWEEN|contains|matches)\b(?!\s*\()"""
    rf"""|(?P<bracket>[()\[\]{{}}])|\.\s*(?P<keyword>{"|".join(keyword.kwlist)})\b"""
)

#: As in JSONPath's `$.a`, behind its dollar.
_FIELD_OF_NOTHING: Final = re.compile(r"\s*(\.[A-Za-z_]\w*)")


def explain(text: str) -> None:
    """Raise InvalidValue if a wrong expression holds one of these mistakes."""
    if match := _FIELD_OF_NOTHING.match(text):
        raise InvalidValue(f"{match[1]!r} is a field of nothing", f"write payload{match[1]}", match.start(1))
    opened: list[re.Match[str]] = []
    for match in _TOKENS.finditer(text):
        sign = match.group()
        if match["foreign"] or match["sign"] or match["word"]:
            raise InvalidValue(f"{sign!r} can't be used in an expression", _OPERATORS[sign.lower()], match.start())
        if match["index"] and text[: match.start()][-1:].isidentifier():
            raise InvalidValue(f"{sign!r} is no field", f"write [{sign[1:]}] for an element of a list", match.start())
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
