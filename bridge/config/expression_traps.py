"""Where YAML ends the unquoted text of an expression too early, and the one remedy.

A comma and a bracket (in lists and mappings in brackets), a colon before a space, and a `#` behind one have a meaning
in YAML.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from bridge.errors import KeyPath

REMEDY: Final = "write the whole value in single quotes, and each single quote inside it twice"
_CLOSING: Final = {"(": ")", "[": "]", "{": "}"}
#: Brackets, and texts in quotes, whose group is empty if they are not closed.
_TOKEN: Final = re.compile(r"""'(?:[^'\\]|\\.)*(?P<single>'?)|"(?:[^"\\]|\\.)*(?P<double>"?)|[()\[\]{}]""", re.DOTALL)
_COLON: Final = re.compile(r":(?=[ \t\r\n]|$)")
#: A line up to a syntax error, if an expression is cut before it.
_CUT_LINE: Final = re.compile(r"[\[{,:][ \t]*\$[^,\[\]{}]*(?P<sign>[\[{])")
#: So much of a long line is looked at.
_MAX_SEARCHED: Final = 4096
_MISSING_SPACE: Final = re.compile(r"[A-Za-z_][\w-]*:\$")


class Cut(NamedTuple):
    """The character at which YAML ends an expression, and the words for it."""

    at: int
    message: str


class Cuts:
    """The expressions of a file that YAML has cut."""

    def __init__(self) -> None:
        self._found: list[int] = []

    def find(self, text: str, value: str, end: int, *, in_flow: bool) -> Cut | None:
        """Return where YAML ends the unquoted expression `value`, unless it is whole there.

        It ends at `end` in the text of the file; `in_flow`: in a list in `[ ]`, or a mapping in `{ }`.
        """
        cut = _find_cut(text, value, end, in_flow=in_flow)
        if cut is not None:
            self._found.append(cut.at)
        return cut

    def explain(self, text: str, index: int) -> bool:
        """Tell whether a syntax error at `index` follows from an expression that was cut on this line or the one above.

        What is not closed is shown where it opens, which is before.
        """
        end = text.find("\n", index)
        last = max((cut for cut in self._found if cut <= index or end < 0 or cut < end), default=None)
        return last is not None and text.count("\n", last, index) < 2


def is_expression_of_route(path: KeyPath, text: str) -> bool:
    """Tell whether `$` begins an expression of a route, in which nothing is substituted or hidden."""
    return path[:1] == ("routes",) and text.startswith("$") and not text.startswith("${")


def holds_expression(path: KeyPath, text: str) -> bool:
    """Tell whether a text at this path is an expression: in a route, or as the key of a source's `deduplicate`."""
    if path[:1] == ("routes",):
        return path[2:] == ("when",) or (text.startswith("$") and not text.startswith("$$"))
    return path[-2:] == ("deduplicate", "key") and text.startswith("$")


def cut_in_line(text: str, index: int) -> Cut | None:
    """Return where an expression in brackets is cut, on the line of a syntax error at `index`."""
    begin = begin_of_line(text, index)
    match = _CUT_LINE.search(text[begin:index])
    return None if match is None else _in_flow(begin + match.start("sign"), match["sign"])


def begin_of_line(text: str, index: int) -> int:
    """Return where the line of a character begins, or, of a long one, the part that is looked at."""
    return max(text.rfind("\n", 0, index) + 1, index - _MAX_SEARCHED)


def lacks_space(path: KeyPath, text: str) -> bool:
    """Tell whether a text stands where a route has a mapping, and looks like a key and an expression."""
    return path[:1] == ("routes",) and path[2:] in {(), ("kwargs",), ("options",)} and bool(_MISSING_SPACE.match(text))


def _in_flow(index: int, sign: str) -> Cut:
    return Cut(index, f"YAML ends this expression at `{sign}`, which has a meaning inside [ ] and {{ }}")


def _find_cut(text: str, value: str, end: int, *, in_flow: bool) -> Cut | None:
    index = end
    while text.startswith((" ", "\t"), index):
        index += 1
    sign = text[index : index + 1]
    if sign == "#" and _is_open(value):
        return Cut(index, "YAML ends this expression at ` #`, where a comment begins")
    if _COLON.match(text, index):
        return Cut(index, "YAML ends this expression at `: `")
    if in_flow and (sign in {"[", "{"} or (sign in {",", "]", "}"} and _is_open(value))):
        return _in_flow(index, sign)
    return None


def _is_open(value: str) -> bool:
    """Tell whether a bracket or a text in quotes is not closed."""
    closing: list[str] = []
    for token in _TOKEN.finditer(value):
        if token["single"] == "" or token["double"] == "":
            return True
        if token[0] in _CLOSING:
            closing.append(_CLOSING[token[0]])
        elif closing and token[0] == closing[-1]:
            closing.pop()
    return bool(closing)
