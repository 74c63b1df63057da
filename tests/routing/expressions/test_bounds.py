"""The bounds on the cost of an expression, for every payload."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from bridge.routing.expressions.values import MAX_TEXT
from tests.support.evaluation import evaluate, failure

pytestmark = pytest.mark.timeout(60)

KIB = 1024


def nest(depth: int) -> object:
    """Return a list in a list in a list."""
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


BIG_INT = int("9" * 4300)
HOSTILE: dict[str, object] = {
    "text": "a" * 256 * KIB,
    "wide": "ΐ" * 128 * KIB,
    "ints": [BIG_INT] * 60,
    "int": BIG_INT,
    "huge": 1 << (8 * 256 * KIB),
    "list": [0] * 128 * KIB,
    "texts": ["ab"] * 100_000,
    "deep": nest(100_000),
    "deeper": nest(100_001),
    "brackets": "[" * 100_000,
    "map": {str(index): index for index in range(30_000)},
    "digits": "9" * 256 * KIB,
    "spaces": " " * 256 * KIB,
    "escapes": "\U000e0001" * 120_000,
    "float": 1e308,
}


@pytest.mark.parametrize(
    "text",
    [
        "payload.int + 1",
        "payload.huge * payload.huge",
        "-payload.int",
        "payload.int ** payload.int",
        "2 ** payload.int",
        "2 ** 2 ** 2 ** 2 ** 2 ** 2",
        "(2 ** 255) ** (2 ** 255)",
        "3 ** 1000000000",
        "2.0 ** 5000",
        "(2 ** 200) * (2 ** 200)",
        "payload.float * payload.float",
        "round(5, 10 ** 9)",
        "round(5, -(10 ** 9))",
        "round(payload.int, -(10 ** 9))",
        "round(1.5, payload.int)",
        "int(payload.digits)",
        "int(payload.spaces)",
        "float(payload.digits)",
        "float(payload.int)",
        "str(payload.huge)",
        "str(payload.deep)",
        "to_json(payload.deep)",
        "f'{payload.deep}'",
        "payload.deep == payload.deeper",
        "json(payload.brackets)",
        "join(payload.text, payload.texts)",
        "join(payload.text, [payload.text, payload.text, payload.text])",
        "str([" + "payload.text, " * 250 + "1])",
        "to_json([" + "payload.text, " * 250 + "1])",
        "to_json([" + "payload.map, " * 250 + "1])",
        "f'" + "{payload.text}" * 250 + "'",
        "f'" + "{payload.list}" * 250 + "'",
        "f'{payload.int:f}'",
        "base64(f'{payload.text}{payload.text}{payload.text}{payload.text}')",
        "matches(payload.text, '.*.*.*=.*')",
        "matches(payload.text, '(?:[ab]{0,300}a){3}c')",
        "timestamp(payload.digits)",
        "payload.list < payload.texts",
        "min(payload.ints, payload.list)",
    ],
)
def test_no_payload_makes_an_expression_large_or_slow(text: str) -> None:
    """An expression that would cost too much is an error, found before the cost is paid."""
    assert not failure(text, HOSTILE).missing


@pytest.mark.parametrize(
    "text",
    [
        "payload.deep == payload.deep",
        "payload.text in payload.spaces",
        "payload.int in payload.ints",
        "payload.list == payload.list",
        "payload.map == payload.map",
        "len(split(payload.spaces, ' ')) + len(split(payload.text)) + len(split(payload.text, 'aaaaab'))",
        "max(payload.ints) == min(payload.ints)",
        "payload.digits < payload.text",
        "abs(payload.huge) == payload.huge",
        "payload.huge == payload.float",
        "matches(payload.text, '(a+)+$')",
        "matches(payload.text, '(a|aa)+b')",
        "matches(payload.text, '[a-f]+=')",
        "matches(payload.text[:47_000], '.*.*.*=.*')",
        "len(sha256(payload.text))",
        "starts_with(payload.text, payload.text)",
        "1 ** (2 ** 255) == 1",
    ],
)
def test_a_large_payload_is_compared_and_searched_quickly(text: str) -> None:
    """Comparing, searching and splitting a large payload stays linear."""
    evaluate(text, HOSTILE)


def test_a_regex_that_may_be_slow_is_tried_on_a_short_text_only() -> None:
    """One that RE2 may have to walk for each byte: size x bytes is a million at most, which takes 7.5 ms."""
    assert failure("matches(payload.text, '(a|b)*a(a|b){14}c')", HOSTILE).cause == (
        "matches(): the text is longer than the 47619 bytes that this regex is tried on"
    )


@pytest.mark.parametrize(
    "text",
    [
        "str(payload.ints)",
        "str(payload.list)",
        "to_json(payload.list)",
        "to_json(payload.ints)",
        "to_json(payload.map)",
        "upper(payload.wide)",
        "lower(payload.text)",
        "strip(payload.spaces)",
        "f'{payload.text}{payload.text}'",
        "join(',', payload.texts)",
        "base64(payload.text)",
        "f'{payload.int}'",
        "f'{payload.float:100.100f}'",
    ],
)
def test_text_stays_within_its_bound(text: str) -> None:
    """A text that an expression makes is at most a MiB long."""
    assert len(evaluate(text, HOSTILE)) <= MAX_TEXT


@pytest.mark.parametrize(
    "text", ["upper(payload)", "str(payload)", "strip(payload)", "f'{payload}'", "f'{payload:>9}'"]
)
def test_a_text_over_the_bound_is_refused(text: str) -> None:
    """A text of more than a MiB is an error, also if the event brought it."""
    assert "longer than" in failure(text, "x" * (MAX_TEXT + 1)).cause
    assert "longer than" in failure("upper(payload)", "ΐ" * (MAX_TEXT // 2)).cause


@pytest.fixture
def unbounded_digits() -> Iterator[None]:
    """Python without its own bound on the digits of a number, as PYTHONINTMAXSTRDIGITS=0 makes it."""
    bound = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    yield
    sys.set_int_max_str_digits(bound)


@pytest.mark.parametrize("text", ["str(payload)", "str([payload])", "to_json({'n': payload})", "f'{payload:d}'"])
def test_a_number_of_many_digits_is_refused_in_every_environment(text: str, unbounded_digits: None) -> None:
    """A number of more than 4300 digits never becomes text, also where the environment lifts Python's own bound."""
    assert not failure(text, 1 << 100_000).missing
