"""YAML's syntax errors in plain words, and the repair that lets the rest of the file be read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

import yaml

from bridge.config.expression_traps import REMEDY, begin_of_line, cut_in_line

#: A file that is nested deeper is not read on: libyaml takes quadratic time for it.
MAX_DEPTH: Final = 32
#: So many unquoted `*` and the like are found in one go, while the text is read again for them up to so many characters.
_MAX_REPAIRS: Final = 20
_MAX_REREAD: Final = 1 << 19
#: By a pattern of the parsers' messages: whether the context is the better place, our message, and the hint.
_EXPLANATIONS: Final = (
    (
        r"mapping values are not allowed",
        False,
        "a key cannot stand here",
        'quote text that holds ": ", or check the indentation',
    ),
    (
        r"sequence entries are not allowed",
        False,
        "a list cannot begin here",
        "begin it on the next line, or quote the text",
    ),
    (r"tab character that violates", False, "a tab in the indentation", "YAML is indented by spaces"),
    (
        r"expected ',' or '\]'",
        True,
        "this list is not closed, or an item is not separated by a comma",
        "quote an item that holds brackets, such as an expression",
    ),
    (
        r"expected ',' or '\}'",
        True,
        "this mapping is not closed, or an entry is not separated by a comma",
        "quote a value that holds brackets, such as an expression",
    ),
    (r"expected (the )?node content", True, "a value is missing, or a bracket is not closed", ""),
    (r"unexpected end of stream|document separator", True, "this quote is not closed", ""),
    (
        r"unknown escape|escape sequence|invalid Unicode character escape|hexadecimal",
        False,
        "an unknown escape in double quotes",
        r"use single quotes, or \\ for a backslash",
    ),
    (r"could not find expected ':'", True, "a line without a colon where a key is expected", ""),
    (
        r"did not find expected key|expected <block end>|expected '-' indicator",
        False,
        "this does not fit what stands above",
        "check the indentation, and quote a value as a whole",
    ),
    (
        r"comment or line break|chomping or indentation|indentation indicator",
        False,
        "unexpected text after | or >",
        "begin the text on the next line, or quote it",
    ),
    (r"<document start>", False, "unexpected text after the end of the configuration", ""),
    (r"directive", False, "a line that begins with % is a directive of YAML", "quote the text"),
    (r"tag", True, "tags are refused", "quote text that begins with !"),
)
#: The messages that an item of a list gets where its indentation is not that of the list.
_OF_INDENTATION: Final = ("this does not fit what stands above", "unexpected text after the end of the configuration")
#: A value in quotes or brackets that has ended on this line, and the parsers' words for text behind one.
_CLOSED = re.compile(r"""[:\-,\[{][ \t]+["'\[{].*(["'\]}])[ \t]*$""")
#: An expression in quotes that a quote inside it has ended.
_INNER_QUOTE = re.compile(r"""(["'])\$.*\1$""")
_OPEN_QUOTE = re.compile(r"unexpected end of stream|document separator")
_IN_FLOW = re.compile(r"expected ',' or|unexpected ':'")
_MORE = re.compile(r"did not find expected key|expected <block end>|expected '-' indicator")
_ITEM = re.compile(r"( *)-(?: |$)")
_ANCHOR = re.compile(r"an (alias|anchor)")


@dataclass(frozen=True, slots=True)
class SyntaxFault:
    """One syntax error, at a character of the file.

    It is no Diagnostic: a file that cannot be parsed has no paths. If it is `repairable`, the rest of the file can be
    read with a letter in place of the character at `index`.
    """

    index: int
    message: str
    hint: str
    repairable: bool = False


def explain(error: yaml.YAMLError, text: str) -> SyntaxFault:
    """Return the syntax error that pyyaml raised for `text`, in plain words."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return SyntaxFault(0, "this is not YAML", "")
    problem = error.problem or ""
    context = error.context or ""
    mark = error.problem_mark or error.context_mark
    index = min(mark.index if mark else 0, len(text))
    begin = min(error.context_mark.index, len(text)) if error.context_mark else index
    if _ANCHOR.search(context):
        return _indicator(text, begin)
    if "cannot start any token" in problem:
        if text[index : index + 1] == "\t":
            return SyntaxFault(index, "a tab in the indentation", "YAML is indented by spaces")
        return _indicator(text, index)
    if cut := _cut_value(problem, text, index, begin):
        return cut
    for pattern, by_context, message, hint in _EXPLANATIONS:
        if re.search(pattern, problem):
            if message in _OF_INDENTATION and (unlike := _unlike_item(text, index)):
                return SyntaxFault(index, unlike, "indent the items of a list alike")
            # The parser finds a missing bracket or quote at the end of the file; it is better shown where it opens.
            far = by_context and not (index < len(text) and "\n" not in text[begin:index])
            return SyntaxFault(begin if far else index, message, hint)
    if "tag" in context:
        return SyntaxFault(begin, "tags are refused", "quote text that begins with !")
    return SyntaxFault(index, "this is not YAML", "check the indentation and the quotes")


def _cut_value(problem: str, text: str, index: int, begin: int) -> SyntaxFault | None:
    """Return the fault of a value that goes on where YAML has ended it, None if it is another."""
    if _MORE.search(problem) and (end := _CLOSED.search(text, begin_of_line(text, index), index)):
        what = "quote" if end[1] in "'\"" else "bracket"
        return SyntaxFault(index, f"YAML ends this value at the {what} before, and more follows", REMEDY)
    cut = None
    if _OPEN_QUOTE.search(problem):
        cut = cut_in_line(text, begin)
    elif _IN_FLOW.search(problem):
        if _INNER_QUOTE.search(text, begin_of_line(text, index), index):
            return SyntaxFault(index, "YAML ends this value at the quote before, and more follows", REMEDY)
        cut = cut_in_line(text, index + 1)
    return None if cut is None else SyntaxFault(cut.at, cut.message, REMEDY)


def _unlike_item(text: str, index: int) -> str:
    """Say how the item at `index` and the items above it, down from the last key of the file, are indented; "" if it is none."""
    begin = text.rfind("\n", 0, index) + 1
    own = _ITEM.match(text[begin:].partition("\n")[0])
    if own is None or own.end(1) != index - begin:
        return ""
    above = set()
    for line in reversed(text[:begin].splitlines()):
        if item := _ITEM.match(line):
            above.add(len(item[1]))
        elif line.strip() and line[0] not in " #":
            break
    if not above or len(own[1]) in above:
        return ""
    return f"this item is indented by {len(own[1])} spaces, the items above by {' or '.join(map(str, sorted(above)))}"


def _indicator(text: str, index: int) -> SyntaxFault:
    char = text[index : index + 1]
    hint = f'quote it, as in "{"*.created" if char == "*" else char + "..."}"'
    return SyntaxFault(index, f"an unquoted value cannot begin with {char}", hint, repairable=True)


def repair(text: str, fault: SyntaxFault | None, repaired: dict[int, SyntaxFault], loader: type[Any]) -> str:
    """Return the text with a letter in place of each character that is faulty as `fault` is, and add their faults to `repaired`.

    An unquoted wildcard should not hide every other mistake: so the rest of the file can be read, and no character moves.
    """
    left = _MAX_REREAD
    while fault and fault.repairable and fault.index not in repaired and len(repaired) < _MAX_REPAIRS and left > 0:
        repaired[fault.index] = fault
        text = f"{text[: fault.index]}x{text[fault.index + 1 :]}"
        fault = _next_fault(text, loader)
        left -= fault.index if fault else 0
    return text


def _next_fault(text: str, loader: type[Any]) -> SyntaxFault | None:
    """Return the first fault of the text, unless it is nested too deep before it."""
    depth = 0
    try:
        for event in yaml.parse(text, Loader=loader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                return None
    except yaml.YAMLError as error:
        return explain(error, text)
    return None
