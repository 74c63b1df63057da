"""Redis pub/sub, shown on a real Redis: channels and patterns, bytes that are no text, lost connections."""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import redis

from bridge.sources.redis_pubsub import MAX_SILENCE_S
from tests.support.brokers import Redis
from tests.support.children import wait_until
from tests.support.feeds import PubsubFeed
from tests.support.processes import BridgeProcess, Bridges, queue_messages


@pytest.fixture
def feed(redis_server: Redis) -> PubsubFeed:
    """A channel of its own, in the Redis that is written to as well."""
    return PubsubFeed(redis_server)


def _publish(feed: PubsubFeed, channel: str | bytes, *bodies: bytes) -> None:
    with feed.broker.client() as client:
        for body in bodies:
            # redis-py's own `publish` would encode the channel's name.
            assert client.execute_command("PUBLISH", channel, body) > 0


def _args(feed: PubsubFeed, count: int) -> list[list[Any]]:
    """Wait for `count` messages and return their arguments."""
    with feed.broker.client() as client:
        wait_until(lambda: client.llen("dramatiq:default") >= count, 30, f"{count} messages")
        return [message["args"] for message in queue_messages(client, "default")]


def _counts(bridge: BridgeProcess) -> dict[str, Any]:
    bridge.terminate()
    assert bridge.wait() == 0
    return bridge.wait_for("source.counts", source="feed")


def test_channels_and_patterns_together(feed: PubsubFeed, new_bridge: Bridges) -> None:
    """One source takes channels and patterns; a channel that fits both comes twice, as Redis itself sends it twice."""
    name = feed.name
    route = {"args": ["$topic", "$payload.n"]}
    config = feed.config(feed.broker, route, channels=[name, f"{name}.both"], patterns=[f"{name}.*", f"{name}-[ab]"])
    bridge = new_bridge(config).ready()
    _publish(feed, name, b'{"n": 1}')
    _publish(feed, f"{name}.other", b'{"n": 2}')
    _publish(feed, f"{name}-b", b'{"n": 3}')
    _publish(feed, f"{name}.both", b'{"n": 4}')
    assert _args(feed, 5) == [
        [name, 1],
        [f"{name}.other", 2],
        [f"{name}-b", 3],
        [f"{name}.both", 4],
        [f"{name}.both", 4],
    ]
    assert _counts(bridge)["received"] == 5


@pytest.mark.parametrize("decode", ["bytes", "msgpack"])
def test_binary_payloads(decode: str, feed: PubsubFeed, new_bridge: Bridges) -> None:
    """A body may be any bytes: as base64 text with `decode: bytes`, as a structure with `decode: msgpack`."""
    raw = bytes(range(256)) + os.urandom(64) + b"\r\n$5\r\n"
    body, expected = raw, base64.b64encode(raw).decode()
    if decode == "msgpack":
        body = msgspec.msgpack.encode({"raw": raw, "n": -1})
    new_bridge(feed.config(feed.broker, {"args": ["$payload"]}, decode=decode)).ready()
    _publish(feed, feed.name, body)
    assert _args(feed, 1) == [[expected if decode == "bytes" else {"raw": expected, "n": -1}]]


def test_a_channel_that_is_no_text(feed: PubsubFeed, new_bridge: Bridges) -> None:
    """A channel's name that is not UTF-8 makes a dead letter if a route fits it, and stops nothing."""
    config = feed.config(feed.broker, {"topic": f"{feed.name}.*"}, channels=[], patterns=[f"{feed.name}[.:]*"])
    bridge = new_bridge(config).ready()
    _publish(feed, feed.name.encode() + b".\xff\xfe", b'{"n": 1}')
    _publish(feed, feed.name.encode() + b":\xff\xfe", b'{"n": 2}')
    _publish(feed, f"{feed.name}.ok", b'{"n": 3}')
    assert _args(feed, 1) == [[3]]
    with feed.broker.client() as client:
        letters: Any = client.xrange("dramatiq-bridge:dead-letters")
        assert [fields[b"error"] for _, fields in letters] == [b"the channel's name is not UTF-8"]
        assert letters[0][1][b"body"] == b'{"n": 1}'
    counts = _counts(bridge)
    assert [counts[name] for name in ("enqueued", "dead_lettered", "unmatched")] == [1, 1, 1]


