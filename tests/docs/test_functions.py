"""The page of functions: every function of the language is there, and every example is true."""

from __future__ import annotations

import json
import re
from typing import Final

import pytest

from bridge.routing.expressions import FUNCTIONS, RUNTIME, lookups
from tests.support.documents import page
from tests.support.evaluation import evaluate, failure

EXAMPLE: Final = re.compile(r"`([^`]+)` → `([^`]+)`")
_ERROR: Final = re.compile(r"`([^`]+)` is an error: `([^`]+)`")
_ROW: Final = re.compile(r"^\| ((?:`\w+\([^`]*\)` ?)+)\| (.+) \| (.+) \|$", re.MULTILINE)


@pytest.mark.parametrize(("text", "result"), EXAMPLE.findall(page("functions")))
def test_an_example_is_true(text: str, result: str) -> None:
    """As JSON, so that 1 is not 1.0, and true is not 1."""
    tables = lookups({"customers": {"c7": 4711}})
    assert json.dumps(evaluate(text, {}, functions={**RUNTIME, **tables})) == json.dumps(json.loads(result))


@pytest.mark.parametrize(("text", "cause"), _ERROR.findall(page("functions")))
def test_an_example_of_an_error_is_true(text: str, cause: str) -> None:
    """Word by word."""
    assert failure(text, {}).cause == cause


def test_every_function_has_a_row_with_an_example_of_its_own() -> None:
    """And there is no row for a function that does not exist."""
    rows = {
        name: example
        for names, _, example in _ROW.findall(page("functions"))
        for name in re.findall(r"`(\w+)\(", names)
    }
    # An example of `lookup` needs a table.
    assert set(rows) - {"lookup"} == set(FUNCTIONS) - {"lookup"}
    assert [name for name, example in rows.items() if f"{name}(" not in example or "→" not in example] == []


def test_the_signatures_are_the_functions() -> None:
    """A row says how many arguments there are."""
    for names, _, _ in _ROW.findall(page("functions")):
        for name, arguments in re.findall(r"`(\w+)\(([^`]*)\)`", names):
            least = len([part for part in arguments.partition("[")[0].split(",") if part.strip(" .")])
            most = None if "..." in arguments else len([part for part in arguments.split(",") if part.strip()])
            function = FUNCTIONS[name]
            if name in {"min", "max"}:
                assert function[1:3] == (1, None)
            elif name == "merge":
                assert function[1:3] == (1, 10)
            else:
                assert (name, *function[1:3]) == (name, least, most)
