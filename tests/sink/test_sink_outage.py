"""How soon the bridge tries to reach Redis again."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.brokers import Redis
from tests.support.children import wait_until
from tests.support.feeds import PubsubFeed
from tests.support.processes import Bridges


def test_while_redis_is_away_the_bridge_tries_again_after_at_most_2_s(
    redis_server: Redis, new_redis: Callable[..., Redis], new_bridge: Bridges
) -> None:
    """However long Redis is away: each line of the log says the next wait, and the later ones are the longest.

    Then the bridge goes on by itself.
    """
    feed, sink = PubsubFeed(redis_server), new_redis(appendonly=True)
    bridge = new_bridge(feed.config(sink)).ready()
    sink.stop()
    feed.publish([{"n": 0}])
    # The line is repeated after 10 s: by then the wait has been doubled often enough to reach its bound.
    wait_until(lambda: any("repeated" in line for line in bridge.events("sink.unavailable")), what="a repeated line")
    lines = bridge.events("sink.unavailable")
    assert all(0 < line["retry_in"] <= 2 for line in lines)
    assert all(line["retry_in"] >= 1 for line in lines if "repeated" in line)
    sink.start()
    with sink.client() as client:
        wait_until(lambda: client.llen("dramatiq:default") == 1, 20, "the waiting event")
    bridge.wait_for("sink.recovered")
