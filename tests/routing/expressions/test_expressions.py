"""The expression language: the expressions that it accepts, and their values."""

from __future__ import annotations

import ast

import pytest

from bridge.routing.expressions import NAMES, parse
from tests.support.evaluation import CAPTURES, PAYLOAD, evaluate, failure

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("payload.celsius > 250 and not meta.retain", True),
        ("payload.site.id", 9),
        ('payload["site"]["odd key"]', 1),
        ('payload.site["class"]', "A"),
        ("payload.tags[0]", "hot"),
        ("payload.tags[-1]", "loud"),
        ("payload.name[0]", "O"),
        ('payload["celsius"]', 300),
        ("payload.µs", 4),
        ("headers.tenant", "acme"),
        ("meta.qos", 1),
        ('meta["qos"]', 1),
        ("meta.exchange", None),
        ("0 < payload.celsius <= 300 != 5", True),
        ('"hot" in payload.tags', True),
        ('"id" in payload.site', True),
        ('payload.name not in ("a", "b")', True),
        ("payload.unit is None", True),
        ("payload.celsius is not null", True),
        ("payload.unit == null", True),
        ("[true, false, null]", [True, False, None]),
        ("payload.celsius * 1.8 + 32", 572.0),
        ("-payload.celsius // 7 % 5 - +2", -43 % 5 - 2),
        ("2 ** 10 / 4", 256.0),
        ("-5", -5),
        ("payload.empty or payload.name", "Ofen Süd"),
        ('"hot" if payload.celsius > 250 else "cold"', "hot"),
        ('{"a": [payload.celsius, (1, 2)], topic: {}}', {"a": [300, [1, 2]], "plants/3/ovens/7": {}}),
        ('f"oven {oven} is at {payload.celsius} degrees"', "oven 7 is at 300 degrees"),
        ("f'{payload.ratio:>8.2f}|{payload.name!s:.4}|{{}}'", "    2.50|Ofen|{}"),
        ('f"{payload.unit}{true}"', "nulltrue"),
        ('f"plain"', "plain"),
        ("int(oven) + 1", 8),
        ("payload.\n  site\n  .id  # the number", 9),
        ("  payload.celsius  ", 300),
    ],
)
def test_values(text: str, expected: object) -> None:
    """An expression has the value of the same words in Python, with fields read by a dot."""
    result = evaluate(text, PAYLOAD)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('default(payload.name, "?")', "Ofen Süd"),
        ('default(payload.unit, "C")', "C"),
        ('default(payload.nothing, "C")', "C"),
        ('default(payload.unit.deep.er, "C")', "C"),
        ('default(payload.tags[9], "C")', "C"),
        ('default(payload.site[oven], "C")', "C"),
        ("default(int(payload.nothing) + 1, 0)", 0),
        ("default(payload.celsius, payload.nothing)", 300),
        ("default(payload.nothing, payload.celsius)", 300),
        ("default(payload.nothing, default(payload.unit, [topic]))", ["plants/3/ovens/7"]),
        ("default(payload.empty, 1)", ""),
        ("default(meta.exchange, 1)", 1),
        ("default(meta.qos, 5)", 1),
        ("has(payload.celsius)", True),
        ("has(payload.unit)", True),
        ("has(payload.nothing)", False),
        ("has(payload.unit.deep)", False),
        ("has(payload.tags[1])", True),
        ("has(payload.tags[2])", False),
        ("has(payload.site[oven])", False),
        ("has(meta.qos)", True),
        ("has(meta.exchange)", False),
    ],
)
def test_missing_fields_can_be_asked_for(text: str, expected: object) -> None:
    """`default` replaces a missing field or a null; `has` says whether a field is there, null included."""
    assert evaluate(text, PAYLOAD) == expected


@pytest.mark.parametrize(
    "text", ["default(payload.name.x, 1)", "default(payload.tags[oven], 1)", "has(payload.name.x)"]
)
def test_default_and_has_do_not_hide_a_wrong_type(text: str) -> None:
    """A field of a text or of a list is a wrong type and no missing field."""
    assert not failure(text, PAYLOAD).missing


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("len(payload.tags) + len(payload.name) + len(payload.site)", 14),
        ('[int("12"), int(" -3 "), int(2.9), int(true)]', [12, -3, 2, 1]),
        ('[float("1.5"), float(2), float("1e3")]', [1.5, 2.0, 1000.0]),
        (
            "[str(1), str(1.5), str(true), str(null), str([1, null]), str(oven)]",
            ["1", "1.5", "true", "null", "[1,null]", "7"],
        ),
        ("[round(2.567, 2), round(2.5), round(1234, -2), abs(-3)]", [2.57, 2, 1200, 3]),
        ('[min(3, 1), max([1, 2.5]), min("b", "a")]', [1, 2.5, "a"]),
        ('[lower("AbC"), upper("straße"), strip(" x ")]', ["abc", "STRASSE", "x"]),
        ('[split("a b  c"), split("a,b,", ",")]', [["a", "b", "c"], ["a", "b", ""]]),
        ('[join("-", payload.tags), join(",", [])]', ["hot-loud", ""]),
        ("[starts_with(topic, 'plants/'), ends_with(topic, 'x')]", [True, False]),
        (
            r"[matches(topic, 'ovens/\d+$'), matches(topic, '^ovens'), matches(payload.name, 'S.d')]",
            [True, False, True],
        ),
        ("now() > 1700000000000", True),
        (
            '[timestamp("2026-01-01T00:00:00Z"), timestamp("2026-01-01", "iso", "UTC"), timestamp("2026-01-01T01:00:00.001+01:00")]',
            [1767225600000, 1767225600000, 1767225600001],
        ),
        ('json("{\\"a\\": [1, 2.0, null]}").a', [1, 2.0, None]),
        ("to_json(payload.site)", '{"id":9,"odd key":1,"class":"A","none":null}'),
        ('base64("hé")', "aMOp"),
        ('sha256("")', "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    ],
)
def test_functions(text: str, expected: object) -> None:
    """Every function works as documented."""
    assert evaluate(text, PAYLOAD) == expected


def test_an_expression_has_its_names_and_its_line() -> None:
    """An expression lists the names that it uses, and each of its nodes stands on the line given to `parse`."""
    expression = parse(
        'default(payload.a,\n f"{oven} {len(headers)}") if true else meta.qos', (*NAMES, *CAPTURES), line=40
    )
    assert expression.names == {"payload", "oven", "headers", "meta"}
    placed = [node for node in ast.walk(expression.node) if isinstance(node, ast.expr)]
    assert {(node.lineno, node.end_lineno) for node in placed} == {(40, 40)}
    assert all(0 <= node.col_offset <= (node.end_col_offset or 0) <= len(expression.text) for node in placed)
