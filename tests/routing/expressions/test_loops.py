"""Comprehensions and slices: their values, their mistakes, and the element that an error names."""

from __future__ import annotations

import json

import pytest

from tests.support.evaluation import evaluate, failure, refusal

LINES = [
    {"sku": "a", "qty": 2, "tags": ["x", "y"]},
    {"sku": "b", "qty": 0, "tags": []},
    {"sku": "c", "qty": 5, "tags": ["z"]},
]
ORDER: dict[str, object] = {
    "lines": LINES,
    "pairs": [["a", 1], ["b", 2]],
    "ids": [3, 1, 2],
    "name": "Ofen",
    "n": 2,
    "none": None,
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[line.sku for line in payload.lines]", ["a", "b", "c"]),
        ("[line.sku for line in payload.lines if line.qty > 0]", ["a", "c"]),
        ("[upper(line.sku) for line in payload.lines]", ["A", "B", "C"]),
        ('[f"{line.sku}-{plant}" for line in payload.lines]', ["a-3", "b-3", "c-3"]),
        ("{line.sku: line.qty for line in payload.lines}", {"a": 2, "b": 0, "c": 5}),
        ('{f"k{line.qty}": line for line in payload.lines[:1]}', {"k2": LINES[0]}),
        ("{key: value for key, value in payload.pairs}", {"a": 1, "b": 2}),
        ('{"k": value for _, value in payload.pairs}', {"k": 2}),
        ("[[tag for tag in line.tags] for line in payload.lines]", [["x", "y"], [], ["z"]]),
        ("[[[[a, b, c] for c in [1]] for b in [2]] for a in [3]]", [[[[3, 2, 1]]]]),
        ("[x for x in []]", []),
        ("[x for x in ('a', 'b')]", ["a", "b"]),
        ("len(line for line in payload.lines if line.qty > 0)", 2),
        ("max(line.qty for line in payload.lines)", 5),
        ("min([id for id in payload.ids])", 1),
        ("min(max(x, y) for x, y in [[1, 2], [0, -1]])", 0),
        ("[default(line.price, 1) for line in payload.lines]", [1, 1, 1]),
        ("[default(line.tags[0], plant) for line in payload.lines]", ["x", "3", "z"]),
        ("[has(line.price) or has(line.sku) for line in payload.lines]", [True, True, True]),
        ("[default(upper(line.name), line.sku) for line in payload.lines]", ["a", "b", "c"]),
        ("[x for x in split(f'{plant}-{oven}', '-')]", ["3", "7"]),
        ("[x for x in [f'{y}' for y in split(f'{topic}', '/')] if x != 'ovens']", ["plants", "3", "7"]),
        ("[line.tags[payload.n - 2] for line in payload.lines if len(line.tags) > 0]", ["x", "z"]),
        ("([x for x in payload.ids])[0]", 3),
        ("[matches(line.sku, '[ab]') for line in payload.lines]", [True, True, False]),
        ("[x.qty if x.qty < 5 else 4 for x in payload.lines]", [2, 0, 4]),
        ("[1 <= x.qty == payload.n < 3 for x in payload.lines]", [True, False, False]),
        ("[payload.n for x in [1] if 1 < payload.n < payload.ids[0] <= 3]", [2]),
        ("[meta.qos for x in payload.ids]", [1, 1, 1]),
        ("[x for x in payload.ids if x not in payload.pairs[0]]", [3, 2]),
        ("[not x.qty == payload.n for x in payload.lines]", [False, True, True]),
        ("[[x.qty-y for y in [1]] for x in payload.lines]", [[1], [-1], [4]]),
        ("[(x.qty + 1) * 2 for x in payload.lines]", [6, 2, 12]),
        ("payload.name[:2]", "Of"),
        ("payload.name[1:3]", "fe"),
        ("payload.name[-2:]", "en"),
        ("payload.name[:]", "Ofen"),
        ("payload.name[2:99]", "en"),
        ("payload.name[:payload.n]", "Of"),
        ("payload.ids[1:]", [1, 2]),
        ("payload.ids[5:]", []),
        ("[x[:1] for x in ['ab', 'cd']]", ["a", "c"]),
        ("[1, 2, 3][0:2]", [1, 2]),
        ("'text'[1:]", "ext"),
        ("default(payload.site.name[:3], 'none')", "none"),
        ("default(payload.none[:3], 'none')", "none"),
        ("has(payload.name[:3])", True),
    ],
)  # fmt: skip
def test_lists(text: str, expected: object) -> None:
    """A comprehension is Python's own, with one `for` and one `if`; a slice has no step."""
    assert json.dumps(evaluate(text, ORDER)) == json.dumps(expected)


