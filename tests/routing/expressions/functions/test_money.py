"""Money: exact for every amount, and nothing is guessed."""

from __future__ import annotations

import decimal
import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.routing.expressions.money import cents
from bridge.routing.expressions.money import decimal as amount
from tests.support.evaluation import evaluate, failure, refusal

SPACE = "\N{NO-BREAK SPACE}"
NARROW = "\N{NARROW NO-BREAK SPACE}"
MINUS = "\N{MINUS SIGN}"


@pytest.mark.parametrize(
    ("text", "marks", "result"),
    [
        ("1234.5", ".", "1234.5"),
        ("1234,50", ",", "1234.50"),
        ("1,234,567.5", ".,", "1234567.5"),
        ("1.234.567,5", ",.", "1234567.5"),
        ("1234567,5", ",.", "1234567.5"),
        (f"1 234{SPACE}567{NARROW}890,5", ", ", "1234567890.5"),
        ("1'234.5", ".'", "1234.5"),
        ("1\N{RIGHT SINGLE QUOTATION MARK}234.5", ".'", "1234.5"),
        ("1,234", ",", "1.234"),
        ("1.234", ",.", "1234"),
        ("007.10", ".", "7.10"),
        (".5", ".", "0.5"),
        ("+5", ".", "5"),
        ("-5", ".", "-5"),
        (f"{MINUS}5", ".", "-5"),
        ("5-", ".", "-5"),
        (f"5{MINUS}", ".", "-5"),
        (f" - \t€{SPACE}5.00\n", ".", "-5.00"),
        ("EUR5", ".", "5"),
        ("5 CHF -", ".", "-5"),
        ("Fr. 5.50", ".", "5.50"),
        ("5.50Fr.", ".", "5.50"),
        ("$5", ".", "5"),
        ("5 £", ".", "5"),
        ("¥ 500", ".", "500"),
        ("₹5", ".", "5"),
        ("-0.00", ".", "0.00"),
        ("0." + "0" * 37, ".", "0." + "0" * 37),
    ],
)
def test_a_text_is_read_by_its_marks(text: str, marks: str, result: str) -> None:
    """Sign, currency and spaces around the digits; thousands marks everywhere or nowhere."""
    places = len(result.partition(".")[2])
    if places <= 10:
        assert amount(text, places, marks) == result
    if marks == ".":
        assert amount(text) == result


@pytest.mark.parametrize(
    ("text", "marks", "why"),
    [
        ("1.234", ".,", ""),
        ("1,234.5", ".", "',' is no mark of \".\", and no mark is guessed"),
        ("-1.234,56 Euro", ",.", "a currency is one of"),
        ("1.234,5", ".,", "its thousands marks do not part the digits by three"),
        ("12,34", ".,", "its thousands marks do not part the digits by three"),
        ("1,2345", ".,", "its thousands marks do not part the digits by three"),
        ("1234,567", ".,", "its thousands marks do not part the digits by three"),
        ("1,234567", ".,", "its thousands marks do not part the digits by three"),
        ("1 234.5", ".,", "a space parts its digits"),
        ("1'234", ".", '"\'" is no mark of ".", and no mark is guessed'),
        ("(5.00)", ".", "parentheses are no sign: a minus stands before or after the digits"),
        ("1e5", ".", "an exponent is not read"),
        ("1E-5", ".", "an exponent is not read"),
        ("--5", ".", "it has more than one sign"),
        ("-5-", ".", "it has more than one sign"),
        ("1.2.3", ".", "it has more than one decimal mark '.'"),
        ("5.", ".", "no digit follows the decimal mark '.'"),
        ("€5€", ".", "around the digits stand one sign and one currency only"),
        ("€-5", ".", "around the digits stand one sign and one currency only"),
        ("Euro 5", ".", "a currency is one of € $ £ ¥ ₹ Fr. or three capitals"),
        ("n/a", ".", "it has no digits"),
        ("", ".", "it has no digits"),
        ("€", ".", "it has no digits"),
        ("\N{ARABIC-INDIC DIGIT FIVE}", ".", "it has no digits"),
        ("x" * 100_000, ".", "it has no digits"),
    ],
)
def test_a_text_that_is_none_is_an_error_with_the_reason(text: str, marks: str, why: str) -> None:
    """In plain words, with at most 80 characters of the text."""
    found = failure(f'decimal(payload, 2, "{marks}")', text) if why else None
    if found is None:
        assert amount(text, 2, marks) == "1.23"
    else:
        assert f'is no amount with the marks "{marks}": {why}' in found.cause
        assert len(found.cause) < 250


