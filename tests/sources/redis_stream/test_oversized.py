"""Entries of Redis Streams that are too large: memory has a bound, each is a dead letter, and the next ones flow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.brokers import Redis
from tests.support.children import UNMEASURED, wait_until
from tests.support.feeds import StreamFeed
from tests.support.processes import BridgeProcess, Bridges, queue_messages

LARGE = 4 << 20


def _grown_until(bridge: BridgeProcess, condition: Callable[[], bool], what: str) -> int:
    """Wait for `condition`, and return by how many bytes the bridge has grown at most meanwhile."""
    before, grown = bridge.rss_bytes(), 0

    def look() -> bool:
        nonlocal grown
        grown = max(grown, bridge.rss_bytes() - before)
        return condition()

    wait_until(look, 60, what)
    return grown


def test_entries_that_become_large_all_at_once_have_a_bound(
    new_redis: Callable[..., Redis], redis_server: Redis, new_bridge: Bridges
) -> None:
    """40 entries of 4 MiB after small ones: a reply ends at four windows, then they are read one by one, each once."""
    feed = StreamFeed(new_redis())
    feed.prepare()
    bridge = new_bridge(feed.config(redis_server, window={"bytes": "2MiB"}), env=UNMEASURED).ready()
    feed.publish([{"n": n} for n in range(400)])
    client: Any
    with redis_server.client() as client, feed.broker.client() as source:
        wait_until(lambda: client.llen("dramatiq:default") >= 400, 30, "the small ones")
        together = source.pipeline(transaction=True)
        for _ in range(40):
            together.xadd(feed.name, {"data": b"x" * LARGE})
        together.execute()
        feed.publish([{"n": 400}])
        grown = _grown_until(bridge, lambda: client.llen("dramatiq:default") >= 401, "the event behind them")
        assert [message["args"] for message in queue_messages(client, "default")] == [[n] for n in range(401)]
        letters = [fields for _, fields in client.xrange("dramatiq-bridge:dead-letters")]
    assert [(one[b"reason"], int(one[b"body_size"])) for one in letters] == [(b"too-large", LARGE)] * 40
    assert {len(one[b"body"]) for one in letters} == {16_384}
    cause = bridge.wait_for("source.disconnected", source="feed")["cause"]
    assert cause == "a reply of more than 9MiB"
    assert grown < 64 << 20, f"grew by {grown / 2**20:.1f} MiB"
    wait_until(lambda: feed.unacknowledged() == 0, 10, "nothing pending")


#: The field that is the body, the entry, the dead letter's reason, and the size of the body.
CASES: dict[str, tuple[str | None, dict[Any, Any], bytes, int]] = {
    "body": ("data", {"data": b"x" * LARGE, "trace": "t"}, b"too-large", LARGE),
    "header": ("data", {"data": b'{"n": 1}', "trace": b"x" * LARGE}, b"decode", 8),
    "whole entry": (None, {"data": b"x" * LARGE, "trace": "t"}, b"too-large", LARGE + 10),
}


@pytest.mark.parametrize("case", CASES)
def test_a_large_entry_is_a_dead_letter_whichever_field_is_large(
    case: str, redis_server: Redis, new_bridge: Bridges
) -> None:
    """Its beginning is kept; the next one flows."""
    field, fields, reason, size = CASES[case]
    feed = StreamFeed(redis_server)
    feed.prepare()
    new_bridge(feed.config(redis_server, {"args": ["$meta.entry_id"]}, field=field)).ready()
    client: Any
    with redis_server.client() as client:
        client.xadd(feed.name, fields)
        feed.publish([{"n": 2}])
        wait_until(lambda: client.llen("dramatiq:default") >= 1, 30, "the next one")
        ((_, letter),) = client.xrange("dramatiq-bridge:dead-letters")
    assert (letter[b"reason"], int(letter[b"body_size"])) == (reason, size)
    assert len(letter[b"body"]) <= 16_384
