"""Redis Streams, shown on a real Redis: groups, other consumers' pending entries, trimmed entries, deleted groups."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.batches import answer
from tests.support.brokers import Redis
from tests.support.children import wait_until
from tests.support.feeds import StreamFeed
from tests.support.processes import BridgeProcess, Bridges, assert_no_orphans, queue_messages


@pytest.fixture
def feed(redis_server: Redis) -> StreamFeed:
    """A stream in the Redis that is written to."""
    return StreamFeed(redis_server)


def _args(sink: Redis, count: int) -> list[list[Any]]:
    """Wait for `count` messages and return their arguments."""
    with sink.client() as client:
        wait_until(lambda: client.llen("dramatiq:default") >= count, 30, f"{count} messages")
        return [message["args"] for message in queue_messages(client, "default")]


def _pending(feed: StreamFeed) -> int:
    with feed.broker.client() as client:
        summary: Any = client.xpending(feed.name, "bridge")
        return int(summary["pending"])


def _leave_pending(feed: StreamFeed, consumer: str, count: int) -> list[bytes]:
    """Read as a consumer that acknowledges nothing; return the ids."""
    with feed.broker.client() as client:
        reply: Any = client.xreadgroup("bridge", consumer, {feed.name: ">"}, count=count)
        return [entry_id for entry_id, _ in reply[0][1]]


def _stop(bridge: BridgeProcess) -> dict[str, Any]:
    bridge.terminate()
    assert bridge.wait() == 0
    return bridge.wait_for("source.counts", source="feed")


def test_several_streams_and_whole_entries(feed: StreamFeed, new_bridge: Bridges) -> None:
    """One source reads several streams; without `field` the payload is the object of all fields, and the key the topic."""
    other = f"{feed.name}:other"
    settings = {"streams": [feed.name, other], "field": None}
    route = {"args": ["$topic", "$payload", "$meta.entry_id", "$headers"]}
    new_bridge(feed.config(feed.broker, route, **settings)).ready()
    with feed.broker.client() as client:
        first = client.xadd(feed.name, {"a": "1", "größe": "é"})
        second = client.xadd(other, {"b": "", "data": '{"n": 1}'})
        assert sorted(_args(feed.broker, 2)) == sorted(
            [
                [feed.name, {"a": "1", "größe": "é"}, first.decode(), {}],
                [other, {"b": "", "data": '{"n": 1}'}, second.decode(), {}],
            ]
        )


def test_a_field_is_the_body_and_the_others_are_headers(feed: StreamFeed, new_bridge: Bridges) -> None:
    """With `field` that field is decoded; an entry without it is a dead letter, and the next one flows."""
    new_bridge(feed.config(feed.broker, {"args": ["$payload.n", "$headers"]})).ready()
    with feed.broker.client() as client:
        client.xadd(feed.name, {"data": '{"n": 1}', "trace": "t1"})
        client.xadd(feed.name, {"date": '{"n": 2}'})
        client.xadd(feed.name, {"data": '{"n": 3}'})
        assert _args(feed.broker, 2) == [[1, {"trace": "t1"}], [3, {}]]
        letters: Any = client.xrange("dramatiq-bridge:dead-letters")
    assert [fields[b"error"] for _, fields in letters] == [b"the entry has no field 'data'"]
    wait_until(lambda: _pending(feed) == 0, 10, "nothing pending")


@pytest.mark.parametrize("field", ["data", None])
def test_bytes_that_are_no_text(field: str | None, feed: StreamFeed, new_bridge: Bridges) -> None:
    """Bytes pass through `field` with `decode: bytes`; in a whole entry, which is JSON, they make a dead letter."""
    new_bridge(feed.config(feed.broker, {"args": ["$payload"]}, field=field, decode="bytes")).ready()
    raw = b"\xff\x00\xfe"
    with feed.broker.client() as client:
        client.xadd(feed.name, {"data": raw})
        client.xadd(feed.name, {"data": "text"})
        if field:
            expected: list[Any] = [[base64.b64encode(raw).decode()], [base64.b64encode(b"text").decode()]]
            assert _args(feed.broker, 2) == expected
        else:
            assert _args(feed.broker, 1) == [[{"data": "text"}]]
            letters: Any = client.xrange("dramatiq-bridge:dead-letters")
            assert len(letters) == 1
            assert b"not UTF-8" in letters[0][1][b"error"]
            assert raw in letters[0][1][b"body"]


@pytest.mark.parametrize("field", ["data", None])
def test_binary_fields_are_base64(field: str | None, feed: StreamFeed, new_bridge: Bridges) -> None:
    """The fields in `binary` are base64, always, also where their bytes are text; in the payload, or in the headers."""
    value = "$headers.photo" if field else "$payload.photo"
    new_bridge(feed.config(feed.broker, {"args": [value]}, field=field, decode="text", binary=["photo"])).ready()
    with feed.broker.client() as client:
        for photo in (b"\xff\xd8\x00", b"text"):
            client.xadd(feed.name, {"data": "x", "photo": photo})
    assert _args(feed.broker, 2) == [["/9gA"], [base64.b64encode(b"text").decode()]]


def test_a_dead_consumers_entries_are_taken_over(feed: StreamFeed, new_bridge: Bridges) -> None:
    """Entries that a consumer read and never acknowledged are taken over after `claim_after`, once, and that is logged."""
    feed.prepare()
    feed.publish([{"n": n} for n in range(5)])
    _leave_pending(feed, "crashed", 3)
    bridge = new_bridge(feed.config(feed.broker, consumer="bridge-1", claim_after="1s")).ready()
    assert sorted(n for (n,) in _args(feed.broker, 5)) == [0, 1, 2, 3, 4]
    claimed = bridge.wait_for("source.claimed", source="feed", stream=feed.name)
    assert claimed["entries"] == 3
    wait_until(lambda: _pending(feed) == 0, 10, "nothing pending")
    assert _stop(bridge)["messages"] == 5


def test_own_pending_entries_come_first(feed: StreamFeed, new_bridge: Bridges) -> None:
    """Entries that the bridge had read before it was killed come first, before new ones."""
    feed.prepare()
    feed.publish([{"n": n} for n in range(700)])
    _leave_pending(feed, "bridge-1", 600)
    feed.publish([{"n": 700}])
    new_bridge(feed.config(feed.broker, consumer="bridge-1")).ready()
    assert [n for (n,) in _args(feed.broker, 701)] == list(range(701))
    wait_until(lambda: _pending(feed) == 0, 10, "nothing pending")


@pytest.mark.parametrize(("consumer", "elsewhere"), [("bridge-1", True), ("crashed", False)], ids=["own", "another's"])
def test_trimmed_entries_are_said_to_be_lost(
    consumer: str, elsewhere: bool, feed: StreamFeed, new_redis: Callable[..., Redis], new_bridge: Bridges
) -> None:
    """Pending entries that the stream no longer has are counted as lost, and delay nothing."""
    sink = new_redis() if elsewhere else feed.broker
    feed.prepare()
    feed.publish([{"n": n} for n in range(1200)])
    ids = _leave_pending(feed, consumer, 1100)
    lost = [ids[0], *ids[300:310], ids[800], ids[1099]]
    with feed.broker.client() as client:
        client.xdel(feed.name, *lost)
    bridge = new_bridge(feed.config(sink, consumer="bridge-1", claim_after="1s")).ready()
    kept = [n for n in range(1200) if n >= 1100 or ids[n] not in lost]
    assert sorted(n for (n,) in _args(sink, len(kept))) == kept
    wait_until(lambda: _pending(feed) == 0, 20, "nothing pending")
    assert not bridge.events("source.disconnected")
    assert _stop(bridge)["messages"] == len(kept)
    said = bridge.events("source.entries_trimmed")
    assert sum(line["lost"] for line in said) == said[-1]["total"] == len(lost)
    assert len(said) <= 2, "at once, and the rest added up"


@pytest.mark.parametrize(("start", "expected"), [("beginning", [0, 1, 2]), ("new", [2])])
def test_where_a_new_group_starts(start: str, expected: list[int], feed: StreamFeed, new_bridge: Bridges) -> None:
    """A group that the bridge makes starts at the `beginning` of the stream, or with `new` entries."""
    feed.publish([{"n": 0}, {"n": 1}])
    new_bridge(feed.config(feed.broker, start=start)).ready()
    feed.publish([{"n": 2}])
    assert [n for (n,) in _args(feed.broker, len(expected))] == expected


@pytest.mark.parametrize("elsewhere", [False, True], ids=["in-dramatiqs-redis", "elsewhere"])
@pytest.mark.parametrize("start", ["an id", "a time"])
def test_a_new_group_starts_at_an_entry_or_a_time(
    start: str, elsewhere: bool, feed: StreamFeed, new_redis: Callable[..., Redis], new_bridge: Bridges
) -> None:
    """The entry of the id is read, and the first one that was added at the time or later."""
    sink = new_redis() if elsewhere else feed.broker
    feed.publish([{"n": 0}, {"n": 1}])
    time.sleep(0.01)
    began = datetime.now(UTC)
    feed.publish([{"n": 2}, {"n": 3}])
    with feed.broker.client() as client:
        entries: Any = client.xrange(feed.name)
    given = began.isoformat() if start == "a time" else entries[2][0].decode()
    new_bridge(feed.config(sink, start=given)).ready()
    feed.publish([{"n": 4}])
    assert [n for (n,) in _args(sink, 3)] == [2, 3, 4]


def test_in_dramatiqs_redis_the_write_acknowledges(feed: StreamFeed, new_bridge: Bridges) -> None:
    """In Dramatiq's own Redis no moment shows an entry that is both enqueued and pending: the write is the XACK."""
    feed.prepare()
    new_bridge(feed.config(feed.broker)).ready()
    seen = 0
    with feed.broker.client() as client:
        for n in range(200):
            client.xadd(feed.name, {"data": f'{{"n": {n}}}'})
            end = time.monotonic() + 20
            while time.monotonic() < end:
                with client.pipeline(transaction=True) as both:
                    both.llen("dramatiq:default")
                    both.xpending(feed.name, "bridge")
                    length, summary = both.execute()
                if length == n + 1:
                    assert summary["pending"] == 0
                    seen += 1
                    break
    assert seen == 200


