"""Servers and proxies that end idle connections: no event waits for it, and no line is written."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.faults.proxy import Proxy
from tests.support.batches import answer
from tests.support.brokers import Redis
from tests.support.children import wait_until
from tests.support.feeds import Feed, PubsubFeed, StreamFeed
from tests.support.processes import BridgeProcess, Bridges, queue_messages

NewRedis = Callable[..., Redis]
_ENDS = ("source.disconnected", "source.unavailable", "source.gap", "sink.unavailable")
_IDLE_S = 2


def publish_now_and_then(feed: Feed, bridge: BridgeProcess, sink: Redis) -> None:
    """Publish an event every three seconds; each is written, and no connection is said to have ended."""
    with sink.client() as client:
        for n in range(4):
            feed.publish([{"n": n}])
            wait_until(lambda n=n: len(queue_messages(client, "default")) == n + 1, 20, "the message")  # type: ignore[misc]
            time.sleep(_IDLE_S + 1)
    assert [line for event in _ENDS for line in bridge.events(event)] == []


@pytest.mark.parametrize("kind", [StreamFeed, PubsubFeed])
def test_a_redis_with_a_timeout_is_read(kind: type[Feed], new_redis: NewRedis, new_bridge: Bridges) -> None:
    """`timeout 2` ends the connection that acknowledges, and the sink's: they are made again when they are used."""
    server, sink = new_redis({"timeout": str(_IDLE_S)}), new_redis({"timeout": str(_IDLE_S)}, appendonly=True)
    feed = kind(server)
    bridge = new_bridge(feed.config(sink)).ready()
    publish_now_and_then(feed, bridge, sink)
    assert feed.unacknowledged() == 0


@contextmanager
def behind_proxies(feed: Feed, sink: Redis) -> Iterator[tuple[dict[str, Any], list[Proxy]]]:
    """Yield a configuration in which source and sink are behind proxies that end idle connections."""
    with Proxy(feed.broker.port) as source_proxy, Proxy(sink.port) as sink_proxy:
        proxies = [source_proxy, sink_proxy]
        for proxy in proxies:
            proxy.idle_s = float(_IDLE_S)
        config = feed.config(sink, url=f"redis://127.0.0.1:{source_proxy.port}")
        config["dramatiq"]["url"] = f"redis://127.0.0.1:{sink_proxy.port}"
        yield config, proxies


@pytest.mark.parametrize("kind", [StreamFeed, PubsubFeed])
def test_a_proxy_that_ends_idle_connections_is_no_outage(
    kind: type[Feed], new_redis: NewRedis, new_bridge: Bridges
) -> None:
    """The same behind a proxy, which ends a subscription too: PINGs keep that one."""
    feed, sink = kind(new_redis()), new_redis(appendonly=True)
    with behind_proxies(feed, sink) as (config, proxies):
        bridge = new_bridge(config).ready()
        publish_now_and_then(feed, bridge, sink)
        assert sum(proxy.cuts for proxy in proxies) > 0
        assert feed.unacknowledged() == 0


def test_a_full_window_does_not_end_the_reader(new_redis: NewRedis, new_bridge: Bridges) -> None:
    """While the sink is away nothing is read for longer than `timeout`; then reading goes on by a new connection."""
    server, sink = new_redis({"timeout": "1"}), new_redis(appendonly=True)
    feed = StreamFeed(server)
    config = feed.config(sink, window={"events": 5})
    bridge = new_bridge(config).ready()
    with sink.client() as client:
        answer(client.client_pause(4_000, all=False))
        feed.publish([{"n": n} for n in range(100)])
        time.sleep(5)
        wait_until(lambda: feed.unacknowledged() == 0, 20, "every entry acknowledged")
        assert [message["args"] for message in queue_messages(client, "default")] == [[n] for n in range(100)]
    assert not bridge.events("source.disconnected")
