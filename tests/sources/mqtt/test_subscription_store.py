"""The record of an MQTT session's subscriptions: stale ones are unsubscribed, and a lost session is noticed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.brokers import Mosquitto, Redis
from tests.support.children import wait_until
from tests.support.feeds import MqttFeed
from tests.support.processes import BridgeProcess, Bridges

both_versions = pytest.mark.parametrize("version", ["5", "3.1.1"])


@pytest.fixture
def feed(mosquitto: Mosquitto) -> MqttFeed:
    """A topic of its own."""
    return MqttFeed(mosquitto)


def _record(feed: MqttFeed, sink: Redis) -> list[str] | None:
    with sink.client() as client:
        record: Any = client.get(f"dramatiq-bridge:subscriptions:feed:{feed.name}")
        return None if record is None else json.loads(record)


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
    """A topic removed from the configuration brings no more events, neither now nor at a later start."""
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
        wait_until(lambda: client.llen("dramatiq:default") == 1, 20, "the topic that is still subscribed")
        ttl: Any = client.pttl(f"dramatiq-bridge:subscriptions:feed:{feed.name}")
    # A session of MQTT 3.1.1 never expires, nor does its record; in MQTT 5 the record outlives the session's seven days.
    assert ttl > 7 * 86_400_000 if version == "5" else ttl == -1
    assert _received(bridge) == 1
    _publish_to(feed, gone)
    bridge.start().ready()
    _publish_to(feed, kept)
    with redis_server.client() as client:
        wait_until(lambda: client.llen("dramatiq:default") == 2, 20, "the topic that is still subscribed")
    assert _received(bridge) == 1
    assert bridge.events("source.unsubscribed") == []


def test_the_record_waits_for_redis(
    feed: MqttFeed, new_redis: Callable[..., Redis], either_bridge: Bridges, fast_path: bool
) -> None:
    """While Redis is away the source connects all the same; the removed topics are unsubscribed once Redis is back."""
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
    """A session that the broker has lost is logged once, also by the next process, and never at a first start."""
    feed = MqttFeed(new_mosquitto(persistence=False))
    bridge = either_bridge(feed.config(redis_server, version=version)).ready()
    _wait_recorded(feed, redis_server, [feed.name])
    assert bridge.events("source.session_lost") == []
    feed.broker.restart()
    bridge.wait_for("source.connected", times=2)
    lost = bridge.wait_for("source.session_lost", source="feed")
    assert (lost["level"], lost["client_id"]) == ("warning", feed.name)
    assert "may be lost" in lost["cause"]
    bridge.terminate()
    bridge.wait()
    assert len(bridge.events("source.session_lost")) == 1
    bridge.start().ready()  # the broker still has the session
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
