"""MQTT sources with a backlog, a silent server, or a stop while the broker still sends."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

import pytest

from tests.support.brokers import Mosquitto, Redis
from tests.support.children import wait_until
from tests.support.feeds import MqttFeed
from tests.support.processes import Bridges, queue_messages

both_versions = pytest.mark.parametrize("version", ["5", "3.1.1"])


@both_versions
def test_a_backlog_larger_than_the_window_is_no_obstacle(
    mosquitto: Mosquitto, redis_server: Redis, either_bridge: Bridges, version: str
) -> None:
    """The broker may send more than a window before it grants the subscriptions: the source connects all the same."""
    feed = MqttFeed(mosquitto)
    feed.prepare()
    feed.publish([{"n": n} for n in range(1000)])
    either_bridge(feed.config(redis_server, version=version, window={"events": 5}, connect_timeout="5s")).ready()
    with redis_server.client() as client:
        wait_until(lambda: client.llen("dramatiq:default") >= 1000, 40, "the backlog")
        assert [message["args"] for message in queue_messages(client, "default")] == [[n] for n in range(1000)]


@both_versions
def test_a_backlog_that_nobody_takes_is_no_obstacle(
    new_mosquitto: Callable[..., Mosquitto],
    new_redis: Callable[..., Redis],
    either_bridge: Bridges,
    version: str,
) -> None:
    """A sink that is away for longer than `connect_timeout` ends no connection; each event is written once after that."""
    feed = MqttFeed(new_mosquitto(max_inflight_messages=0))
    feed.prepare()
    feed.publish([{"n": n} for n in range(500)])
    sink = new_redis(appendonly=True)
    sink.stop()
    window = {"events": 10, "bytes": "50B"}
    bridge = either_bridge(feed.config(sink, version=version, window=window, connect_timeout="2s"))
    bridge.wait_for("source.connected")
    time.sleep(5)
    sink.start()
    bridge.ready()
    with sink.client() as client:
        wait_until(lambda: client.llen("dramatiq:default") >= 500, 40, "the backlog")
        assert [message["args"] for message in queue_messages(client, "default")] == [[n] for n in range(500)]
    assert bridge.events("source.unavailable") + bridge.events("source.disconnected") == []


def test_a_stop_with_a_backlog_brings_nothing_twice(
    new_mosquitto: Callable[..., Mosquitto], redis_server: Redis, either_bridge: Bridges
) -> None:
    """Events acknowledged before a clean stop are not redelivered, although the broker is sending more at that moment."""
    broker = new_mosquitto(max_inflight_messages=500)
    feed = MqttFeed(broker)
    feed.prepare()
    feed.publish([{"n": n} for n in range(12_000)])
    bridge = either_bridge(feed.config(redis_server))
    with redis_server.client() as client:
        for stop_at in (500, 3000, 6000):
            bridge.wait_for("source.connected")
            wait_until(lambda stop_at=stop_at: client.llen("dramatiq:default") >= stop_at, 40, "some")  # type: ignore[misc]
            bridge.terminate()
            assert bridge.wait() == 0
            bridge.start()
        bridge.wait_for("source.connected")
        wait_until(lambda: client.llen("dramatiq:default") >= 12_000, 60, "the rest")
        bridge.terminate()
        assert bridge.wait() == 0
        numbers = sorted(message["args"][0] for message in queue_messages(client, "default"))
    assert numbers == list(range(12_000)), "each exactly once"


def test_servers_that_say_nothing_hold_up_nobody(
    mosquitto: Mosquitto, redis_server: Redis, either_bridge: Bridges
) -> None:
    """Sources whose server never answers the TLS handshake delay neither a healthy one nor the stop."""
    feed = MqttFeed(mosquitto)
    feed.prepare()
    config = feed.config(redis_server)
    with socket.create_server(("127.0.0.1", 0), backlog=100) as silent:
        url = f"mqtts://127.0.0.1:{silent.getsockname()[1]}"
        for number in range(12):
            client_id = f"{feed.name}-{number}"
            config["sources"][f"silent-{number}"] = {
                "type": "mqtt", "url": url, "client_id": client_id, "topics": ["x"], "connect_timeout": "60s",
            }  # fmt: skip
        config["sources"]["feed"] = config["sources"].pop("feed")
        bridge = either_bridge(config)
        bridge.wait_for("source.connected", source="feed", timeout=20)
        feed.publish([{"n": 1}])
        with redis_server.client() as client:
            wait_until(lambda: client.llen("dramatiq:default") == 1, 20, "the event")
        bridge.terminate()
        assert bridge.wait() == 0