def test_the_fields_of_an_event_do_not_change() -> None:
    """The last of equal keys wins; the list that a loop reads stays as it is."""
    payload = json.loads(json.dumps(ORDER))
    evaluate("[{line.sku: line for line in payload.lines}, [x for x in payload.lines]]", payload)
    assert payload == ORDER


@pytest.mark.parametrize(
    ("text", "message", "hint", "at"),
    [
        ("x for x in payload", "a comprehension without brackets can't", "write it in [ ]", 0),
        ("(x for x in payload)", "a comprehension without brackets can't", "write it in [ ]", 0),
        ("upper(x for x in payload)", "a comprehension without brackets can't", "write it in [ ]", 5),
        ("min((x for x in payload), 1)", "a comprehension without brackets can't", "write it in [ ]", 4),
        ("{x for x in payload}", "a set can't", "write a list in [ ]", 0),
        ("[x for x in payload for y in x]", "a comprehension has one 'for'", "[[... for y in", 24),
        ("[x for x in payload if x if 1]", "a comprehension has one 'if'", "write 'and'", 28),
        ("[x async for x in payload]", "'async' can't", "", 0),
        ("[payload for payload in payload]", "'payload' would hide `payload`", "another name", 13),
        ("[1 for oven in payload]", "'oven' would hide `oven`", "another name", 7),
        ("[1 for len in payload]", "'len' would hide `len`", "another name", 7),
        ("[[x for x in x] for x in payload]", "'x' would hide `x`", "another name", 8),
        ("[1 for a, a in payload]", "'a' stands twice", "another name", 10),
        ("[1 for null in payload]", "'null' is a word of the language", "another name", 7),
        ("[1 for _x in payload]", "the name of an element does not begin with '_'", "", 7),
        ("[1 for a, b, c in payload]", "behind 'for' stands one name, or two", "for line in", 7),
        ("[1 for a, in payload]", "behind 'for' stands one name, or two", "for line in", 7),
        ("[1 for [a, b] in payload]", "behind 'for' stands one name, or two", "for line in", 7),
        ("[1 for x.a in payload]", "behind 'for' stands one name, or two", "for line in", 7),
        ("[1 for (a, (b, c)) in payload]", "behind 'for' stands one name, or two", "for line in", 7),
        ("[[[[1 for d in c] for c in b] for b in a] for a in payload]", "nested more than 3 deep", "", 3),
        ("[x for x in payload] + x", "there is no name 'x'", "payload.x", 23),
        ("[y for x in y]", "there is no name 'y'", "payload.y", 12),
        ("[lime for line in payload]", "there is no name 'lime'", "did you mean 'line'?", 1),
        ("[x for x in {'a': 1}]", "a loop takes a list, not a mapping", "items(x)", 12),
        ("[x for x in 'text']", "a loop takes a list, not text", "", 12),
        ("[x for x in null]", "a loop takes a list, not null", "", 12),
        ("{1: x for x in payload}", "a key of a mapping is text, not a number", "", 1),
        ("payload[::2]", "a slice has no step", "x[from:to]", 10),
        ("payload['a':]", "a slice takes whole numbers, not text", "", 8),
        ("payload[:1.5]", "a slice takes whole numbers, not a number", "", 9),
        ("{'a': 1}[1:]", "a slice is of text or a list, not of a mapping", "", 0),
        ("payload[1:, 2]", "an index is one text", "", 8),
    ],
)  # fmt: skip
def test_a_wrong_loop_is_a_mistake(text: str, message: str, hint: str, at: int) -> None:
    """Each is refused when the configuration is read, at its place, with the way it is done here."""
    mistake = refusal(text)
    assert message in mistake.message
    assert hint in mistake.hint
    assert mistake.offset == at


