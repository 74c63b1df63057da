"""A retry runs a letter through today's routes; its messages take its place in one step, or it stays and says why."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bridge.dead_letters.retry import Retrier
from bridge.dead_letters.store import LetterStore
from bridge.model.batch import DeadLetter
from tests.support.batches import Entry, Sinks, batch_of
from tests.support.letters import ORDERS, Desk, order
from tests.support.processes import queue_messages

BROKEN = {"name": "note", "from": "orders", "actor": "record", "args": ["$payload.id"]}
MENDED = {**BROKEN, "args": ['$default(payload.id, "none")', "$headers", "$meta.message_id", "$received_at", "$topic"]}
OTHER = {"name": "other", "from": "orders", "actor": "other", "args": [2]}


def messages(desk: Desk, queue: str = "default") -> list[dict[str, Any]]:
    """Return the messages in a queue; list and hash agree."""
    with desk.server.client() as client:
        return queue_messages(client, queue)


def numbers(desk: Desk, queue: str = "default") -> list[Any]:
    """Return the first argument of each message in a queue."""
    return [message["args"][0] for message in messages(desk, queue)]


async def test_the_route_that_failed_sees_the_event_as_it_was(desk: Desk) -> None:
    """Topic, headers, meta and the time of then; the message of the other route is not written again."""
    desk.write_config([BROKEN, OTHER])
    (letter,) = await desk.receive(order(b'{"x": 1}', {"h": [1]}, message_id="m-1"))
    assert (letter.route, letter.reason, numbers(desk)) == ("note", "missing-field", [2])
    desk.write_config([MENDED, OTHER])
    retried = await desk.retry(letter)
    assert (retried.outcome, retried.messages) == ("retried", 1)
    assert [one["args"] for one in messages(desk)] == [[2], ["none", {"h": [1]}, "m-1", 1_764_223_200_123, "order.new"]]
    assert desk.books() == {"count": 0, "bytes": 0, "length": 0, "blocks": 0}
    assert (await desk.retry(letter)).outcome == "gone"
    assert len(messages(desk)) == 2


async def test_an_event_that_was_too_much_for_the_loops_of_a_route(desk: Desk) -> None:
    """The dead letter says so; once the route asks for less it is written, and an element without the field is named."""
    body = b'{"id": 1, "xs": [%b{"y": 1}], "ys": [%b1]}' % (b"{}," * 500, b"1," * 30_000)
    desk.write_config([{**BROKEN, "args": ["$[x in payload.ys for x in payload.ys]"]}])
    (letter,) = await desk.receive(order(body))
    assert (letter.reason, letter.error) == (
        "too-large",
        "args.0: the loops of this route take too many steps in `payload.ys`; leave a part of the work to the actor",
    )
    desk.write_config([{**BROKEN, "args": ["$[x.y for x in payload.xs]"]}])
    retried = await desk.retry(letter)
    assert retried.detail == "args.0: no field 'y' in `x.y`, element 0 of `payload.xs`"
    (letter,) = await desk.letters()
    desk.write_config([{**BROKEN, "args": ["$[x.y for x in payload.xs if has(x.y)]"]}])
    assert (await desk.retry(letter)).outcome == "retried"
    assert numbers(desk) == [[1]]


async def test_an_event_that_reached_no_route_runs_through_all(desk: Desk) -> None:
    """One that could not be decoded, by another `decode` today."""
    desk.write_config([BROKEN, OTHER])
    (letter,) = await desk.receive(order(b"text"))
    assert (letter.route, letter.reason) == ("", "decode")
    desk.write_config([{**BROKEN, "args": ["$payload"]}, OTHER], sources={"orders": {**ORDERS, "decode": "text"}})
    assert (await desk.retry(letter)).messages == 2
    assert numbers(desk) == ["text", 2]


async def test_other_routes_on_demand(desk: Desk) -> None:
    """`route` names one, `as_is` means all as though the event came again."""
    desk.write_config([BROKEN, OTHER])
    first, second = await desk.receive(order(b"{}"), order(b"{}"))
    desk.write_config([{**BROKEN, "args": [1]}, OTHER])
    await desk.retry(first, route="other")
    assert numbers(desk) == [2, 2, 2]
    assert (await desk.retry(second, as_is=True)).messages == 2
    assert numbers(desk) == [2, 2, 2, 1, 2]


@pytest.mark.parametrize(
    ("routes", "how", "says"),
    [
        ([{**BROKEN, "when": "payload.x"}], {}, "`when` of the route note is false today: nothing would be written"),
        ([{**BROKEN, "topic": "x.#"}], {}, "the topic does not fit that of the route note today"),
        ([OTHER], {}, "the configuration has no route note; take another, or --as-is for all"),
        ([BROKEN], {"route": "nope"}, "the configuration has no route nope"),
        ([{**BROKEN, "topic": "x"}], {"as_is": True}, "no route's topic fits 'order.new' today"),
        ([BROKEN, {**OTHER, "from": "more"}], {"route": "other"}, "the route other is one of the source more"),
    ],
)
async def test_a_letter_that_fits_no_route_stays(
    desk: Desk, routes: list[dict[str, Any]], how: dict[str, Any], says: str
) -> None:
    """As it is, and the answer says why."""
    desk.write_config([BROKEN])
    (letter,) = await desk.receive(order(b"{}"))
    desk.write_config(routes, sources={"orders": ORDERS, "more": {**ORDERS, "queue": "more"}})
    retried = await desk.retry(letter, **how)
    assert retried.outcome == "refused"
    assert says in retried.detail
    assert await desk.letters() == [letter]
    assert messages(desk) == []


async def test_a_source_that_is_no_more(desk: Desk) -> None:
    """Its letters stay."""
    (letter,) = await desk.receive(order(b"{}"))
    desk.write_config([], sources={"more": ORDERS})
    assert (await desk.retry(letter)).detail == "the configuration has no source orders"


async def test_a_retry_that_fails_leaves_the_new_reason_beside_the_old(desk: Desk) -> None:
    """In one letter, with all the event; after many retries the oldest reasons are left out, and the books stay right."""
    (letter,) = await desk.receive(order(b'{"x": "' + b"y" * 9000 + b'"}', {"h": 1}, message_id="m"))
    desk.write_config([{"name": "record", "from": "orders", "actor": "record", "args": ["$int(payload.x)"]}])
    before = letter
    for n in range(1, 13):
        retried = await desk.retry(before)
        (after,) = await desk.letters()
        assert (retried.outcome, retried.reason, retried.new_id) == ("failed", "wrong-type", after.id)
        assert retried.detail == after.error
        assert (after.retries, len(after.earlier)) == (n, min(n, 10))
        assert (after.body, after.headers, after.meta, after.topic) == (
            letter.body,
            letter.headers,
            letter.meta,
            letter.topic,
        )
        assert (after.route, after.received_at_ms, after.body_cut) == ("record", letter.received_at_ms, False)
        if n == 1:
            assert [(one.reason, one.error) for one in after.earlier] == [("missing-field", letter.error)]
        before = after
    assert {one.reason for one in before.earlier} == {"wrong-type"}
    books = desk.books()
    assert (books["count"], books["length"]) == (1, 1)
    assert before.size < books["bytes"] < before.size * 1.3


async def test_of_several_routes_those_that_succeed_are_written(desk: Desk) -> None:
    """Of the others each gets a letter of its own, which the next retry runs through it alone."""
    (letter,) = await desk.receive(order(b"{", topic="order.new"))
    routes = [{**BROKEN, "name": f"r{n}", "args": [n if n % 2 else "$payload.none"]} for n in range(4)]
    desk.write_config(routes, sources={"orders": {**ORDERS, "decode": "text"}})
    retried = await desk.retry(letter)
    assert (retried.outcome, retried.messages) == ("failed", 2)
    assert numbers(desk) == [1, 3]
    assert [one.route for one in await desk.letters()] == ["r0", "r2"]


async def test_redis_refuses_the_message_for_good(desk: Desk) -> None:
    """Its queue's key holds another type: the letter says so, and none of the event's messages is written."""
    desk.write_config([{**BROKEN, "queue": "odd"}])
    (letter,) = await desk.receive(order(b"{}"))
    with desk.server.client() as client:
        client.set("dramatiq:odd", "x")
    desk.write_config([{**BROKEN, "args": [], "queue": "odd"}])
    retried = await desk.retry(letter)
    assert (retried.outcome, retried.reason) == ("failed", "refused-by-redis")
    assert "dramatiq:odd holds a string" in retried.detail
    (after,) = await desk.letters()
    assert (after.route, after.earlier[0].reason) == ("note", "missing-field")
    with desk.server.client() as client:
        client.delete("dramatiq:odd")
    assert (await desk.retry(after)).outcome == "retried"


async def test_a_body_that_was_cut_is_refused(desk: Desk) -> None:
    """It says how much of it is there."""
    desk.write_config([BROKEN], sources={"orders": {**ORDERS, "max_body": "20KiB"}})
    (letter,) = await desk.receive(order(b"x" * 30_000))
    desk.write_config([BROKEN])
    retried = await desk.retry(letter)
    assert retried.outcome == "refused"
    assert retried.detail == "its body was cut, 16384 of its 30000 bytes are here: it can't be retried"


async def test_headers_that_were_left_out(desk: Desk) -> None:
    """Only a route that reads them is refused."""
    dead = order(b"{}", {"big": "x" * 70_000})
    async with Sinks() as sinks:
        await sinks(desk.server).write(batch_of([Entry(dead, [], [DeadLetter(dead, "decode", "x")])]))
    (letter,) = await desk.letters()
    desk.write_config([MENDED])
    retried = await desk.retry(letter)
    assert "the route note reads headers or meta, and not all are here: 1 of 3" in retried.detail
    desk.write_config([OTHER])
    assert (await desk.retry(letter)).outcome == "retried"


DEDUPLICATED = {"orders": {**ORDERS, "deduplicate": {"key": "$meta.message_id", "within": "36500d"}}}


async def test_an_event_that_came_again_meanwhile_is_not_written_twice(desk: Desk) -> None:
    """Its route was written then: the letter goes, and nothing is written."""
    desk.write_config([BROKEN, OTHER], sources=DEDUPLICATED)
    (letter,) = await desk.receive(order(b"{}", message_id="m"))
    desk.write_config([{**BROKEN, "args": [1]}, OTHER], sources=DEDUPLICATED)
    await desk.receive(order(b"{}", message_id="m"))
    assert numbers(desk) == [2, 1]
    retried = await desk.retry(letter)
    assert (retried.outcome, retried.messages, retried.left_out) == ("retried", 0, 1)
    assert "written already" in retried.detail
    assert (numbers(desk), await desk.letters()) == ([2, 1], [])


@pytest.mark.parametrize("others", [[OTHER], []])
async def test_an_event_that_comes_again_after_the_retry(desk: Desk, others: list[dict[str, Any]]) -> None:
    """The retry remembers its route, with the others that are written, and where there is none."""
    desk.write_config([BROKEN, *others], sources=DEDUPLICATED)
    (letter,) = await desk.receive(order(b"{}", message_id="m"))
    desk.write_config([{**BROKEN, "args": [1]}, *others], sources=DEDUPLICATED)
    assert (await desk.retry(letter)).messages == 1
    before = numbers(desk)
    assert sorted(before) == [1, 2][: 1 + len(others)]
    await desk.receive(order(b"{}", message_id="m"))
    assert numbers(desk) == before


async def test_as_is_leaves_out_the_routes_that_are_written(desk: Desk) -> None:
    """Through all routes, as though the event came again: with a deduplication key only the missing ones are written."""
    desk.write_config([BROKEN, OTHER], sources=DEDUPLICATED)
    (letter,) = await desk.receive(order(b"{}", message_id="m"))
    desk.write_config([{**BROKEN, "args": [1]}, OTHER], sources=DEDUPLICATED)
    retried = await desk.retry(letter, as_is=True)
    assert (retried.outcome, retried.messages, retried.left_out) == ("retried", 1, 1)
    assert numbers(desk) == [2, 1]


async def test_a_key_whose_time_is_over_is_not_made_again(desk: Desk) -> None:
    """By now it may mean another event, which must not be dropped."""
    short = {"orders": {**ORDERS, "deduplicate": {"key": "$meta.message_id", "within": "1d"}}}
    desk.write_config([BROKEN], sources=short)
    (letter,) = await desk.receive(order(b"{}", message_id="m"))
    desk.write_config([{**BROKEN, "args": [1]}], sources=short)
    assert (await desk.retry(letter)).messages == 1
    await desk.receive(order(b"{}", message_id="m"))
    assert numbers(desk) == [1, 1]


async def test_two_retries_at_once(desk: Desk) -> None:
    """Each letter is written once."""
    await desk.receive(*(order(b"{}") for _ in range(300)))
    desk.write_config([{"from": "orders", "actor": "record", "args": [1]}])
    letters = await desk.letters()
    stores = [LetterStore(desk.config.dramatiq) for _ in range(3)]

    async def run(store: LetterStore) -> list[str]:
        found: list[str] = [retried.outcome async for _, retried in Retrier(desk.config, store).retry_all(letters)]
        await store.close()
        return found

    outcomes = [one for each in await asyncio.gather(*map(run, stores)) for one in each]
    assert (outcomes.count("retried"), outcomes.count("gone")) == (300, 600)
    assert len(messages(desk)) == 300
    assert desk.books()["count"] == 0


async def test_a_retry_writes_the_value_of_todays_table(desk: Desk) -> None:
    """And checks the payload by today's schema: a letter that does not fit stays."""
    route = {**BROKEN, "args": ['$lookup("accounts", payload.id)'], "validate": {"required": ["id"]}}
    desk.write_config([route], tables={"accounts": {"values": {"c1": 1}}})
    unknown, invalid = await desk.receive(order(b'{"id": "c7"}'), order(b"{}"))
    assert [unknown.reason, invalid.reason] == ["missing-field", "invalid"]
    desk.write_config([route], tables={"accounts": {"values": {"c7": 4711}}})
    assert (await desk.retry(unknown)).outcome == "retried"
    assert numbers(desk) == [4711]
    again = await desk.retry(invalid)
    assert (again.outcome, numbers(desk)) == ("failed", [4711])
