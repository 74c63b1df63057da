"""RabbitMQ as a broker of MQTT (`rabbitmq_mqtt`): each version that the release speaks, on both paths."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import need
from tests.support.brokers import Redis
from tests.support.feeds import MqttFeed
from tests.support.other_brokers import MqttRabbitMQ
from tests.support.processes import Bridges
from tests.support.source_sets import SourceSet

COUNT = 300
MORE = 50


@pytest.fixture(scope="module")
def rabbit() -> Iterator[MqttRabbitMQ]:
    """The module's own, since a test restarts it."""
    need(MqttRabbitMQ)
    with MqttRabbitMQ() as broker:
        yield broker


def test_events_of_rabbitmqs_mqtt(rabbit: MqttRabbitMQ, redis_server: Redis, new_bridge: Bridges) -> None:
    """300 events come once each, in order; with the bridge killed, and with RabbitMQ restarted, none is lost."""
    feeds = {
        f"{path}_{version[0]}": (MqttFeed(rabbit), {"version": version, "fast_path": path == "fast"})
        for path in ("fast", "library")
        for version in rabbit.versions()
    }
    sources = SourceSet(redis_server, feeds)
    bridge = new_bridge(sources.config)
    for name in feeds:
        bridge.wait_for("source.connected", source=name)
    sources.publish(COUNT)
    assert sources.wait() == {name: list(range(COUNT)) for name in feeds}
    bridge.kill()
    sources.publish(MORE)
    bridge.start()
    sources.wait()
    for name in feeds:
        bridge.wait_for("source.connected", source=name)
    rabbit.restart()
    for name in feeds:
        bridge.wait_for("source.connected", source=name, times=2)
    sources.publish(MORE)
    sources.wait()
    assert bridge.events("source.session_lost") == []


def test_rabbitmqs_limits_of_mqtt_are_said(rabbit: MqttRabbitMQ, redis_server: Redis, either_bridge: Bridges) -> None:
    """Before 3.13 it speaks MQTT 3.1.1 only; no release has shared subscriptions."""
    feed = MqttFeed(rabbit)
    bridge = either_bridge(feed.config(redis_server, version="5", topics=[f"$share/bridge/{feed.name}"]))
    missing = "the broker has no shared subscriptions" if "5" in rabbit.versions() else "perhaps it speaks no MQTT 5"
    assert missing in bridge.wait_for("source.unavailable")["cause"]
