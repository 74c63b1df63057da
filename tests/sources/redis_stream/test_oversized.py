"""Entries of Redis Streams that are too large: memory has a bound, each is a dead letter, and the next ones flow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bridge.config import Dramatiq, RedisStream
from bridge.sources.redis_stream.source import RedisStreamSource
from tests.support.brokers import Redis
from tests.support.children import wait_until
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
    bridge = new_bridge(feed.config(redis_server, window={"bytes": "2MiB"})).ready()
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


#: The field that is the body, `max_body`, and the entry: all are within their bounds.
WITHIN: dict[str, tuple[str | None, str, dict[Any, Any]]] = {
    "a body of 3 MiB and a header": ("data", "4MiB", {"trace": "t", "data": b'"' + b"x" * (3 << 20) + b'"'}),
    "a whole entry of 7 MiB": (None, "8MiB", {"data": b"x" * (7 << 20)}),
    "a body of 200 KiB and headers of 900": (
        "data",
        "256KiB",
        {"h": b"y" * (900 << 10), "data": b'"' + b"x" * (200 << 10) + b'"'},
    ),
    "20,000 small headers": ("data", "256KiB", {**{f"h{n}": "v" for n in range(20_000)}, "data": "1"}),
    "a whole entry of 14,000 small fields": (None, "256KiB", {f"{n:x}": "v" for n in range(14_000)}),
}


@pytest.mark.parametrize("case", WITHIN)
def test_an_entry_within_max_body_and_1_mib_flows(case: str, redis_server: Redis, new_bridge: Bridges) -> None:
    """Its body has at most `max_body`, the rest at most 1 MiB: it is no dead letter, and its headers are there."""
    field, max_body, fields = WITHIN[case]
    feed = StreamFeed(redis_server)
    feed.prepare()
    route = {"args": ["$len(headers)", "$len(payload) if payload != 1 else 1"]}
    new_bridge(feed.config(redis_server, route, field=field, max_body=max_body)).ready()
    client: Any
    with redis_server.client() as client:
        client.xadd(feed.name, fields)
        wait_until(
            lambda: client.llen("dramatiq:default") + client.xlen("dramatiq-bridge:dead-letters"), 30, "an answer"
        )
        assert client.xrange("dramatiq-bridge:dead-letters") == []
        ((headers, payload),) = [message["args"] for message in queue_messages(client, "default")]
    assert headers == (0 if field is None else len(fields) - 1)
    assert payload == (len(fields) if field is None else max(1, len(fields["data"]) - 2))


@pytest.mark.parametrize("count", [200_001, 230_000])
def test_a_whole_entry_whose_json_is_too_large_is_a_dead_letter_with_the_size_of_its_json(
    count: int, redis_server: Redis, new_bridge: Bridges
) -> None:
    """Control characters take six bytes each: the body is that JSON, below and above `max_body` + 1 MiB."""
    feed = StreamFeed(redis_server)
    feed.prepare()
    new_bridge(feed.config(redis_server, {"args": ["$meta.entry_id"]}, field=None)).ready()
    client: Any
    with redis_server.client() as client:
        client.xadd(feed.name, {"d": b"\x01" * count})
        feed.publish([{"n": 2}])
        wait_until(lambda: client.llen("dramatiq:default") >= 1, 30, "the next one")
        ((_, letter),) = client.xrange("dramatiq-bridge:dead-letters")
    size = 6 * count + len('{"d":""}')
    assert letter[b"error"] == f"the body has {size} bytes, max_body is 262144".encode()
    assert (letter[b"reason"], int(letter[b"body_size"])) == (b"too-large", size)


@pytest.mark.parametrize(("field", "fields", "least"), [
    ("data", {"data": b"x" * 100_000}, 100_000),
    ("data", {"trace": b"t", "data": b"x" * 100_000}, 100_000),
    ("data", {"trace": b"t" * 50_000, "data": b"x" * 50_000}, 100_000),
    (None, {"data": b"x" * 50_000}, 100_000),  # the entry, and its JSON
    (None, {"data": b"\x01" * 230_000}, 16_384),  # only the beginning of 1.4 MB of JSON is kept, and nothing of the entry
])  # fmt: skip
async def test_the_bytes_of_an_entry_count_once_in_the_window(
    field: str | None, fields: dict[Any, Any], least: int, redis_server: Redis
) -> None:
    """A body that is a part of the entry takes no memory of its own; the JSON of a whole entry does."""
    client: Any
    with redis_server.client() as client:
        client.xgroup_create("s", "g", "0", mkstream=True)
        client.xadd("s", fields)
    stream = {"type": "redis-stream", "url": redis_server.url, "streams": ["s"], "group": "g", "field": field}
    config = RedisStream.model_validate(stream)
    async with RedisStreamSource("s", config, Dramatiq(url=redis_server.url), in_sink=False).connect() as session:
        (event,) = await session.receive()
    assert least <= event.size < least + 1000
