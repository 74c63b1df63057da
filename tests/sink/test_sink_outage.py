"""How often the bridge tries to reach Redis again."""

from __future__ import annotations

import itertools
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.support.brokers import Redis
from tests.support.children import wait_until
from tests.support.feeds import PubsubFeed
from tests.support.processes import Bridges


@contextmanager
def _connections_to(port: int) -> Iterator[list[float]]:
    """Close every connection to `port` at once, as a server that has just died; yield a list of their times in seconds."""
    times: list[float] = []
    with socket.create_server(("127.0.0.1", port)) as server:

        def refuse() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                times.append(time.monotonic())
                connection.close()

        thread = threading.Thread(target=refuse)
        thread.start()
        try:
            yield times
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_while_redis_is_away_the_bridge_tries_again_after_at_most_2_s(
    redis_server: Redis, new_redis: Callable[..., Redis], new_bridge: Bridges
) -> None:
    """However long Redis is away, a waiting batch is tried again every 2 s at least; then the bridge goes on by itself."""
    feed, sink = PubsubFeed(redis_server), new_redis(appendonly=True)
    config = feed.config(sink)
    config["dramatiq"]["max_memory"] = None  # its look at the memory would connect too
    bridge = new_bridge(config).ready()
    sink.stop()
    with _connections_to(sink.port) as times:
        feed.publish([{"n": 0}])
        wait_until(lambda: len(times) >= 12, 30, "twelve attempts")
    # The first waits are shorter. The median, since a busy machine may delay an attempt.
    waits = [later - earlier for earlier, later in itertools.pairwise(times[6:])]
    assert 0.9 < statistics.median(waits) <= 2.1, waits
    sink.start()
    with sink.client() as client:
        wait_until(lambda: client.llen("dramatiq:default") == 1, 10, "the waiting event")
    bridge.wait_for("sink.recovered")
