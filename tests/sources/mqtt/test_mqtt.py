"""MQTT, shown on a real mosquitto: versions, properties, subscriptions, sessions, and the window."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from bridge import sources
from bridge.config import load
from bridge.routing.compiler import check_routes
from tests.support.brokers import Mosquitto, Redis
from tests.support.children import wait_until
from tests.support.feeds import MqttFeed, connect
from tests.support.processes import Bridges, queue_messages

both_versions = pytest.mark.parametrize("version", ["5", "3.1.1"])


@pytest.fixture
def feed(mosquitto: Mosquitto) -> MqttFeed:
    """A topic of its own."""
    return MqttFeed(mosquitto)


@contextmanager
def _client(broker: Mosquitto) -> Iterator[Client]:
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
    client.max_inflight_messages_set(20)
    connect(client, broker.port)
    try:
        yield client
    finally:
        client.disconnect()
        client.loop_stop()


def _publish(broker: Mosquitto, *messages: tuple[str, bytes], qos: int = 1, retain: bool = False, **named: Any) -> None:
    properties = Properties(PacketTypes.PUBLISH)
    for name, value in named.items():
        setattr(properties, name, value)
    with _client(broker) as client:
        sent = [client.publish(topic, body, qos, retain, properties) for topic, body in messages]
        for info in sent:
            info.wait_for_publish(60)


def _config(feed: MqttFeed, sink: Redis, *routes: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """A configuration with several routes; a setting of None is omitted."""
    config = feed.config(sink, **settings)
    config["sources"]["feed"] = {name: value for name, value in config["sources"]["feed"].items() if value is not None}
    if routes:
        config["routes"] = [{"from": "feed", "actor": "record", **route} for route in routes]
    return config


def _args(sink: Redis, count: int, timeout: float = 30.0) -> list[list[Any]]:
    """Wait for `count` messages and return their arguments."""
    with sink.client() as client:
        wait_until(lambda: client.llen("dramatiq:default") >= count, timeout, f"{count} messages")
        return [message["args"] for message in queue_messages(client, "default")]


@both_versions
@pytest.mark.parametrize("qos", [0, 1])
def test_meta_and_headers(version: str, qos: int, feed: MqttFeed, redis_server: Redis, either_bridge: Bridges) -> None:
    """`meta` and `headers` have the protocol's values in the documented types, and null where it has none."""
    names = ("content_type", "correlation_id", "reply_to", "expires_in", "qos", "retain", "entry_id", "message_id")
    route = {"args": ["$headers", *(f"$meta.{name}" for name in names)]}
    either_bridge(feed.config(redis_server, route, version=version, qos=qos)).ready()
    _publish(
        feed.broker,
        (feed.name, b"{}"),
        qos=qos,
        UserProperty=[("unit", "°C"), ("empty", "")],
        ContentType="application/json",
        CorrelationData="größe\x00".encode() + b"\xff",
        ResponseTopic="answers/1",
        MessageExpiryInterval=60,
    )
    _publish(feed.broker, (feed.name, b"{}"), qos=qos)
    rich, bare = _args(redis_server, 2)
    assert bare == [{}, None, None, None, None, qos, False, None, None]
    if version == "5":
        text = "größe\x00\\xff"
        assert rich == [
            {"unit": "°C", "empty": ""}, "application/json", text, "answers/1", 60, qos, False, None, None,
        ]  # fmt: skip
        assert type(rich[4]) is int
    else:
        assert rich == bare


@both_versions
def test_a_retained_message_is_marked(
    version: str, feed: MqttFeed, redis_server: Redis, either_bridge: Bridges
) -> None:
    """A message that the broker had retained has `meta.retain` true; one published now has false."""
    _publish(feed.broker, (feed.name, b'{"n": 1}'), retain=True)
    either_bridge(feed.config(redis_server, {"args": ["$payload.n", "$meta.retain"]}, version=version)).ready()
    _args(redis_server, 1)
    _publish(feed.broker, (feed.name, b'{"n": 2}'), retain=True)
    assert _args(redis_server, 2) == [[1, True], [2, False]]


def test_the_content_type_may_choose_the_decoder(feed: MqttFeed, redis_server: Redis, either_bridge: Bridges) -> None:
    """With `decode: auto` the content type of MQTT 5 chooses the decoder."""
    either_bridge(feed.config(redis_server, {"args": ["$payload"]}, decode="auto")).ready()
    _publish(feed.broker, (feed.name, b"21.5"), ContentType="text/plain")
    _publish(feed.broker, (feed.name, msgspec.msgpack.encode({"n": 1})), ContentType="application/msgpack")
    _publish(feed.broker, (feed.name, b"[1]"), ContentType="application/json; charset=utf-8")
    _publish(feed.broker, (feed.name, b"21.5"))
    assert _args(redis_server, 4) == [["21.5"], [{"n": 1}], [[1]], [21.5]]