@pytest.mark.parametrize("elsewhere", [False, True], ids=["in-dramatiqs-redis", "elsewhere"])
def test_two_bridges_in_one_group_share_the_work(
    elsewhere: bool, feed: StreamFeed, new_redis: Callable[..., Redis], new_bridge: Bridges
) -> None:
    """Two bridges of one group write each event once between them, also while they claim eagerly."""
    sink = new_redis() if elsewhere else feed.broker
    feed.prepare()
    bridges = [new_bridge(feed.config(sink, consumer=f"bridge-{i}", claim_after="1ms")) for i in (1, 2)]
    for bridge in bridges:
        bridge.ready()
    with feed.broker.client() as client:
        wait_until(lambda: answer(client.info("clients"))["blocked_clients"] == 2, what="both waiting for entries")
    for start in range(0, 2000, 20):
        feed.publish([{"n": n} for n in range(start, start + 20)])
    assert sorted(n for (n,) in _args(sink, 2000)) == list(range(2000))
    wait_until(lambda: _pending(feed) == 0, 20, "nothing pending")
    counts = [_stop(bridge) for bridge in bridges]
    assert len(_args(sink, 2000)) == 2000
    assert sum(count["messages"] for count in counts) == 2000
    assert min(count["messages"] for count in counts) > 0
    with sink.client() as client:
        assert_no_orphans(client)
