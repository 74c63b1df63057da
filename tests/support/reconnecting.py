"""Connections that are made again, and events that flow after it."""

from __future__ import annotations

from tests.faults.proxy import Proxy
from tests.support.brokers import Redis
from tests.support.children import wait_until
from tests.support.feeds import Feed
from tests.support.processes import BridgeProcess, queue_messages


def reconnect_and_flow(proxy: Proxy, bridge: BridgeProcess, feed: Feed, sink: Redis) -> None:
    """Cut all connections; return once the source is connected for the second time, and an event became a message."""
    proxy.reset()
    bridge.wait_for("source.connected", times=2)
    feed.publish([{"n": 1}])
    with sink.client() as client:
        wait_until(lambda: queue_messages(client, "default"), 20, "the message")
