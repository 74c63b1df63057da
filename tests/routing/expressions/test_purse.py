"""The purse: no payload makes a loop slow, and none makes it large."""

from __future__ import annotations

import ast
import random
import time
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Final

import pytest

from bridge.errors import InvalidValue
from bridge.routing.expressions import EXPRESSION_ERRORS, NAMES, STEPS, TooLarge, explain_failure, parse
from bridge.routing.expressions.loops import begin
from bridge.routing.expressions.purse import ALL_LINES
from bridge.routing.route_function import FunctionTrees, compile_function, compile_value, measuring
from tests.support.evaluation import FILENAME, evaluate, failure
from tests.support.loop_grammar import Grammar, hostile

KIB: Final = 1024
#: The most CPU time that a route's loops may take: it is promised, and the test allows ten times as much.
MAX_S: Final = 0.02
PAYLOAD: Final = cache(hostile)
EVENT: Final = SimpleNamespace(topic="t", source="s", received_at_ms=1, details=lambda: ({}, {}))


def function(text: str) -> Callable[[object], object] | None:
    """Compile a value as a route does; None if the text is a mistake, or has no loop."""
    try:
        expression = parse(text, NAMES)
    except InvalidValue:
        return None
    if not expression.needs_purse:
        return None
    run = compile_value(expression, FILENAME, part=measuring(expression.node, first=True))
    return lambda payload: run(EVENT, payload, (), None)


def cost(run: Callable[[object], object], payload: object) -> tuple[float, str]:
    """Return the CPU time of one evaluation, and its outcome."""
    outcome = "value"
    before = time.thread_time()
    try:
        run(payload)
    except EXPRESSION_ERRORS as error:
        outcome = type(error).__name__
    return time.thread_time() - before, outcome


@pytest.mark.parametrize(
    ("seeds", "size"),
    [
        (range(400), 256 * KIB),
        (range(400, 3_400), 256 * KIB),
        (range(10_000, 12_000), 16 * KIB),
        (range(20_000, 22_000), 1024 * KIB),
    ],
    ids=["0", "1", "2", "3"],
)
def test_no_payload_makes_a_loop_slow(seeds: range, size: int) -> None:
    """Loops from a grammar on a payload that is hostile to each of them: a value, an error, or refused, and soon."""
    payload = PAYLOAD(size)
    outcomes: dict[str, int] = {}
    for seed in seeds:
        text = Grammar(random.Random(seed)).loop()
        run = function(text)
        if run is None:
            continue
        seconds, outcome = cost(run, payload)
        if seconds > MAX_S:
            seconds = min(cost(run, payload)[0], seconds)  # the machine may have been busy
        assert seconds < 10 * MAX_S, f"{seconds * 1000:.0f} ms: {text}"
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    assert min(outcomes[outcome] for outcome in ("value", "TooLarge", "TypeError")) > 30, outcomes


@pytest.mark.parametrize(
    "text",
    [
        "[payload.deep for x in payload.lists]",  # 104 ms, before a list in a list cost more than its element
        "[[x, x] for x in payload.ints]",  # 72 ms, before a list that is made did
        '[f"{payload.bigints}" for x in payload.lists]',  # 51 ms, before the digits of a number cost something
        "[split(payload.short, payload.needle) for x in payload.pairs]",  # 400 us each, for 3,600 characters
        "[payload.needle in payload.short for x in payload.pairs]",
        "[{x: 1 for x in payload.huge} for y in payload.texts]",  # 50 us for each key that equals another
        "[payload.hugekeys[x] for x in payload.texts]",
        "[x in payload.ints for x in payload.ints]",
        "[upper(payload.text) for x in payload.ten]",
        "[x == payload.ints for x in [payload.ints, payload.ints, payload.ints, payload.ints, payload.ints]]",
        '[matches(y, "(a|b)*a(a|b){14}c") for y in [x[:40000] for x in payload.huge]]',
        "[[[1 for z in payload.hundred] for y in payload.hundred] for x in payload.pairs]",
        "[payload.text[1:] for x in payload.ten]",
        "[payload.maps for x in payload.hundred]",
    ],
)
def test_a_loop_that_would_be_slow_is_refused(text: str) -> None:
    """Each of these would take from 20 ms to minutes."""
    run = function(text)
    assert run is not None
    seconds, outcome = cost(run, PAYLOAD(256 * KIB))
    assert outcome == "TooLarge"
    assert seconds < 10 * MAX_S


@pytest.mark.parametrize(
    ("text", "elements"),
    [
        ("[x.sku for x in payload]", 10_000),
        ("[x.price * x.qty for x in payload if x.qty > 0]", 10_000),
        (
            '[[upper(x.sku), lower(x.sku), str(x.qty), f"{x.qty}", max(x.qty, 1), len(x), split(x.sku, "-")] for x in payload]',
            1_000,
        ),
        ('[{"sku": upper(x.sku), "text": f"{x.qty} x {x.sku}"} for x in payload]', 1_000),
        ("{x.sku: x for x in payload if x.sku in ['a', 'b'] or x.qty != 1000}", 5_000),
        ("[[y for y in payload[:30] if y.sku == x.sku] for x in payload[:30]]", 30),
        ("[matches(x.sku, '^sku-[0-9]+$') for x in payload]", 3_000),
    ],
)
def test_a_purse_is_enough_for_what_orders_need(text: str, elements: int) -> None:
    """A thousand lines of an order, with some calls for each, and ten times as many without calls."""
    lines = [{"sku": f"sku-{number}", "qty": 1 + number % 9, "price": 995} for number in range(elements)]
    assert len(evaluate(text, lines)) == elements


