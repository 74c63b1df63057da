"""`foreach`: a message for each element of a list, all of them or one dead letter that names the element."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

from bridge.model.message import MAX_ROUTE_BYTES
from tests.routing.test_routes import problems, results
from tests.support.batches import routed
from tests.support.routing import event, router

LINES = [{"sku": "a", "qty": 1}, {"sku": "b", "qty": 2}, {"sku": "c", "qty": 0}]
EACH: dict[str, Any] = {"foreach": "$payload.lines", "args": ["$item.sku", "$index"]}


def test_each_element_is_a_message_in_the_order_of_the_list() -> None:
    """`item` and `index` stand for it in args, kwargs, options and delay."""
    route = {
        **EACH,
        "kwargs": {"n": "$item.qty"},
        "options": {"max_age": "$1000 + index"},
        "delay": "$item.qty * 1000",
    }
    made = results(route, payload={"lines": LINES})
    assert [one["args"] for one in made] == [["a", 0], ["b", 1], ["c", 2]]
    assert [one["kwargs"] for one in made] == [{"n": 1}, {"n": 2}, {"n": 0}]
    assert [one["options"]["max_age"] for one in made] == [1000, 1001, 1002]
    assert [one["options"]["eta"] - one["message_timestamp"] for one in made] == [1000, 2000, 0]
    assert len({one["message_id"] for one in made}) == len({one["options"]["redis_message_id"] for one in made}) == 3


@pytest.mark.parametrize(
    ("foreach", "skus"),
    [
        ("$[l for l in payload.lines if l.qty > 0]", ["a", "b"]),
        ("$default(payload.none, [])", []),
        ("$payload.lines[1:]", ["b", "c"]),
    ],
)
def test_a_list_may_be_chosen(foreach: str, skus: list[str]) -> None:
    """A comprehension leaves elements out; of an empty list the event is filtered."""
    assert [one["args"][0] for one in results({**EACH, "foreach": foreach}, payload={"lines": LINES})] == skus


@pytest.mark.parametrize(
    ("changes", "payload", "reason", "detail"),
    [
        ({}, {"lines": [*LINES, {"qty": 1}]}, "missing-field", "element 3 of foreach: args.0: no field 'sku' in `item.sku`"),
        ({}, {}, "missing-field", "foreach: no field 'lines' in `payload.lines`"),
        (
            {},
            {"lines": None},
            "wrong-type",
            "foreach: takes a list, not null (default(x, []) makes it an empty one) in `payload.lines`",
        ),
        ({}, {"lines": {"a": 1}}, "wrong-type", "foreach: takes a list, not a mapping (use items(x)) in `payload.lines`"),
        ({}, {"lines": "ab"}, "wrong-type", "foreach: takes a list, not text in `payload.lines`"),
        ({"foreach_limit": 2}, {"lines": LINES}, "too-large", "foreach: 3 elements, foreach_limit is 2"),
        ({"args": "$item.sku"}, {"lines": LINES}, "wrong-type", "element 0 of foreach: args takes a list, not text"),
        (
            {"delay": "$item.qty * -1"},
            {"lines": [{"sku": "a", "qty": 0}, *LINES]},
            "option",
            "element 1 of foreach: delay takes milliseconds from 0 to ten years, not -1",
        ),
        (
            {"args": ["$item.sku + 1"]},
            {"lines": [{"sku": 1}, {"sku": 2}, {"sku": "x"}]},
            "wrong-type",
            "element 2 of foreach: args.0: '+' takes numbers, not text in `item.sku + 1`",
        ),
    ],
)  # fmt: skip
def test_one_bad_element_makes_one_dead_letter_and_no_message(
    changes: dict[str, Any], payload: Any, reason: str, detail: str
) -> None:
    """The dead letter names the element; nothing of the route is written, and another route is not concerned."""
    route = {**EACH, "name": "lines", **changes}
    (letter,) = results(route, payload=payload)
    assert letter == {"reason": reason, "detail": detail, "route": "lines", "written": 0}
    (beside,) = results(route, {"name": "whole", "args": ["$payload"]}, payload=payload)
    assert (beside["route"], beside["written"]) == ("lines", 1)


def test_a_false_or_incomplete_condition_filters_the_whole_event() -> None:
    """`when` is asked once, before the list."""
    route = {**EACH, "when": "payload.state == 'new'"}
    assert results(route, payload={"lines": LINES, "state": "old"}) == []
    assert results(route, payload={"lines": LINES}) == []
    assert len(results(route, payload={"lines": LINES, "state": "new"})) == 3


def test_the_elements_are_bounded_and_take_no_time() -> None:
    """1,000 elements by default, 10,000 at most; all messages together 16 MiB: more makes nothing at all."""
    assert len(results(EACH, payload={"lines": LINES[:1] * 1000})) == 1000
    (letter,) = results(EACH, payload={"lines": LINES[:1] * 1001})
    assert letter["detail"] == "foreach: 1001 elements, foreach_limit is 1000"
    started = time.thread_time()
    assert len(results({**EACH, "foreach_limit": 10_000}, payload={"lines": LINES[:1] * 10_000})) == 10_000
    whole = {**EACH, "actor": "a", "foreach_limit": 10_000, "args": ["$payload"]}
    body = json.dumps({"lines": [{"sku": "x" * 8}] * 9_000}).encode()
    ((entry,), _) = routed(router([whole]), [event("t", body)])
    (dead,) = entry.dead_letters
    assert (dead.reason, entry.messages) == ("too-large", [])
    assert re.match(r"element \d\d of foreach: the messages so far have \d+ bytes together", dead.detail)
    assert dead.detail.endswith(f"a route makes {MAX_ROUTE_BYTES} at most")
    assert time.thread_time() - started < 5


def test_hostile_elements_are_stopped_by_the_purse() -> None:
    """Work that grows with the square of the payload ends in a dead letter, within milliseconds."""
    route = {**EACH, "args": ["$[upper(x) for x in payload.lines]"], "foreach_limit": 10_000}
    started = time.thread_time()
    (letter,) = results(route, payload={"lines": ["x" * 20] * 10_000})
    assert (letter["reason"], letter["written"]) == ("too-large", 0)
    assert letter["detail"].startswith("element ")
    assert time.thread_time() - started < 3


@pytest.mark.parametrize(
    ("route", "large"),
    [
        ({"deduplicate": {"key": "$payload.large if index >= 0 else item", "within": "1h"}}, "x" * 200_000),
        ({"deduplicate": {"key": "$payload.large if index >= 0 else item", "within": "1h"}}, 10**4000),
        ({"queue_by": {"key": "$payload.large", "queues": {"a": "b"}}}, 10**4000),
    ],
    ids=["text in a key", "number in a key", "number in queue_by"],
)
def test_a_large_value_that_is_no_part_of_the_messages_is_paid_for(route: dict[str, Any], large: object) -> None:
    """A text of 200 KB is hashed, a number of 4,001 digits printed, once per element: 0.1 and 0.2 ms each."""
    (letter,) = results({**EACH, "args": ["$index"], **route}, payload={"lines": LINES * 300, "large": large})
    (place,) = (f"{key}.key" for key in route)
    assert letter["reason"] == "too-large"
    assert f"{place}: the loops of this route take too many steps" in letter["detail"]


@pytest.mark.parametrize(
    ("large", "args", "element"),
    [
        (int("9" * 4299), "$payload.large", 31),
        ([int("9" * 4299)], "$payload", 31),
        ([[int("9" * 4299)]], "$[item.sku, payload.large]", 30),
        ([1.5] * 3800, "${'a': payload.large}", 50),
    ],
    ids=["number", "whole payload", "within a list", "fractions"],
)
def test_a_number_that_is_written_for_each_element_is_paid_for(large: object, args: str, element: int) -> None:
    """To write one of 4,299 digits takes 0.2 ms: of 20 KB a route computed for 0.9 s, within its 16 MiB."""
    (letter,) = results({**EACH, "args": [args]}, payload={"lines": LINES * 300, "large": large})
    assert letter["reason"] == "too-large"
    assert letter["detail"].startswith(f"element {element} of foreach: args.0: the loops of this route take too many")


def test_each_message_may_hold_the_whole_event() -> None:
    """An order of 300 lines, whole in the message of each line."""
    lines = [{"sku": f"sku-{number}", "qty": number, "cents": 1999, "weight": 1.25} for number in range(300)]
    made = results({**EACH, "args": ["$item.sku", "$payload"]}, payload={"lines": lines, "customer": "c7"})
    assert [one["args"] for one in made] == [[line["sku"], {"lines": lines, "customer": "c7"}] for line in lines]


@pytest.mark.parametrize(
    ("limit", "remedy"),
    [
        (10, "; a foreach_limit of more than 1000 allows more"),
        (1_000, "; a foreach_limit of more than 1000 allows more"),
        (2_000, "; a foreach_limit of more than 2000 allows more"),
        (10_000, "; leave a part of the work to the actor"),
    ],
)
def test_an_empty_purse_names_the_remedy(limit: int, remedy: str) -> None:
    """Each element that foreach_limit allows gives the loops 1,000 steps more, beyond a million."""
    route = {**EACH, "args": ["$[[x in payload.all for x in payload.all], item]"], "foreach_limit": limit}
    (letter,) = results(route, payload={"lines": [1], "all": ["x" * 20] * 10_000})
    assert letter["detail"].endswith(remedy)


@pytest.mark.parametrize(
    ("route", "message"),
    [
        ({"when": "item.sku == 'a'", **EACH}, "there is no name 'item'"),
        ({"args": ["$item"]}, "there is no name 'item'"),
        ({**EACH, "foreach": "$item.lines"}, "there is no name 'item'"),
        ({**EACH, "topic": "a/{item}"}, "{item} would hide `item` of foreach"),
    ],
)
def test_the_names_of_an_element_are_known_where_there_is_one(route: dict[str, Any], message: str) -> None:
    """`item` and `index` are names of the values of a route with foreach, and of nothing else."""
    assert [one.message for one in problems(route)] == [message]


def test_a_capture_may_be_called_item_without_foreach() -> None:
    """The names are taken only where they mean something."""
    (made,) = results({"topic": "a/{item}/{index}", "args": ["$item", "$index"]}, topic="a/b/c")
    assert made["args"] == ["b", "c"]
    (letter,) = results({"topic": "a/{index}", "args": ["$payload.x"]}, topic="a/b", payload={})
    assert letter["detail"] == "args.0: no field 'x' in `payload.x`"


@pytest.mark.parametrize(("digits", "fits"), [(78, True), (4290, False)])
def test_long_numbers_are_not_written_again_and_again(digits: int, fits: bool) -> None:
    """To write one of 4,290 digits takes 0.2 ms: a thousand messages with it would hold up all others for that many times."""
    payload = {"big": int("9" * digits), "text": "x" * 300, "lines": [0] * 1000}
    route = {"name": "r", "foreach": "$payload.lines", "args": ["$payload.text", "$payload.big"]}
    made = results(route, payload=payload)
    if fits:
        assert len(made) == 1000
        assert len(json.dumps(made[0]["args"])) * 1000 > 128 * 1024
    else:
        (letter,) = made
        assert letter["reason"] == "too-large"