def _cut(feed: PubsubFeed) -> None:
    """Cut the subscriber's connection, and wait until it is back."""
    with feed.broker.client() as client:
        assert client.client_kill_filter(_type="pubsub")
        wait_until(lambda: client.pubsub_numsub(feed.name)[0][1] == 0, 10, "no subscriber")
        wait_until(lambda: client.pubsub_numsub(feed.name)[0][1] == 1, 10, "one subscriber")


def test_gaps_after_lost_connections_are_logged_and_counted(feed: PubsubFeed, new_bridge: Bridges) -> None:
    """The first gap is said at once, for how long, at most; a connection that is lost again and again fills no log, and no gap is forgotten."""
    bridge = new_bridge(feed.config(feed.broker)).ready()
    assert not bridge.events("source.gap"), "the time before the start is no gap"
    _cut(feed)
    gap = bridge.wait_for("source.gap", source="feed")
    assert (gap["level"], gap["gaps"]) == ("warning", 1)
    assert gap["seconds"] >= 0
    assert bridge.wait_for("source.disconnected", source="feed")["cause"]
    for _ in range(4):
        _cut(feed)
    feed.publish([{"n": 1}])
    assert _args(feed, 1) == [[1]]
    bridge.terminate()
    assert bridge.wait() == 0
    first, rest = bridge.events("source.gap")
    assert first == gap
    assert (rest["gaps"], rest["repeated"]) == (5, 3)
    bridge.start().ready()
    assert not bridge.events("source.gap"), "a planned restart is no gap"


def test_a_redis_that_vanishes_is_noticed(
    new_redis: Callable[..., Redis], redis_server: Redis, new_bridge: Bridges
) -> None:
    """A silent Redis is left; connecting has a timeout, and the gap counts from the beginning of the silence."""
    feed = PubsubFeed(new_redis())
    since = time.monotonic()
    bridge = new_bridge(feed.config(redis_server, connect_timeout="1s")).ready()
    feed.broker.pause()
    lost = bridge.wait_for("source.disconnected", timeout=30, source="feed")
    assert "timed out" in lost["cause"]
    assert bridge.wait_for("source.unavailable", timeout=5, source="feed")["cause"] == "timed out"
    feed.broker.resume()
    gap = bridge.wait_for("source.gap", timeout=15, source="feed")
    # It counts from the last answer, not from when the silence was noticed.
    assert MAX_SILENCE_S <= gap["seconds"] <= time.monotonic() - since + 0.1
    bridge.wait_for("source.connected", times=2, source="feed")
    feed.publish([{"n": 1}])
    with redis_server.client() as client:
        wait_until(lambda: client.llen("dramatiq:default") == 1, 10, "the next event")


def test_a_subscriber_that_is_dropped_as_too_slow(
    new_redis: Callable[..., Redis], redis_server: Redis, new_bridge: Bridges
) -> None:
    """Redis drops a subscriber that does not read: the messages it had sent are written, the gap is logged, and the rest flows."""
    feed = PubsubFeed(new_redis({"client-output-buffer-limit": "pubsub 64kb 0 0"}))
    since = time.monotonic()
    bridge = new_bridge(feed.config(redis_server, window={"events": 100, "bytes": "1MiB"})).ready()
    total = 20_000
    redis_server.pause()
    try:
        feed.publish([{"n": n, "text": "x" * 2000} for n in range(total)])
        with feed.broker.client() as client:
            wait_until(lambda: client.pubsub_numsub(feed.name)[0][1] == 0, 20, "the subscriber dropped")
        time.sleep(3)
    finally:
        redis_server.resume()
    gap = bridge.wait_for("source.gap", source="feed")
    assert 3 <= gap["seconds"] <= time.monotonic() - since + 0.1, "it counts from when the subscriber fell behind"
    feed.publish([{"n": total}])
    with redis_server.client() as client:
        wait_until(lambda: _last(client) == total, 20, "the event after the gap")
        came = [message["args"][0] for message in queue_messages(client, "default")]
    assert bridge.wait_for("source.disconnected", source="feed")["cause"]
    received = len(came) - 1
    assert 100 < received < total
    assert came == [*range(received), total], "everything up to the gap, once and in order"


