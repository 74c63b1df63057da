"""What outlives a connection of MQTT: the session, its subscriptions, and a twin who takes it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from bridge.errors import Disconnected
from bridge.sources.mqtt.subscription_store import TakeoverDetector
from tests.sources.mqtt.test_packets import packet
from tests.support.brokers import Mosquitto, Redis
from tests.support.children import wait_until
from tests.support.feeds import MqttFeed
from tests.support.mqtt_wire import across, connected
from tests.support.processes import BridgeProcess, Bridges, queue_messages

#: How long a bridge leaves the session to another one: 9 s, of which jitter takes half at most.
LEAST_WAIT_S = 4.5

both_versions = pytest.mark.parametrize("version", ["5", "3.1.1"])


@pytest.fixture
def feed(mosquitto: Mosquitto) -> MqttFeed:
    """A topic of its own."""
    return MqttFeed(mosquitto)


def _record(feed: MqttFeed, sink: Redis) -> list[str] | None:
    with sink.client() as client:
        kept: Any = client.get(f"dramatiq-bridge:subscriptions:feed:{feed.name}")
        return None if kept is None else json.loads(kept)


def _wait_recorded(feed: MqttFeed, sink: Redis, topics: list[str]) -> None:
    wait_until(lambda: _record(feed, sink) == sorted(topics), 20, f"the record of {topics}")


def _received(bridge: BridgeProcess) -> int:
    bridge.terminate()
    assert bridge.wait() == 0
    return int(bridge.wait_for("source.counts")["received"])


def _publish_to(feed: MqttFeed, topic: str) -> None:
    other = MqttFeed(feed.broker)
    other.name = topic
    other.publish([{"n": 1}])


@both_versions
def test_removed_topics_are_unsubscribed(
    version: str, feed: MqttFeed, redis_server: Redis, either_bridge: Bridges, fast_path: bool
) -> None:
    """A topic that is taken out of the configuration brings nothing any more, neither now nor at a later start."""
    kept, gone = f"{feed.name}/kept", f"{feed.name}/gone"
    bridge = either_bridge(feed.config(redis_server, version=version, topics=[kept, gone])).ready()
    _wait_recorded(feed, redis_server, [gone, kept])
    bridge.terminate()
    bridge.wait()
    bridge.configure(feed.config(redis_server, version=version, topics=[kept]), fast=fast_path)
    bridge.start()
    assert bridge.wait_for("source.unsubscribed", source="feed")["topics"] == [gone]
    _wait_recorded(feed, redis_server, [kept])
    _publish_to(feed, gone)
    _publish_to(feed, kept)
    with redis_server.client() as client:
        wait_until(lambda: client.llen("dramatiq:default") == 1, 20, "what is still subscribed to")
        ttl: Any = client.pttl(f"dramatiq-bridge:subscriptions:feed:{feed.name}")
    # MQTT 3.1.1's session has no end, and so the record has none; otherwise it outlives the session's seven days.
    assert ttl > 7 * 86_400_000 if version == "5" else ttl == -1
    assert _received(bridge) == 1
    _publish_to(feed, gone)
    bridge.start().ready()
    _publish_to(feed, kept)
    with redis_server.client() as client:
        wait_until(lambda: client.llen("dramatiq:default") == 2, 20, "what is still subscribed to")
    assert _received(bridge) == 1
    assert bridge.events("source.unsubscribed") == []


def test_the_record_waits_for_redis(
    feed: MqttFeed, new_redis: Callable[..., Redis], either_bridge: Bridges, fast_path: bool
) -> None:
    """While Redis is away the source connects all the same; the removed topics go once Redis is back."""
    sink = new_redis(appendonly=True)
    topics = [f"{feed.name}/kept", f"{feed.name}/gone"]
    bridge = either_bridge(feed.config(sink, topics=topics)).ready()
    _wait_recorded(feed, sink, topics)
    bridge.terminate()
    bridge.wait()
    sink.stop()
    bridge.configure(feed.config(sink, topics=topics[:1]), fast=fast_path)
    bridge.start().wait_for("source.connected")
    assert bridge.wait_for("source.subscriptions_not_recorded", source="feed")["cause"]
    sink.start()
    assert bridge.wait_for("source.unsubscribed", timeout=15)["topics"] == topics[1:]
    _wait_recorded(feed, sink, topics[:1])
    assert len(bridge.events("source.connected")) == 1
    assert bridge.events("source.disconnected") == []


@both_versions
def test_a_lost_session_is_said(
    version: str, new_mosquitto: Callable[..., Mosquitto], redis_server: Redis, either_bridge: Bridges
) -> None:
    """A broker that has forgotten the session is noticed, by the next process too: one line, and none at a first start."""
    feed = MqttFeed(new_mosquitto(persistence=False))
    bridge = either_bridge(feed.config(redis_server, version=version)).ready()
    _wait_recorded(feed, redis_server, [feed.name])
    assert bridge.events("source.session_lost") == []
    feed.broker.restart()
    bridge.wait_for("source.connected", times=2)
    lost = bridge.wait_for("source.session_lost", source="feed")
    assert (lost["level"], lost["client_id"]) == ("error", feed.name)
    assert "may be lost" in lost["problem"]
    bridge.terminate()
    bridge.wait()
    assert len(bridge.events("source.session_lost")) == 1
    bridge.start().ready()  # the session is there
    feed.publish([{"n": 1}])
    with redis_server.client() as client:
        wait_until(lambda: client.llen("dramatiq:default") == 1, 20, "the event")
    bridge.terminate()
    bridge.wait()
    assert bridge.events("source.session_lost") == []
    feed.broker.restart()
    bridge.start().wait_for("source.session_lost", source="feed")
    bridge.terminate()
    bridge.wait()
    assert len(bridge.events("source.session_lost")) == 1


async def test_the_brokers_word_for_a_takeover(fast_path: bool) -> None:
    """Where the broker says that the session was taken over, so does the bridge, and leaves it alone for some seconds."""

    async def lose() -> None:
        async with connected(fast_path) as (script, session):
            script.say(packet(0xE0, b"\x8e\x00"))
            while True:
                await session.receive()

    with pytest.raises(Disconnected) as caught:
        await lose()
    assert caught.value.cause == "another client with client_id 'c' has taken the session over"
    assert LEAST_WAIT_S <= caught.value.retry_s <= 9


def test_what_looks_like_a_twin() -> None:
    """Three short connections in a row that the broker ended look like a twin's doing; a failed attempt between does not."""
    lost = Disconnected("lost")

    def suspected(*lives: float | None, client_id: str | None = "c") -> bool:
        quarrel = TakeoverDetector(client_id)
        return [quarrel.judged(lost, taken_over=False, lived_s=lived_s) for lived_s in lives][-1].retry_s > 0

    assert suspected(0.2, 5.0, 9.9)
    assert suspected(0.2, 0.2, 0.2, 0.2)
    assert not suspected(0.2, 0.2)
    assert not suspected(0.2, 0.2, 60.0)
    assert not suspected(0.2, 0.2, None, 0.2)
    assert not suspected(0.2, 0.2, 60.0, 0.2, 0.2)
    assert not suspected(0.2, 0.2, 0.2, client_id=None)


