"""The errors of the whole language, on values of every kind, have no word of Python's: users write YAML and JSON."""

from __future__ import annotations

import itertools
import re
from typing import Final

import pytest

from bridge.errors import BadEvent, InvalidValue
from bridge.model.event import PartlyRead
from bridge.routing.expressions import EXPRESSION_ERRORS, FUNCTIONS, NAMES, explain_failure, parse
from tests.support.evaluation import CAPTURES, FILENAME, build

VALUES: Final = [None, True, 0, -7, 1.5, 10**300, "", "x'y", [], [1], [None, "a"], [[1], {}], {}, {"a": 1}]
#: Calls whose constants are checked at load, and what is no call; `a` and `b` are values of an event.
TEXTS: Final = [
    *(f"a {sign} b" for sign in ("+", "-", "*", "/", "//", "%", "**", "<", "<=", ">", ">=", "==", "in", "not in", "and")),
    *("-a", "not a", "a.x", "a[0]", "a[b]", "a[b:]", "a[:b]", '{"x": a}[b]', "1 if a else b", 'f"{a}"', 'f"{a:>3d}"', 'f"{a:.2f}"'),
    *("[x for x in a]", "[x for x, y in a]", "{x: 1 for x in a}", "[x for x in a if x < b]", "sum(x for x in a)"),
    *('matches(a, "x")', 'capture(a, "(x)")', 'timestamp(a, "%Y", "UTC")', 'format_time(a, "%Y")'),
    *('day_at(a, b, "08:00", "UTC")', 'weekday(a, "UTC")', 'decimal(a, 2, ".")', 'cents(a, 2, ".")', 'hmac(a, b, "sha1")'),
    *('uuid5(a, "url")', "bucket(a, 8)", "int(a, 16)"),
]  # fmt: skip
_CALLS: Final = [
    f"{name}({', '.join(arguments)})"
    for name, function in FUNCTIONS.items()
    for arguments in (["a"], ["a", "b"], ["a", "b", "a"])
    if function.min_args <= len(arguments) <= (function.max_args or 3)
]
#: Names of types, and words of their errors; a call is written `int(`.
_PYTHON: Final = re.compile(
    r"\b(None|True|False|NoneType|str|int|float|bool|dict|tuple|object|instances?|iterable|unhashable|subscriptable|"
    r"PartlyRead|\w+Error)\b(?!\()"
)


def _in_captures(text: str) -> str:
    """Return an expression of `a` and `b` as one of the captures that tests have."""
    return re.sub(r"\bb\b", "plant", re.sub(r"\ba\b", "oven", text))


def _causes(text: str) -> set[str]:
    """Return why the expression fails, over all pairs of values."""
    found: set[str] = set()
    function = build(parse(_in_captures(text), (*NAMES, *CAPTURES), line=7))
    for a, b in itertools.product(VALUES, repeat=2):
        try:
            function(**dict.fromkeys(NAMES), oven=a, plant=b)
        except EXPRESSION_ERRORS as error:
            found.add(explain_failure(error, FILENAME).cause)
    return found


def test_no_error_speaks_of_pythons_types() -> None:
    """Nor does one of an operator, of a function, of a loop."""
    causes: set[str] = set()
    failing = 0
    for text in dict.fromkeys([*TEXTS, *_CALLS]):
        try:
            found = _causes(text)
        except InvalidValue:
            assert text not in TEXTS  # an argument that is a constant
            continue
        failing += bool(found)
        causes |= found
    assert failing >= 90
    assert [cause for cause in causes if _PYTHON.search(cause)] == []
    assert {
        "null has no fields",
        "'<' can't compare null with a number",
        "sum() takes a list, not true or false",
    } <= causes


def test_headers_that_cannot_be_read_are_refused_as_such() -> None:
    """By each operator and each function that takes them for a value."""
    headers = PartlyRead({}, "a property can't be read", None)
    for text in ("headers < 1", "1 > headers", "upper(headers)", "headers + 1", "[x for x in headers]", "len(headers)"):
        function = build(parse(text, (*NAMES, *CAPTURES)))
        with pytest.raises(BadEvent, match="a property can't be read"):
            function(**dict.fromkeys((*NAMES, *CAPTURES)) | {"headers": headers})
