"""The texts that are written out in an expression, read before Python reads them, so that every Python refuses the same.

An f-string of Python 3.12 can hold its own quotes, backslashes and comments inside `{ }`; that of 3.11 cannot, nor can
one of this language.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from bridge.errors import InvalidValue
from bridge.routing.expressions.text import CONSTANT_SPEC

#: A comment, the beginning of a text, a word, white space, or any other sign.
_TOKEN: Final = re.compile(
    r"""\#[^\n]*|(?P<prefix>(?i:[rbuf]|br|rb|fr|rf)?)(?P<quote>\"{3}|'{3}|["'])|\w+|(?P<space>\s+)|.""", re.DOTALL
)
#: What follows the opening quote, with the closing one.
_REST: Final = {
    quote: re.compile(rf"(?:[^\\]|\\.)*?{quote}" if len(quote) > 1 else rf"(?:[^\\\n{quote}]|\\.)*{quote}", re.DOTALL)
    for quote in ('"', "'", '"""', "'''")
}
#: The braces of an f-string, behind those that stand for themselves.
_BRACE: Final = re.compile(r"\{\{|\}\}|\\N\{[^}]*\}|\\[^{}]|(?P<brace>[{}])", re.DOTALL)
_BRACE_RAW: Final = re.compile(r"\{\{|\}\}|(?P<brace>[{}])")
_SIGN: Final = re.compile(r"""[=!<>]=|\"{3}|'{3}|["'()\[\]{}\\#!:=]""")
_PAIRS: Final = {")": "(", "]": "[", "}": "{"}
#: A conversion and a format behind the expression of a field.
_END_OF_FIELD: Final = re.compile(r"(!(?P<conversion>[^:{}]*))?(:[^{}]*)?(?P<brace>[{}]?)")
_OTHER_QUOTES: Final = "use the other quotes inside { }"

#: The expression in a field of an f-string, behind the place where it begins.
Field = tuple[int, str]


def read_texts(text: str) -> list[Field]:
    """Return the fields of all f-strings in an expression.

    Raises:
        InvalidValue: a text is not closed, two stand side by side, or an f-string is none of every Python's.
    """
    fields: list[Field] = []
    index, is_behind_text = 0, False
    while match := _TOKEN.match(text, index):
        index = match.end()
        if match["quote"]:
            rest = _REST[match["quote"]].match(text, index)
            if rest is None:
                raise InvalidValue("a text is never closed", "add the closing quote", match.start("quote"))
            if is_behind_text:
                hint = "write a comma between them, or one text"
                raise InvalidValue("two texts stand side by side", hint, match.start())
            if "f" in match["prefix"].lower():
                fstring = _Fstring(text, match, rest.end() - len(match["quote"]))
                fields += fstring.fields()
            index, is_behind_text = rest.end(), True
        elif not match["space"] and match[0][0] != "#":
            is_behind_text = False
    return fields


class _Fstring:
    """One f-string of an expression: from its opening, a match of _TOKEN, to the closing quote at `end`."""

    def __init__(self, text: str, opening: re.Match[str], end: int) -> None:
        self._text = text
        self._begin, self._end = opening.end(), end
        self._quote = opening["quote"]
        self._braces = _BRACE_RAW if "r" in opening["prefix"].lower() else _BRACE

    def fields(self) -> Iterator[Field]:
        """Yield the fields, each behind the check of its own texts."""
        index = self._begin
        while match := self._braces.search(self._text, index, self._end):
            index = match.end()
            if match["brace"] == "}":
                raise InvalidValue("a single '}' in an f-string", "write }} for the sign", match.start())
            if not match["brace"]:
                continue
            start = index
            index = self._end_of_expression(start)
            field = self._text[start:index]
            if not field.strip():
                raise InvalidValue("nothing stands inside { }", "write {{ and }} for the signs", start)
            try:
                read_texts(field)
            except InvalidValue as error:
                raise InvalidValue.of([each.below((), start) for each in error.diagnostics]) from None
            yield start, field
            index = self._end_of_field(start, index)

    def _end_of_expression(self, start: int) -> int:
        """Return where the expression of a field ends: at its brace, its format, or its conversion."""
        opened: list[str] = []
        index = start
        while match := _SIGN.search(self._text, index, self._end):
            sign, index = match[0], match.end()
            if sign in _REST:
                index = self._text.find(sign, index, self._end) + len(sign)
                if index < len(sign):
                    raise self._unclosed()
                self._refuse_backslash(match.start(), index)
            elif sign == "\\":
                self._refuse_backslash(match.start(), index)
            elif sign == "#":
                raise InvalidValue("'#' can't be used inside { } of an f-string", "", match.start())
            elif sign in "([{":
                opened.append(sign)
            elif sign in _PAIRS and opened and (sign != "}" or opened[-1] == "{"):
                opened.pop()
            elif sign == "}" or (not opened and sign in "!:"):
                return match.start()
            elif sign == "=" and not opened and self._text[index:].lstrip()[:1] in {"}", ":", "!"}:
                field = self._text[start : match.start()].strip()
                hint = f"write {field}={{{field}}}"
                raise InvalidValue("'=' can't be used behind a value in an f-string", hint, match.start())
        raise self._unclosed()

    def _end_of_field(self, start: int, index: int) -> int:
        """Return where a field ends whose expression ends at `index`, behind a conversion and a format."""
        match = _END_OF_FIELD.match(self._text, index, self._end)
        assert match is not None  # noqa: S101 - it matches nothing as well
        if match["conversion"] not in (None, "s"):
            conversion = f"'!{match['conversion']}'"
            raise InvalidValue(f"{conversion} can't be used in an f-string", "write {value}", start)
        if match["brace"] == "{":
            raise InvalidValue(CONSTANT_SPEC, offset=start)
        if not match["brace"]:
            raise self._unclosed()
        return match.end()

    def _refuse_backslash(self, start: int, end: int) -> None:
        at = self._text.find("\\", start, end)
        if at >= 0:
            quoted = self._text[at + 1 : at + 2] in {'"', "'"}
            hint = _OTHER_QUOTES if quoted else 'write join("", [...]) instead of the f-string'
            raise InvalidValue("a backslash can't be used inside { } of an f-string", hint, at)

    def _unclosed(self) -> InvalidValue:
        rest = self._text[self._end + len(self._quote) :]
        hint = _OTHER_QUOTES if self._quote in rest else "add the closing }"
        return InvalidValue("this quote ends the f-string inside { }", hint, self._end)