def _last(client: redis.Redis) -> int:
    messages = queue_messages(client, "default")
    return int(messages[-1]["args"][0]) if messages else -1


def test_a_backlog_in_the_socket_survives_the_stop(feed: PubsubFeed, new_bridge: Bridges) -> None:
    """Messages that Redis had sent before SIGTERM are still written: unsubscribing takes nothing back."""
    bridge = new_bridge(feed.config(feed.broker, window={"events": 10, "bytes": "1MiB"})).ready()
    feed.publish([{"n": n} for n in range(2000)])
    counts = _counts(bridge)
    assert counts["received"] == counts["messages"] == 2000
    assert [n for (n,) in _args(feed, 2000)] == list(range(2000))


def test_a_stop_after_the_connection_was_lost_writes_all_received_messages(
    feed: PubsubFeed, new_redis: Callable[..., Redis], new_bridge: Bridges
) -> None:
    """Stopped while the window is full and the connection gone, the bridge still writes all that Redis had sent."""
    sink = new_redis()
    bridge = new_bridge(feed.config(sink, window={"events": 10, "bytes": "1MiB"})).ready()
    sink.pause()
    try:
        feed.publish([{"n": n} for n in range(2000)])
        with feed.broker.client() as client:
            client.client_kill_filter(_type="pubsub")
        time.sleep(0.5)
        bridge.terminate()
        time.sleep(0.5)
    finally:
        sink.resume()
    assert bridge.wait() == 0
    counts = bridge.wait_for("source.counts", source="feed")
    assert counts["received"] == counts["messages"] == 2000
    with sink.client() as client:
        assert [message["args"][0] for message in queue_messages(client, "default")] == list(range(2000))


def test_a_huge_message_ends_the_connection_and_fills_nothing(
    new_redis: Callable[..., Redis], redis_server: Redis, new_bridge: Bridges
) -> None:
    """A message of 100 MiB, where Redis sets its subscribers no limit: the gap is said, and the bridge stays small."""
    feed = PubsubFeed(new_redis({"client-output-buffer-limit": "pubsub 0 0 0"}))
    bridge = new_bridge(feed.config(redis_server)).ready()
    before, grown = bridge.rss_bytes(), 0

    def gap_is_said() -> bool:
        nonlocal grown
        grown = max(grown, bridge.rss_bytes() - before)
        return bool(bridge.events("source.gap"))

    _publish(feed, feed.name, b"x" * (100 << 20))
    wait_until(gap_is_said, 30, "the gap")
    assert grown < 64 << 20, f"grew by {grown / 2**20:.1f} MiB"
    assert bridge.wait_for("source.disconnected", source="feed")["cause"] == "a reply of more than 32MiB"
    feed.publish([{"n": 1}])
    with redis_server.client() as client:
        wait_until(lambda: client.llen("dramatiq:default") >= 1, 30, "the next event")


def test_a_message_of_20_mib_is_a_dead_letter(feed: PubsubFeed, new_bridge: Bridges) -> None:
    """What Redis itself sends to its subscribers is received; the next one flows."""
    bridge = new_bridge(feed.config(feed.broker)).ready()
    _publish(feed, feed.name, b"x" * (20 << 20), b'{"n": 1}')
    assert _args(feed, 1) == [[1]]
    assert bridge.wait_for("event.dead_lettered")["reason"] == "too-large"
    assert bridge.events("source.disconnected") == []