def test_topics_come_from_the_routes(feed: MqttFeed, redis_server: Redis, either_bridge: Bridges) -> None:
    """Without `topics:` the source subscribes to the topics of its routes; an unrelated topic is not even received."""
    name = feed.name
    bridge = either_bridge(_config(feed, redis_server, {"topic": f"{name}/{{oven}}/t", "args": ["$oven"]}, topics=None))
    bridge.ready()
    _publish(feed.broker, (f"{name}/1/p", b"1"), (f"{name}", b"1"), (f"{name}/1/t/x", b"1"), (f"{name}/7/t", b"1"))
    assert _args(redis_server, 1) == [["7"]]
    bridge.terminate()
    assert bridge.wait() == 0
    assert bridge.wait_for("source.counts")["received"] == 1


@both_versions
def test_a_shared_subscription(version: str, feed: MqttFeed, redis_server: Redis, either_bridge: Bridges) -> None:
    """Two bridges with `$share/g/...` split the events between them; `topic` does not show the prefix."""
    topics = [f"$share/g/{feed.name}/#"]
    route = {"topic": f"{feed.name}/{{n}}", "args": ["$int(n)"]}
    settings = {"topics": topics, "version": version}
    bridges = [
        either_bridge(_config(feed, redis_server, route, client_id=f"{feed.name}-{i}", **settings)) for i in (1, 2)
    ]
    for bridge in bridges:
        bridge.ready()
    _publish(feed.broker, *((f"{feed.name}/{n}", b"0") for n in range(200)))
    assert sorted(n for (n,) in _args(redis_server, 200)) == list(range(200))
    for bridge in bridges:
        bridge.terminate()
        assert bridge.wait() == 0
    counts = [bridge.wait_for("source.counts")["received"] for bridge in bridges]
    assert sum(counts) == 200
    assert min(counts) > 0


@both_versions
def test_overlapping_topics_fire_each_route_once(
    version: str, feed: MqttFeed, redis_server: Redis, either_bridge: Bridges
) -> None:
    """An event that matches several routes is one event, retained or not, however many copies the broker sends."""
    name = feed.name
    fitting = {
        f"{name}/a/b/c": [f"{name}/a/+/c", f"{name}/a/b/+", f"{name}/{{x}}/+/{{y}}"],
        f"{name}/plants/1": [f"{name}/plants/1", f"{name}/plants/#", f"{name}/+/{{n}}"],
        f"{name}/plants": [f"{name}/plants/#"],
    }
    filters = sorted({each for several in fitting.values() for each in several})
    _publish(feed.broker, *((topic, b"-1") for topic in fitting), retain=True)
    routes = [{"topic": each, "args": [each, "$topic", "$payload"]} for each in filters]
    config = _config(feed, redis_server, *routes, topics=None, version=version, window={"events": 10})
    bridge = either_bridge(config).ready()
    _publish(feed.broker, *((topic, b"%d" % n) for n in range(100) for topic in fitting))
    expected = Counter(
        (each, topic, n) for topic, several in fitting.items() for each in several for n in range(-1, 100)
    )
    assert Counter(map(tuple, _args(redis_server, expected.total()))) == expected
    bridge.terminate()
    assert bridge.wait() == 0
    assert bridge.wait_for("source.counts")["received"] == 101 * len(fitting)
    assert feed.unacknowledged() == 0, "the copies are acknowledged too"


def test_changed_topics_lose_nothing_that_was_queued(
    feed: MqttFeed, redis_server: Redis, either_bridge: Bridges, fast_path: bool
) -> None:
    """Events that a session queued for an earlier configuration's topics still arrive after new topics overlap them."""
    name = feed.name
    old = _config(feed, redis_server, topics=[f"{name}/+/c"])
    bridge = either_bridge(old).ready()
    bridge.terminate()
    bridge.wait()
    _publish(feed.broker, *((f"{name}/b/c", b"%d" % n) for n in range(10)))
    route = {"topic": f"{name}/b/{{x}}", "args": ["$payload"]}
    bridge.configure(_config(feed, redis_server, route, topics=[f"{name}/b/+", f"{name}/+/c"]), fast=fast_path)
    bridge.start().ready()
    assert {n for (n,) in _args(redis_server, 10)} == set(range(10))


@both_versions
def test_a_refused_subscription_is_clear(
    version: str, new_mosquitto: Callable[..., Mosquitto], redis_server: Redis, either_bridge: Bridges, tmp_path: Path
) -> None:
    """A subscription that the broker refuses is logged with its topic, and the bridge keeps running."""
    plugin = next(Path("/usr/lib").glob("*/mosquitto_dynamic_security.so"), None)
    if plugin is None:
        pytest.skip("mosquitto has no dynamic-security plugin here")
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps({"defaultACLAccess": {"subscribe": False, "publishClientSend": True}}))
    feed = MqttFeed(new_mosquitto({"plugin": str(plugin), "plugin_opt_config_file": str(rules)}))
    bridge = either_bridge(feed.config(redis_server, version=version))
    cause = bridge.wait_for("source.unavailable", source="feed")["cause"]
    assert f"refuses the subscription to '{feed.name}'" in cause
    assert bridge.running


