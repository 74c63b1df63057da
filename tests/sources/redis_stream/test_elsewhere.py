"""A stream in another Redis than Dramatiq's: the entry's id tells duplicates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.support.brokers import Redis
from tests.support.children import wait_until
from tests.support.feeds import StreamFeed
from tests.support.processes import Bridges, queue_messages

_DAY_S = 86_400


def test_a_stream_elsewhere_has_no_duplicates_within_a_day(
    redis_server: Redis, new_redis: Callable[..., Redis], new_bridge: Bridges
) -> None:
    """Each entry's id is remembered for a day: entries that the group reads again in that time are not written again."""
    feed, sink = StreamFeed(redis_server), new_redis()
    feed.prepare()
    bridge = new_bridge(feed.config(sink)).ready()
    feed.publish([{"n": n} for n in range(100)])
    with sink.client() as client:
        wait_until(lambda: client.llen("dramatiq:default") == 100, 30, "100 messages")
        keys = list(client.scan_iter("dramatiq-bridge:seen:*"))
        lifetimes: list[Any] = [client.ttl(key) for key in keys]
        assert len(keys) == 100
        assert all(_DAY_S - 60 < lifetime <= _DAY_S for lifetime in lifetimes)
        wait_until(lambda: feed.unacknowledged() == 0, 10, "every entry acknowledged")
        with feed.broker.client() as broker:
            broker.xgroup_setid(feed.name, "bridge", "0")
        feed.publish([{"n": 100}])
        wait_until(lambda: client.llen("dramatiq:default") > 100, 30, "the new message")
        assert [message["args"][0] for message in queue_messages(client, "default")] == list(range(101))
    bridge.terminate()
    assert bridge.wait() == 0
    counts = bridge.wait_for("source.counts", source="feed")
    assert (counts["messages"], counts["duplicates"]) == (101, 100)
