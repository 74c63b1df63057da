"""A retry through a route with gates: a key that is there is asked, and an expiry is not."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.support.letters import ORDERS, Desk, order
from tests.support.processes import queue_messages

LINES = {
    "name": "lines",
    "from": "orders",
    "actor": "record",
    "foreach": "$payload.lines",
    "args": ["$payload.lines[index + payload.shift]"],
}
BODY = b'{"id": "o-1", "lines": ["a", "b", "b"]}'


def numbers(desk: Desk) -> list[Any]:
    """Return the first argument of each message."""
    with desk.server.client() as client:
        return [message["args"][0] for message in queue_messages(client, "default")]


@pytest.mark.parametrize(
    "deduplicate", [None, {"key": "$payload.id", "within": "36500d"}], ids=["plain", "deduplicated source"]
)
async def test_all_messages_of_a_route_are_written(desk: Desk, deduplicate: dict[str, str] | None) -> None:
    """Also where the source's key remembers the routes that are written: the second message is none of a route before."""
    sources = {"orders": ORDERS if deduplicate is None else {**ORDERS, "deduplicate": deduplicate}}
    desk.write_config([LINES], sources=sources)
    (letter,) = await desk.receive(order(BODY))
    assert letter.reason == "missing-field"
    desk.write_config([{**LINES, "args": ["$item"]}], sources=sources)
    assert (await desk.retry(letter)).messages == 3
    assert numbers(desk) == ["a", "b", "b"]


async def test_a_message_is_written_if_its_key_is_free(desk: Desk) -> None:
    """Of the route's own `deduplicate`; the keys of those that are written are then there."""
    mended = {**LINES, "args": ["$item"], "deduplicate": {"key": '$f"{payload.id}/{item}"', "within": "1h"}}
    desk.write_config([{**LINES, "deduplicate": mended["deduplicate"]}])
    first, second = await desk.receive(order(BODY), order(BODY))
    with desk.server.client() as client:
        assert client.keys("dramatiq-bridge:once:*") == []
    desk.write_config([mended])
    retried = await desk.retry(first)
    assert (retried.outcome, retried.messages, retried.left_out) == ("retried", 2, 1)
    retried = await desk.retry(second)
    assert (retried.outcome, retried.messages, retried.left_out) == ("retried", 0, 3)
    assert retried.detail == "written already: the event, or one with its key, came again"
    assert numbers(desk) == ["a", "b"]
    with desk.server.client() as client:
        keys = sorted(client.scan_iter("dramatiq-bridge:once:*"))
        assert keys == [b"dramatiq-bridge:once:lines:o-1/a", b"dramatiq-bridge:once:lines:o-1/b"]
        assert all(0 < int(str(client.pttl(key))) <= 3_600_000 for key in keys)


async def test_a_retry_takes_no_notice_of_the_expiry(desk: Desk) -> None:
    """A person asks for it: the message is written however long its event has been dead, with the route's own max_age."""
    route = {"name": "r", "from": "orders", "actor": "record", "args": ["$payload.x"], "expires": True}
    desk.write_config([route])
    events = [order(b'{"id": 7}', expires_in=10**9), order(b'{"id": 8}', expires_in=1)]
    letters = await desk.receive(*events)
    assert [letter.reason for letter in letters] == ["missing-field"] * 2
    desk.write_config([{**route, "args": ["$payload.id"], "options": {"max_age": "1h"}}])
    for each in letters:
        await desk.retry(each)
    with desk.server.client() as client:
        found = [(one["args"], one["options"]["max_age"]) for one in queue_messages(client, "default")]
    assert found == [([7], 3_600_000), ([8], 3_600_000)]


@pytest.mark.parametrize(
    "deduplicate", [None, {"key": "$payload.id", "within": "36500d"}], ids=["plain", "deduplicated source"]
)
async def test_all_keys_of_a_route_at_once(desk: Desk, deduplicate: dict[str, str] | None) -> None:
    """Of each element: its key is asked, its queue chosen, its time kept, its step put behind it, and the expiry ignored."""
    sources = {"orders": ORDERS if deduplicate is None else {**ORDERS, "deduplicate": deduplicate}}
    due_ms = time.time_ns() // 1_000_000 + 3_600_000
    route: dict[str, Any] = {
        "name": "lines",
        "from": "orders",
        "actor": "pick",
        "foreach": "$payload.lines",
        "args": ["$item.sku"],
        "queue_by": {"key": "$item.region", "queues": {"eu": "eu"}},
        "eta": "$item.due",
        "expires": True,
        "deduplicate": {"key": '$f"{payload.id}/{item.sku}"', "within": "1h"},
        "then": [
            {"actor": "report", "queue": "reports", "message_id": '$f"{payload.id}-{item.sku}"', "args": ["$index"]}
        ],
    }
    desk.write_config([{**route, "kwargs": {"x": "$item.missing"}}], sources=sources)
    lines = [("a", "eu", 0), ("b", "us", due_ms), ("a", "eu", due_ms), ("c", "eu", due_ms)]
    past = 1_700_000_000_000
    body = {"id": "o-1", "lines": [{"sku": s, "region": r, "due": due or past} for s, r, due in lines]}
    first, second = await desk.receive(*[order(json.dumps(body).encode(), expires_in=1) for _ in range(2)])
    assert {first.reason, second.reason} == {"missing-field"}
    desk.write_config([route], sources=sources)
    retried = await desk.retry(first)
    assert (retried.outcome, retried.messages, retried.left_out) == ("retried", 3, 1)
    retried = await desk.retry(second)
    assert (retried.outcome, retried.messages) == ("retried", 0)
    assert retried.detail == "written already: the event, or one with its key, came again"
    found = {}
    with desk.server.client() as client:
        for queue in ("eu", "eu.DQ", "default", "default.DQ"):
            found[queue] = [
                (one["args"], one["queue_name"], one["options"].get("eta"), one["options"].get("max_age"), _step(one))
                for one in queue_messages(client, queue)
            ]
        keys = sorted(client.scan_iter("dramatiq-bridge:once:*"))
        assert keys == [b"dramatiq-bridge:once:lines:o-1/" + sku for sku in (b"a", b"b", b"c")]
        assert all(0 < int(str(client.pttl(key))) <= 3_600_000 for key in keys)
    assert found == {
        "eu": [(["a"], "eu", None, None, ("report", "reports", "o-1-a", [0]))],
        "eu.DQ": [(["c"], "eu.DQ", due_ms, None, ("report", "reports", "o-1-c", [3]))],
        "default": [],
        "default.DQ": [(["b"], "default.DQ", due_ms, None, ("report", "reports", "o-1-b", [1]))],
    }


def _step(message: dict[str, Any]) -> tuple[Any, ...]:
    step = message["options"]["pipe_target"]
    return step["actor_name"], step["queue_name"], step["message_id"], step["args"]
