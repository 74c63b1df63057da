"""The explanation of an event on which an expression fails."""

from __future__ import annotations

import pytest

from bridge.routing.expressions import ExpressionFailure, explain_failure
from tests.support.evaluation import FILENAME, PAYLOAD, failure

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize(
    ("text", "part", "missing", "cause"),
    [
        ("payload.site.unit == 1", "payload.site.unit", True, "no field 'unit'"),
        ("1 + payload.unit.symbol", "payload.unit.symbol", True, "null has no fields"),
        ("payload.tags[5]", "payload.tags[5]", True, "no element at this index"),
        ('f"é {payload.name} {payload.zz}"', "payload.zz", True, "no field 'zz'"),
        ("default(payload.q, payload.r)", "payload.r", True, "no field 'r'"),
        ("payload.name.first", "payload.name.first", False, "text has no fields"),
        ("payload.celsius.x", "payload.celsius.x", False, "a number has no fields"),
        ("payload.tags.first", "payload.tags.first", False, "a list has no fields"),
        ("payload.tags[oven]", "payload.tags[oven]", False, "a list has no fields"),
        ("payload.site[payload.tags]", "payload.site[payload.tags]", False, "a list can't be an index of a mapping"),
        ("payload.µs > payload.name", "payload.µs > payload.name", False, "'>' can't compare a number with text"),
        ("payload.unit < 3", "payload.unit < 3", False, "'<' can't compare null with a number"),
        ("1 in payload.name", "1 in payload.name", False, "'in' can't look for a number in text"),
        ("1 in payload.celsius", "1 in payload.celsius", False, "'in' can't look into a number"),
        ("payload.name + 1", "payload.name + 1", False, "'+' takes numbers, not text"),
        ("2 * (has(payload.tags) + 1)", "has(payload.tags) + 1", False, "'+' takes numbers, not true or false"),
        ("1 / (payload.celsius - 300)", "1 / (payload.celsius - 300)", False, "division by zero"),
        ("1e308 * 10", "1e308 * 10", False, "'*': a number is not finite"),
        ("(-8) ** 0.5", "(-8) ** 0.5", False, "'**': a fractional power of a negative number"),
        ("[int(payload.name)]", "int(payload.name)", False, "'Ofen Süd' is not a whole number"),
        ("int('1_0')", "int('1_0')", False, "'1_0' is not a whole number"),
        ("float('nan')", "float('nan')", False, "'nan' is not a finite number"),
        ("len(3)", "len(3)", False, "len() takes text, a list or a mapping, not a number"),
        ("upper(payload.tags)", "upper(payload.tags)", False, "upper() takes text, not a list"),
        ("join(',', [1])", "join(',', [1])", False, "join() takes a list of texts, not a number"),
        ("min([])", "min([])", False, "min() of an empty list"),
        ("max(1, 'a')", "max(1, 'a')", False, "max() takes numbers only or texts only, not a mix of both"),
        ("min(1, null)", "min(1, null)", False, "min() takes numbers only or texts only, not null"),
        ("max(1)", "max(1)", False, "max() takes a list, or two or more values, not a number"),
        ("split('a', '')", "split('a', '')", False, "split(): the separator is empty"),
        ("starts_with('a', 1)", "starts_with('a', 1)", False, "starts_with() takes two texts, not a number"),
        ("matches(1, 'a')", "matches(1, 'a')", False, "matches() takes text, not a number"),
        ("timestamp('soon')", "timestamp('soon')", False, "'soon' is not a time in ISO 8601"),
        ("json('[1')", "json('[1')", False, "json(): Input data was truncated"),
        ("base64(1)", "base64(1)", False, "base64() takes text or bytes, not a number"),
        ("{payload.celsius: 1}", "payload.celsius", False, "a key of a mapping is text, not a number"),
        ("f'{payload.name:d}'", "f'{payload.name:d}'", False, "'Ofen Süd' can't be formatted with 'd'"),
        ("f'{payload.tags:>9}'", "f'{payload.tags:>9}'", False, "a list can't be formatted with '>9'"),
    ],
)
def test_a_failure_names_its_place_and_cause(text: str, part: str, missing: bool, cause: str) -> None:
    """A failure names the part of the expression that failed, the cause, and whether a field was missing."""
    failed = failure(text, PAYLOAD)
    assert (failed.line, failed.missing, failed.cause) == (7, missing, cause)
    assert text.encode()[failed.text_start : failed.text_end].decode() == part


@pytest.mark.parametrize("text", ["payload[payload.k]", "int(payload.s)", "timestamp(payload.s)", "float(payload.s)"])
def test_a_failure_quotes_little_of_the_event(text: str) -> None:
    """An error never carries more than 80 characters of an event's data into a log, nor a line break."""
    hostile = "secret\n\x1b[31m" * 30_000
    cause = failure(text, {"k": hostile, "s": hostile}).cause
    assert len(cause) < 130
    assert "\n" not in cause
    assert "\x1b" not in cause


def test_a_failure_of_other_code_has_no_place() -> None:
    """An error that did not come from an expression gets no invented position."""
    assert explain_failure(ValueError("x"), FILENAME) == ExpressionFailure(0, 0, 0, missing=False, cause="x")
