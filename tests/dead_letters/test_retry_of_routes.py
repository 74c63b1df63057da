"""A retry through routes that make several messages, that take the rest, or whose target an event chooses."""

from __future__ import annotations

from typing import Any

import pytest

from tests.dead_letters.test_retry import messages, numbers
from tests.support.letters import ORDERS, Desk, order

LINES: dict[str, Any] = {
    "name": "lines",
    "from": "orders",
    "actor": "pick",
    "foreach": "$payload.lines",
    "args": ["$item.sku"],
}
REST: dict[str, Any] = {"name": "rest", "from": "orders", "actor": "rest", "otherwise": True, "args": ["rest"]}
BODY = b'{"id": "A1", "lines": [{"sku": "a"}, {"sku": "b"}, {"n": 1}]}'
MENDED = {**LINES, "args": ['$default(item.sku, "none")']}


@pytest.mark.parametrize("source", [ORDERS, {**ORDERS, "deduplicate": {"key": "$payload.id", "within": "1d"}}])
async def test_all_messages_of_a_list_are_written_at_once(desk: Desk, source: dict[str, Any]) -> None:
    """None was before, since one element was wrong; also where the source remembers the routes that are written."""
    desk.write_config([LINES, REST], sources={"orders": source})
    (letter,) = await desk.receive(order(BODY))
    assert (letter.route, letter.error) == ("lines", "element 2 of foreach: args.0: no field 'sku' in `item.sku`")
    assert numbers(desk) == []
    desk.write_config([MENDED, REST], sources={"orders": source})
    retried = await desk.retry(letter)
    assert (retried.outcome, retried.messages, retried.left_out) == ("retried", 3, 0)
    assert numbers(desk) == ["a", "b", "none"]


async def test_an_element_that_is_still_wrong_keeps_the_letter(desk: Desk) -> None:
    """As a new letter, and without any message."""
    desk.write_config([LINES])
    (letter,) = await desk.receive(order(BODY))
    desk.write_config([{**LINES, "args": ["$item.n"]}])
    retried = await desk.retry(letter)
    assert (retried.outcome, retried.messages) == ("failed", 0)
    assert retried.detail == "element 0 of foreach: args.0: no field 'n' in `item.n`"


async def test_as_is_asks_the_rest_only_where_no_other_route_fits(desk: Desk) -> None:
    """As though the event came again; a route that fails counts as one that fits."""
    desk.write_config([LINES, REST])
    first, second, third = await desk.receive(order(BODY), order(BODY), order(BODY))
    desk.write_config([REST, MENDED])
    assert (await desk.retry(first, as_is=True)).messages == 3
    desk.write_config([REST, LINES])
    assert (await desk.retry(second, as_is=True)).outcome == "failed"
    desk.write_config([REST, {**LINES, "when": "payload.id == 'B'"}])
    assert (await desk.retry(third, as_is=True)).messages == 1
    assert numbers(desk) == ["a", "b", "none", "rest"]


async def test_as_is_asks_each_rest(desk: Desk) -> None:
    """One is no route that fits before another."""
    desk.write_config([LINES])
    letters = await desk.receive(order(BODY), order(BODY))
    never = {**LINES, "when": "payload.id == 'B'"}
    desk.write_config([REST, never, {**REST, "name": "second", "args": ["second"]}])
    assert (await desk.retry(letters[0], as_is=True)).messages == 2
    desk.write_config([{**REST, "args": ["$payload.none"]}, never, {**REST, "name": "second", "args": ["second"]}])
    retried = await desk.retry(letters[1], as_is=True)
    assert (retried.outcome, retried.messages) == ("failed", 1)
    assert numbers(desk) == ["rest", "second", "second"]


async def test_the_rest_that_failed_is_retried_by_itself(desk: Desk) -> None:
    """Its letter was made where no other route fitted: the retry asks no other."""
    desk.write_config([{**LINES, "when": "payload.id == 'B'"}, {**REST, "args": ["$payload.none"]}])
    (letter,) = await desk.receive(order(BODY))
    assert letter.route == "rest"
    desk.write_config([MENDED, REST])
    assert (await desk.retry(letter)).messages == 1
    assert numbers(desk) == ["rest"]


async def test_a_name_that_is_allowed_today_is_written(desk: Desk) -> None:
    """To the queue that the event chooses."""
    route = {"name": "free", "from": "orders", "actor": "$payload.task", "allow": {"actor": ["crop"]}, "args": [1]}
    desk.write_config([route])
    (letter,) = await desk.receive(order(b'{"task": "resize", "size": "large"}'))
    assert (letter.reason, letter.error) == ("not-allowed", "actor: 'resize' is not in allow.actor")
    by_size = {"key": "$payload.size", "queues": {"large": "slow"}}
    desk.write_config([{**route, "allow": {"actor": ["crop", "resize"]}, "queue_by": by_size}])
    assert (await desk.retry(letter)).messages == 1
    assert [one["actor_name"] for one in messages(desk, "slow")] == ["resize"]


async def test_a_list_that_was_redacted_is_not_retried(desk: Desk) -> None:
    """Nobody knows its elements; those of a list in which fields are gone are known as far as the route reads them."""
    for redacted, says in ((["payload.lines"], "redacted"), (["payload.lines.n"], "")):
        desk.write_config([LINES], dead_letters={"redact": redacted})
        letter = (await desk.receive(order(BODY)))[-1]
        desk.write_config([MENDED], dead_letters={"redact": redacted})
        retried = await desk.retry(letter)
        assert (retried.outcome, retried.reason) == (("refused", says) if says else ("retried", ""))
    assert numbers(desk) == ["a", "b", "none"]
