"""The spool and the disk: when the bridge writes to it, and when it waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.brokers import Mosquitto, Redis
from tests.support.children import wait_until, with_fault
from tests.support.feeds import Feed, LibraryMqttFeed, MqttFeed, PubsubFeed
from tests.support.processes import Bridges


def _config(feed: Feed, sink: Redis, directory: Path) -> dict[str, Any]:
    config = feed.config(sink, window={"events": 10})
    return {**config, "spool": {"directory": str(directory)}}


def _spooled_bytes(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*.spool"))


@pytest.mark.parametrize("kind", [MqttFeed, PubsubFeed], ids=lambda kind: kind.kind)
def test_while_all_is_well_nothing_touches_the_disk(
    kind: type[Feed], mosquitto: Mosquitto, redis_server: Redis, new_bridge: Bridges, tmp_path: Path
) -> None:
    """Events that Redis takes at once are not written to the spool: no file of it grows or changes."""
    feed = kind(redis_server if kind is PubsubFeed else mosquitto)
    feed.prepare()
    new_bridge(_config(feed, redis_server, tmp_path)).ready()

    def files() -> dict[Path, tuple[int, int]]:
        return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in tmp_path.rglob("*") if path.is_file()}

    before = files()
    with redis_server.client() as client:
        # Not even two of these fill the window: a full one could meet a write that is slow.
        for first in range(0, 100, 4):
            feed.publish([{"n": n} for n in range(first, first + 4)])
            wait_until(lambda first=first: client.llen("dramatiq:default") == first + 4, 30, "four more messages")  # type: ignore[misc]
    assert files() == before


@pytest.mark.parametrize("kind", [MqttFeed, LibraryMqttFeed], ids=lambda kind: kind.kind)
def test_spooled_events_at_qos_1_are_synced_before_they_are_acknowledged(
    kind: type[Feed], mosquitto: Mosquitto, new_redis: Callable[..., Redis], new_bridge: Bridges, tmp_path: Path
) -> None:
    """While a sync does not end, the broker keeps every event that is in the spool already."""
    feed, sink = kind(mosquitto), new_redis()
    feed.prepare()
    bridge = new_bridge(_config(feed, sink, tmp_path), env=with_fault("unsynced")).ready()
    sink.stop()
    feed.publish([{"n": n} for n in range(20)])
    wait_until(lambda: _spooled_bytes(tmp_path) > 0, 20, "a full window in the spool")
    time.sleep(1)
    bridge.kill()
    wait_until(lambda: feed.unacknowledged() == 20, 20, "all of them still at the broker")
