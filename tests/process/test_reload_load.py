"""Reloads under load; `make reload-load` does the same for a minute with 2,000 events a second."""

from __future__ import annotations

import pytest

from tests.support import reload_load
from tests.support.brokers import Redis
from tests.support.feeds import AmqpFeed, Feed, MqttFeed, StreamFeed
from tests.support.processes import Bridges


@pytest.mark.parametrize("broker", [AmqpFeed, MqttFeed, StreamFeed], ids=lambda feed: feed.kind, indirect=True)
@pytest.mark.parametrize("processes", [1, 2])
def test_reloads_under_load_lose_nothing_and_route_nothing_by_half_of_a_file(
    feed: Feed, redis_server: Redis, new_bridge: Bridges, processes: int
) -> None:
    """Good and bad files in turn: each event has the messages of one file, and of no other."""
    bridge = new_bridge(reload_load.good(feed, redis_server, 0, processes)).ready()
    report = reload_load.run(feed, redis_server, bridge, seconds=4, rate=500, processes=processes)
    assert not report.wrong
    assert report.published > 500
    assert report.reloads["bridge.reloaded"] >= 2
    if isinstance(feed, StreamFeed):
        assert report.duplicates == 0, "each entry is written once, however often its source restarts"
