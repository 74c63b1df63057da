"""Redis pub/sub, shown on a real Redis: channels and patterns, bytes that are no text, lost connections."""

from __future__ import annotations

import base64
import os
from typing import Any

import msgspec
import pytest

from tests.brokers import Redis
from tests.children import wait_until
from tests.feeds import PubsubFeed
from tests.processes import BridgeProcess, Bridges, queue_messages


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
    """A channel's name that is not UTF-8 makes a dead letter where a route fits it, and stops nothing."""
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
    assert [counts[name] for name in ("routed", "dead_lettered", "unmatched")] == [1, 1, 1]


def test_a_killed_connection_is_said_and_made_again(feed: PubsubFeed, new_bridge: Bridges) -> None:
    """After CLIENT KILL the bridge says that it was disconnected, which is a gap, and subscribes again."""
    bridge = new_bridge(feed.config(feed.broker)).ready()
    with feed.broker.client() as client:
        client.client_kill_filter(_type="pubsub")
        assert bridge.wait_for("source.disconnected", source="feed")["cause"]
        bridge.wait_for("source.connected", times=2, source="feed")
        wait_until(lambda: client.pubsub_numsub(feed.name)[0][1] == 1, 10, "one subscriber")
    _publish(feed, feed.name, b'{"n": 1}')
    assert _args(feed, 1) == [[1]]


def test_a_backlog_in_the_socket_survives_the_stop(feed: PubsubFeed, new_bridge: Bridges) -> None:
    """What Redis had sent before SIGTERM is still written: unsubscribing takes nothing back."""
    bridge = new_bridge(feed.config(feed.broker, window={"events": 10, "bytes": "1MiB"})).ready()
    feed.publish([{"n": n} for n in range(2000)])
    counts = _counts(bridge)
    assert counts["received"] == counts["messages"] == 2000
    assert [n for (n,) in _args(feed, 2000)] == list(range(2000))
