"""The spool over a link that takes no large write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import redis

from tests.faults.proxy import Proxy
from tests.support.batches import DEAD, answer, numbers
from tests.support.brokers import Redis
from tests.support.children import wait_until
from tests.support.feeds import PubsubFeed
from tests.support.processes import Bridges, assert_no_orphans


def test_a_kill_while_the_spool_goes_over_a_narrow_link_writes_nothing_twice(
    redis_server: Redis, new_redis: Callable[..., Redis], new_bridge: Bridges, tmp_path: Path
) -> None:
    """Batches of 1 MiB come out of the spool, and connections end after 400 kB; the bridge is killed (kill -9) twice on the way."""
    feed, sink, total = PubsubFeed(redis_server), new_redis(appendonly=True), 200
    with Proxy(sink.port) as proxy, sink.client() as client:
        config = feed.config(sink, {"kwargs": {"text": "$payload.text"}})
        config["dramatiq"] |= {"url": f"redis://127.0.0.1:{proxy.port}/0", "timeout": "2s", "connect_timeout": "1s"}
        config["spool"] = {"directory": str(tmp_path), "max_size": "64MiB"}
        bridge = new_bridge(config).ready()
        sink.stop()
        for n in range(total):
            feed.publish([{"n": n, "text": "x" * 30_000}])
        wait_until(lambda: bridge.state()["spooled"] == total, 20, "all of it spooled")
        proxy.bytes_per_s, proxy.most_bytes = 1 << 20, 400_000
        sink.start()
        for wanted in (20, 90):
            _wait_for_messages(client, wanted)
            bridge.kill()
            bridge.start()
        _wait_for_messages(client, total)
        bridge.terminate()
        assert bridge.wait() == 0
        assert numbers(client) == list(range(total))
        assert_no_orphans(client)
        assert not client.exists(DEAD)


def _wait_for_messages(client: redis.Redis, count: int) -> None:
    wait_until(lambda: int(answer(client.llen("dramatiq:default"))) >= count, 60, f"{count} messages")