@both_versions
def test_a_lower_quality_of_service_is_said(
    version: str, new_mosquitto: Callable[..., Mosquitto], redis_server: Redis, either_bridge: Bridges
) -> None:
    """A broker that grants a lower QoS than requested is used, and the consequence is logged."""
    feed = MqttFeed(new_mosquitto({"max_qos": 0}))
    bridge = either_bridge(feed.config(redis_server, version=version)).ready()
    lowered = bridge.wait_for("source.qos_lowered", source="feed")
    assert lowered["topics"] == [feed.name]
    assert "lost" in lowered["cause"]


@both_versions
def test_a_session_keeps_what_is_published_meanwhile(
    version: str, feed: MqttFeed, redis_server: Redis, either_bridge: Bridges
) -> None:
    """With a client_id, events published while the bridge is stopped arrive afterwards; without one they do not."""
    without = MqttFeed(feed.broker)
    config = _config(feed, redis_server, {"args": ["$topic", "$payload"]}, version=version)
    source = config["sources"]["feed"]
    anonymous = {name: value for name, value in source.items() if name != "client_id"} | {"topics": [without.name]}
    config["sources"]["anonymous"] = anonymous
    config["routes"].append({"from": "anonymous", "actor": "record", "args": ["$topic", "$payload"]})
    bridge = either_bridge(config).ready()
    bridge.terminate()
    assert bridge.wait() == 0
    _publish(feed.broker, (feed.name, b"1"), (without.name, b"1"))
    bridge.start().ready()
    _publish(feed.broker, (without.name, b"2"), (feed.name, b"2"))
    assert sorted(_args(redis_server, 3)) == sorted([[feed.name, 1], [feed.name, 2], [without.name, 2]])


def test_big_and_many(feed: MqttFeed, redis_server: Redis, either_bridge: Bridges) -> None:
    """A payload of 200 KiB and 20,000 small ones arrive, whole and in order."""
    either_bridge(feed.config(redis_server, {"args": ["$payload.n", "$len(payload.text)"]})).ready()
    feed.publish([{"n": -1, "text": "x" * 204_800}, *({"n": n, "text": ""} for n in range(20_000))])
    assert _args(redis_server, 20_001, 60) == [[-1, 204_800], *([n, 0] for n in range(20_000))]


def test_a_lost_connection_in_the_middle(
    new_mosquitto: Callable[..., Mosquitto], redis_server: Redis, either_bridge: Bridges
) -> None:
    """A broker that restarts in the middle of 3,000 events at QoS 1 loses none of them."""
    feed = MqttFeed(new_mosquitto())
    feed.prepare()
    feed.publish([{"n": n} for n in range(3000)])
    bridge = either_bridge(feed.config(redis_server, window={"events": 20}))
    _args(redis_server, 100)
    feed.broker.restart()
    with redis_server.client() as client:
        wait_until(lambda: client.llen("dramatiq:default") >= 3000, 40, "3000 messages")
        wait_until(lambda: {m["args"][0] for m in queue_messages(client, "default")} == set(range(3000)), 20, "all")
    assert bridge.running


@pytest.mark.parametrize(("window", "max_held"), [({"events": 10}, 20), ({"events": 1000, "bytes": "1MiB"}, 7)])
async def test_the_window_is_kept_whatever_the_broker_sends(
    window: dict[str, Any], max_held: int, feed: MqttFeed, redis_server: Redis, *, tmp_path: Path, fast_path: bool
) -> None:
    """At most twice the window's events, or its bytes and one event, are received and not acknowledged."""
    body = b'"' + b"x" * (200 * 1024 if "bytes" in window else 10) + b'"'
    path = tmp_path / "bridge.yaml"
    path.write_text(json.dumps(feed.config(redis_server, window=window, fast_path=fast_path)))
    config = load(path, check=check_routes)
    source = sources.make("feed", config)
    held, received = 0, 0
    async with source.connect() as session:
        publishing = threading.Thread(target=_publish, args=(feed.broker, *[(feed.name, body)] * 100))
        publishing.start()
        while received < 100:
            batch = await session.receive()
            try:
                async with asyncio.timeout(0.2):
                    while True:
                        batch += await session.receive()
            except TimeoutError:
                pass
            held = max(held, len(batch))
            received += len(batch)
            await session.acknowledge(batch)
        await asyncio.to_thread(publishing.join)
    assert 1 < held <= max_held
