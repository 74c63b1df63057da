"""The list of the tests that `make test` leaves out."""

from __future__ import annotations

from fnmatch import translate
from pathlib import Path
from re import match

import pytest

from tests.long import LONG, is_long


@pytest.mark.parametrize("pattern", LONG)
def test_each_pattern_is_of_tests_that_exist(pattern: str) -> None:
    """Its file has a function that the pattern's name fits: a test that has another name now is not left out by mistake."""
    file, _, rest = pattern.partition("::")
    name = rest.partition("[[]")[0]
    text = (Path(__file__).parent / file).read_text()
    names = [
        line.removeprefix("async ")[4:].partition("(")[0] for line in text.splitlines() if "def test_" in line[:15]
    ]
    assert any(match(translate(name), each) for each in names) or name.startswith("*")


def test_siblings_stay() -> None:
    """Of a table with long rows others stay."""
    row = "tests/process/test_clock.py::test_a_bridge_that_stood_still_calls_no_source_stuck"
    assert is_long(f"{row}[fast-2]")
    assert not is_long(f"{row}[fast-1]")
    assert not is_long("tests/faults/test_matrix.py::test_a_mistake_turns_a_row_red[acknowledge-before-write]")