@across
def test_the_same_client_id_twice(version: str, feed: MqttFeed, redis_server: Redis, either_bridge: Bridges) -> None:
    """Two bridges with one client_id say so and leave each other time; nothing is lost, and the survivor goes on."""
    bridges = [either_bridge(feed.config(redis_server, version=version)) for _ in range(2)]
    for bridge in bridges:
        wait_until(lambda bridge=bridge: _twin_suspected(bridge, feed), 40, "a word about the twin")  # type: ignore[misc]
    since, before = time.monotonic(), _connected(bridges)
    for n in range(20):
        feed.publish([{"n": n}])
        time.sleep(0.7)
    wait_until(lambda: _connected(bridges) > before, 20, "a takeover")
    # The one that comes next has waited for some time already.
    takeovers = _connected(bridges) - before
    assert takeovers <= 1 + (time.monotonic() - since) / LEAST_WAIT_S
    assert bridges[0].running
    bridges[1].kill()
    with redis_server.client() as client:
        wait_until(lambda: {m["args"][0] for m in queue_messages(client, "default")} == set(range(20)), 15, "all")
    assert bridges[0].running


def _connected(bridges: list[BridgeProcess]) -> int:
    return sum(len(bridge.events("source.connected")) for bridge in bridges)


def _twin_suspected(bridge: BridgeProcess, feed: MqttFeed) -> bool:
    said = f"the connection was lost, perhaps taken over by another client with client_id '{feed.name}'"
    return any(line["cause"] == said for line in bridge.events("source.disconnected"))


@both_versions
def test_a_lower_quality_of_service_is_said(
    version: str, new_mosquitto: Callable[..., Mosquitto], redis_server: Redis, either_bridge: Bridges
) -> None:
    """A broker that grants less than was asked for is used, and what that means is said."""
    feed = MqttFeed(new_mosquitto({"max_qos": 0}))
    bridge = either_bridge(feed.config(redis_server, version=version)).ready()
    lowered = bridge.wait_for("source.qos_lowered", source="feed")
    assert lowered["topics"] == [feed.name]
    assert "lost" in lowered["problem"]