@pytest.mark.parametrize(
    ("text", "payload", "cause"),
    [
        ("cents(payload)", "19.999", "19.999 has more than 2 decimals; cents(decimal(x, 2)) rounds it"),
        ("cents(payload)", 19.999, "19.999 has more than 2 decimals; cents(decimal(x, 2)) rounds it"),
        ("cents(payload, 1)", "1.25", "1.25 has more than 1 decimal; cents(decimal(x, 1), 1) rounds it"),
        ("cents(payload)", 0.1 + 0.2, "0.30000000000000004 has more than 2 decimals"),
        ("cents(payload)", None, "cents() takes text or a number, not null"),
        ("decimal(payload)", True, "decimal() takes text or a number, not true or false"),
        ("decimal(payload)", [], "decimal() takes text or a number, not a list"),
        ("decimal(payload)", "9" * 39, "has more than 38 digits"),
        ("decimal(payload)", 10**38, "has more than 38 digits"),
        ("decimal(payload)", 1e38, "has more than 38 digits"),
        ("decimal(payload)", float("inf"), "inf is no amount"),
        ("decimal(1, payload)", 11, "there are 0 to 10 places, not 11"),
        ("decimal(1, payload)", -1, "there are 0 to 10 places, not -1"),
        ("decimal(1, payload)", True, "the number of places takes a whole number, not true or false"),
        ("decimal(1, 2, payload)", ";", "';' are no marks: the decimal mark, then the thousands mark, are one of"),
        ("decimal(1, 2, payload)", ["."], "a list are no marks"),
    ],
)
def test_a_wrong_value_is_an_error(text: str, payload: object, cause: str) -> None:
    """Also places and marks, where an event gives them."""
    assert cause in failure(text, payload).cause


@pytest.mark.parametrize("text", ["decimal(1, 11)", "decimal(1, 1.5)", "cents(1, 2, '.;')", "cents(1, null)"])
def test_places_and_marks_are_checked_when_the_file_is_read(text: str) -> None:
    """Where they are written out."""
    assert "places" in refusal(text).message or "marks" in refusal(text).message


@given(st.integers(-(10**37), 10**37), st.integers(0, 10), st.integers(0, 10))
def test_decimal_rounds_as_pythons_decimal_does(units: int, places: int, wanted: int) -> None:
    """Half away from zero, for every amount and every number of places."""
    with decimal.localcontext(prec=80, rounding=decimal.ROUND_HALF_UP):
        exact = Decimal(units).scaleb(-places)
        rounded = exact.quantize(Decimal(1).scaleb(-wanted))
        assert amount(f"{exact:f}", wanted) == f"{abs(rounded) if rounded == 0 else rounded:f}"


@given(st.floats(-1e15, 1e15))
def test_a_number_is_exactly_its_shortest_text(number: float) -> None:
    """So the cents of 19.99 are 1999, and 0.1 + 0.2 has too many decimals."""
    exact = Decimal(json.dumps(number))
    assert Decimal(amount(number)) == exact
    if exact * 100 == int(exact * 100):
        assert cents(number) == int(exact * 100)
    else:
        assert "decimals" in failure("cents(payload)", number).cause


@given(st.integers(-(10**13), 10**13), st.sampled_from([(".", ","), (",", "."), (",", " "), (".", "'")]))
def test_cents_are_read_back_from_any_marks(total: int, marks: tuple[str, str]) -> None:
    """And `decimal(total / 100, 2)` is exact below ten billions."""
    point, thousands = marks
    text = f"{abs(total) // 100:,}".replace(",", thousands) + f"{point}{abs(total) % 100:02d}"
    assert cents(f"{'-' if total < 0 else ''}{text}", 2, point + thousands) == total
    assert evaluate("cents(decimal(payload / 100, 2))", total) == total