@pytest.mark.parametrize(
    ("text", "part", "missing", "cause", "elements"),
    [
        ("[x.price for x in payload.lines]", "x.price", True, "no field 'price'", ", element 0 of `payload.lines`"),
        ("[x.tags[0] for x in payload.lines]", "x.tags[0]", True, "no element", ", element 1 of `payload.lines`"),
        ("[1 for x in payload.lines if x.qty < x.sku]", "x.qty < x.sku", False, "'<' can't", ", element 0 of"),
        (
            "[[y.z for y in x.tags] for x in payload.lines[2:]]",
            "y.z", False, "text has no fields", ", element 0 of `x.tags`, element 0 of `payload.lines[2:]`",
        ),
        ("{x.sku: 10 / x.qty for x in payload.lines}", "10 / x.qty", False, "division by zero", ", element 1 of"),
        ("{x.qty: 1 for x in payload.lines}", "x.qty", False, "a key of a mapping is text", ", element 0 of"),
        ("[upper(x) for x in ['a', 1]]", "upper(x)", False, "upper() takes text", ", element 1 of `['a', 1]`"),
        ("[x for x in payload.lines][3]", "[x for x in payload.lines][3]", True, "no element", ""),
        ("[x for x in [y.qty for y in payload.pairs]]", "y.qty", False, "a list has no fields", ", element 0 of `payload.pairs`"),
        ("[x for x in payload]", "payload", False, "a loop takes a list, not a mapping: use items(x)", ""),
        ("[x for x in payload.none]", "payload.none", False, "a loop takes a list, not null", ""),
        ("[x for x in payload.name]", "payload.name", False, "a loop takes a list, not text", ""),
        ("[x for x in payload.nope]", "payload.nope", True, "no field 'nope'", ""),
        ("[a for a, b in payload.name]", "payload.name", False, "a loop takes a list, not text", ""),
        ("[a for a, b in payload.ids]", "payload.ids", False, "two names take a list of two, not a number, element 0", ""),
        ("[a for a, b in [[1, 2], [1, 2, 3]]]", "[[1, 2], [1, 2, 3]]", False, "not a list of 3, element 1", ""),
        ("[a for a, b in ['ab']]", "['ab']", False, "two names take a list of two, not text, element 0", ""),
        ("[x for x in payload.ids if default(x.a, 1) == 1]", "x", False, "", ", element 0 of"),
        ("payload.lines[0][1:]", "payload.lines[0][1:]", False, "a slice takes text or a list, not a mapping", ""),
        ("payload.ids[:payload.none]", "payload.ids[:payload.none]", False, "a slice takes whole numbers, not null", ""),
        ("payload.ids[payload.n > 1:]", "", False, "a slice takes whole numbers, not true or false", ""),
        ("payload.none[1:]", "payload.none[1:]", True, "null has no fields", ""),
    ],
)  # fmt: skip
def test_an_error_names_the_element(text: str, part: str, missing: bool, cause: str, elements: str) -> None:
    """Of each loop around the part that failed, the innermost first; the first element is 0, as in an index."""
    if not cause:
        assert evaluate(text, {"ids": [{"a": 1}]})
        return
    found = failure(text, ORDER)
    spelled = found.spell_elements({7: text})
    assert cause in found.cause
    assert part in text.encode()[found.text_start : found.text_end].decode()
    assert (found.missing, found.too_large) == (missing, False)
    assert spelled.startswith(elements)
    assert bool(spelled) == bool(elements)