def test_all_loops_of_a_route_have_one_purse() -> None:
    """Each of them alone would do."""
    payload = [1] * 60_000
    assert len(evaluate("[[x] for x in payload[:30000]]", payload)) == 30_000
    found = failure("[[[x] for x in payload[:30000]], [[x] for x in payload[:30000]]]", payload)
    assert (found.too_large, found.missing) == (True, False)
    assert found.cause == "the loops of this route take too many steps"


def test_no_function_catches_an_empty_purse() -> None:
    """`default` takes what is missing for missing, and nothing else."""
    for text in ("default([x in payload for x in payload], [])", "has([x in payload for x in payload][0])"):
        assert failure(text, [1] * 60_000).too_large
    assert not issubclass(TooLarge, (LookupError, TypeError, ValueError, ArithmeticError))


@pytest.mark.parametrize(
    ("text", "too_large"),
    [
        ("[payload.text for x in payload.ten[:4]]", True),
        ("[payload.text for x in payload.ten[:3]]", False),
        ("[payload.wide for x in payload.ten]", True),
        ("{f'{x}': payload.text for x in payload.ten}", True),
        ("[{payload.text: x} for x in payload.ten]", True),
        ("[[[payload.text]] for x in payload.ten]", True),
        ("[payload.ints for x in payload.ten]", True),
        ("payload.text", None),
    ],
)
def test_what_loops_make_has_a_bound(text: str, too_large: bool | None) -> None:
    """It is measured before it is encoded: a text of a MiB, four times, is more than 4 MiB with its commas."""
    payload = {"text": "a" * KIB * KIB, "wide": "ΐ" * KIB * KIB, "ten": list(range(10)), "ints": [1] * 100_000}
    run = function(text)
    if too_large is None:
        assert run is None  # without a loop nothing is measured
        return
    assert run is not None
    seconds, outcome = cost(run, payload)
    assert outcome == ("TooLarge" if too_large else "value")
    assert seconds < 10 * MAX_S


def test_the_parts_of_a_message_are_measured_together() -> None:
    """Of args and kwargs each may have half of the bound; the next message of the event begins anew."""
    expression = parse("[payload for x in [1, 2]]", NAMES)
    payload = "a" * (1_200 * KIB)

    def run(*firsts: bool) -> object:
        body = [measuring(expression.node, first=first) for first in firsts]
        trees = FunctionTrees(names=expression.names, values=body, steps=STEPS)
        made = compile_function(trees, lambda *values: values, FILENAME)
        return made(EVENT, payload, (), None)

    assert run(True, True)
    with pytest.raises(TooLarge, match="the values of the message have more than 4194304 bytes"):
        run(True, False)


def test_an_expression_in_a_foreach_is_metered() -> None:
    """It runs once per element, so its calls read the purse, and its weight is what the loop pays."""
    plain, metered = (parse("upper(payload.a)", NAMES, in_loop=in_loop) for in_loop in (False, True))
    assert (plain.needs_purse, metered.needs_purse) == (False, True)
    assert metered.weight == plain.weight > 100
    assert not parse("payload.a", NAMES, in_loop=True).needs_purse


def test_a_loop_around_several_expressions_pays_and_is_named() -> None:
    """As `foreach` makes one: an error in any of them names the element, and each turn costs what all of them weigh."""
    items = parse("payload.lines", NAMES, line=1)
    values = [
        parse(text, (*NAMES, "item"), line=2 + number, in_loop=True)
        for number, text in enumerate(("item.sku", "[upper(x) for x in item.tags]"))
    ]
    start, end = 0, len(items.text)
    loop = begin(items.node, sum(value.weight for value in values), (1, start, end, 0, ALL_LINES))
    turn = ast.comprehension(ast.Name("item", ast.Store()), loop, [], is_async=0)
    node = ast.ListComp(ast.List([value.node for value in values], ast.Load()), [turn])
    ast.copy_location(node, items.node)
    ast.fix_missing_locations(node)
    trees = FunctionTrees(names=["payload"], values=[node], steps=STEPS)
    run = compile_function(trees, lambda value, _: value, FILENAME)
    lines: list[dict[str, object]] = [{"sku": 1, "tags": ["a"]}, {"sku": 2, "tags": ["b", 3]}]
    assert run(EVENT, {"lines": lines[:1]}, (), None) == [[1, ["A"]]]
    texts = {1: items.text, **{2 + number: value.text for number, value in enumerate(values)}}
    with pytest.raises(TypeError) as caught:
        run(EVENT, {"lines": lines}, (), None)
    found = explain_failure(caught.value, FILENAME)
    assert found.spell_elements(texts) == ", element 1 of `item.tags`, element 1 of `payload.lines`"
    assert found.line == 3
    with pytest.raises(KeyError) as missing:
        run(EVENT, {"lines": [*lines[:1], {}]}, (), None)
    assert explain_failure(missing.value, FILENAME).spell_elements(texts) == ", element 1 of `payload.lines`"
    with pytest.raises(TooLarge):
        run(EVENT, {"lines": lines * 5_000}, (), None)
