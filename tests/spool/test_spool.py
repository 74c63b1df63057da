"""The spool: what no broker holds while Redis is away is on the disk, and nothing of it is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import need
from tests.support.brokers import Mosquitto, Redis
from tests.support.children import wait_until
from tests.support.feeds import Feed, LibraryMqttFeed, MqttFeed, PubsubFeed
from tests.support.processes import BridgeProcess, Bridges, written_numbers


class MqttQos0Feed(MqttFeed):
    """Published and received at QoS 0."""

    kind = "mqtt-qos-0"
    qos = 0
    redelivers = False


class LibraryMqttQos0Feed(LibraryMqttFeed):
    """The same, read by paho-mqtt itself."""

    kind = "mqtt-qos-0-library"
    qos = 0
    redelivers = False


ONCE: tuple[type[Feed], ...] = (MqttQos0Feed, LibraryMqttQos0Feed, PubsubFeed)
QOS_1: tuple[type[Feed], ...] = (MqttFeed, LibraryMqttFeed)


@pytest.fixture
def sink() -> Iterator[Redis]:
    """Dramatiq's Redis, which the tests stop; what it has written it keeps."""
    need(Redis)
    with Redis(appendonly=True) as redis:
        yield redis


@pytest.fixture
def spooled(request: pytest.FixtureRequest, mosquitto: Mosquitto, redis_server: Redis) -> Feed:
    """A topic or channel of a broker that is never away."""
    kind: type[Feed] = request.param
    feed = kind(redis_server if kind is PubsubFeed else mosquitto)
    feed.prepare()
    return feed


def _config(feed: Feed, sink: Redis, directory: Path, max_size: str = "16MiB", **settings: Any) -> dict[str, Any]:
    config = feed.config(sink, window={"events": 100}, **settings)
    config["dramatiq"]["timeout"] = "2s"
    return {**config, "spool": {"directory": str(directory), "max_size": max_size}}


def _payloads(start: int, stop: int) -> list[dict[str, int]]:
    return [{"n": n} for n in range(start, stop)]


def _wait_for(sink: Redis, count: int) -> list[int]:
    with sink.client() as client:
        wait_until(lambda: client.llen("dramatiq:default") >= count, 30, f"{count} messages")
    return written_numbers(sink)


def _spooled_bytes(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*.spool"))


def _first(bridge: BridgeProcess, feed: Feed, sink: Redis, count: int) -> None:
    """Let some events through, so that everything is connected."""
    feed.publish(_payloads(0, count))
    assert _wait_for(sink, count) == list(range(count))
    assert bridge.running


def _spooling(new_bridge: Bridges, feed: Feed, sink: Redis, directory: Path, count: int) -> BridgeProcess:
    """Let 50 events through, take Redis away, and spool the others up to `count`."""
    bridge = new_bridge(_config(feed, sink, directory)).ready()
    _first(bridge, feed, sink, 50)
    assert _spooled_bytes(directory) == 0  # while all is well nothing touches the disk
    sink.stop()
    feed.publish(_payloads(50, count))
    wait_until(lambda: bridge.state()["spooled"] == count - 50, what="all of it spooled")
    return bridge


@pytest.mark.parametrize("spooled", [*ONCE, *QOS_1], ids=lambda kind: kind.kind, indirect=True)
def test_an_outage_of_redis_loses_nothing(spooled: Feed, sink: Redis, new_bridge: Bridges, tmp_path: Path) -> None:
    """Twenty windows of events while Redis is away: each arrives once, in order, and what comes after them behind them."""
    bridge = _spooling(new_bridge, spooled, sink, tmp_path, 2000)
    sink.start()
    spooled.publish(_payloads(2000, 2200))
    assert _wait_for(sink, 2200) == list(range(2200))
    bridge.terminate()
    assert bridge.wait() == 0
    counts = bridge.events("bridge.stopped")[0]
    assert (counts["received"], counts["enqueued"], counts["lost"]) == (2200, 2200, 0)


@pytest.mark.parametrize("spooled", [*ONCE, *QOS_1], ids=lambda kind: kind.kind, indirect=True)
def test_kill_9_in_an_outage_loses_nothing_that_was_spooled(
    spooled: Feed, sink: Redis, new_bridge: Bridges, tmp_path: Path
) -> None:
    """The bridge is killed while Redis is away, and once more while it catches up: each event arrives once."""
    bridge = _spooling(new_bridge, spooled, sink, tmp_path, 3000)
    bridge.kill()
    bridge.start()
    bridge.wait_for("spool.found")
    sink.start()
    _wait_for(sink, 500)
    bridge.kill()
    bridge.start()
    assert _wait_for(sink, 3000) == list(range(3000))


@pytest.mark.parametrize("spooled", [*ONCE, *QOS_1], ids=lambda kind: kind.kind, indirect=True)
def test_a_stop_in_an_outage_keeps_what_was_received(
    spooled: Feed, sink: Redis, new_bridge: Bridges, tmp_path: Path
) -> None:
    """SIGTERM while Redis is away: the bridge ends with 0 and counts nothing as lost; the next start writes it."""
    bridge = _spooling(new_bridge, spooled, sink, tmp_path, 1000)
    bridge.terminate()
    assert bridge.wait() == 0
    assert bridge.events("bridge.stopped")[0]["lost"] == 0
    sink.start()
    bridge.start()
    assert _wait_for(sink, 1000) == list(range(1000))


def _is_settled(state: dict[str, Any], events: int) -> bool:
    return bool(state["received"] == events and not state["in_flight"] and not state["spooled"])


@pytest.mark.parametrize("spooled", ONCE, ids=lambda kind: kind.kind, indirect=True)
def test_a_full_spool_drops_the_newest_and_counts_them(
    spooled: Feed, sink: Redis, new_bridge: Bridges, tmp_path: Path
) -> None:
    """Where nobody waits for an acknowledgement, what does not fit is lost: said, and counted exactly."""
    bridge = new_bridge(_config(spooled, sink, tmp_path, max_size="1MiB")).ready()
    _first(bridge, spooled, sink, 10)
    sink.stop()
    spooled.publish([{"n": n, "filler": "x" * 4000} for n in range(10, 800)])
    bridge.wait_for("spool.full")
    assert _spooled_bytes(tmp_path) <= 1 << 20
    sink.start()
    wait_until(lambda: _is_settled(bridge.state(), 800), what="all of it written or lost")
    found = written_numbers(sink)
    assert found[:100] == list(range(100))
    assert found == sorted(set(found))
    bridge.terminate()
    assert bridge.wait() == 0
    counts = bridge.events("bridge.stopped")[0]
    assert counts["lost"] == 800 - len(found)
    assert counts["received"] == 800


@pytest.mark.parametrize("spooled", QOS_1, ids=lambda kind: kind.kind, indirect=True)
def test_a_full_spool_leaves_the_rest_with_the_broker(
    spooled: Feed, sink: Redis, new_bridge: Bridges, tmp_path: Path
) -> None:
    """At QoS 1 what does not fit is not acknowledged; once Redis is back, everything arrives."""
    bridge = new_bridge(_config(spooled, sink, tmp_path, max_size="1MiB")).ready()
    _first(bridge, spooled, sink, 10)
    sink.stop()
    spooled.publish([{"n": n, "filler": "x" * 4000} for n in range(10, 800)])
    bridge.wait_for("spool.full")
    sink.start()
    assert _wait_for(sink, 800) == list(range(800))
