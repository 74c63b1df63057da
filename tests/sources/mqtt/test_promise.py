"""MQTT: what the broker takes from the promise is said, in words, and once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import structlog
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties, VariableByteIntegers

from bridge.config import Mqtt
from bridge.errors import Disconnected
from bridge.observe.masking import set_secrets
from bridge.sources.mqtt.source import MqttSource
from tests.sources.mqtt.test_packets import publish
from tests.support.batches import answer
from tests.support.brokers import Mosquitto, Redis
from tests.support.children import wait_until
from tests.support.feeds import MqttFeed
from tests.support.mqtt_wire import NOWHERE, Script, cause_of_the_end, connected, receive
from tests.support.processes import Bridges, queue_messages


def connack(code: int = 0, *, present: bool = False, **properties: Any) -> bytes:
    """Return an answer to CONNECT with these properties."""
    packed = Properties(PacketTypes.CONNACK)
    for name, value in properties.items():
        setattr(packed, name, value)
    rest = bytes([present, code]) + bytes(packed.pack())
    return b"\x20" + bytes(VariableByteIntegers.encode(len(rest))) + rest


def script_of(answered: bytes | None) -> Script:
    """Return a broker with this answer to CONNECT."""
    script = Script()
    script.connack = answered
    return script


async def refused(fast_path: bool, answered: bytes | None, *topics: str, **settings: Any) -> str:
    """Connect to a broker with this answer, and return why it fails."""
    with pytest.raises(Disconnected) as caught:
        async with connected(fast_path, *topics, script=script_of(answered), **settings):
            pass
    return caught.value.cause


@pytest.mark.parametrize(
    ("answered", "topic", "words"),
    [
        (
            connack(SharedSubscriptionAvailable=0),
            "$share/g/t",
            "the broker has no shared subscriptions: remove $share/",
        ),
        (connack(WildcardSubscriptionAvailable=0), "a/+", "the broker has no wildcards: write topics without"),
    ],
    ids=["shared", "wildcards"],
)
async def test_subscriptions_that_the_broker_never_gives(
    answered: bytes, topic: str, words: str, fast_path: bool
) -> None:
    """CONNACK says that it has none: an error in words, instead of a source on which nothing comes."""
    assert words in await refused(fast_path, answered, topic)
    async with connected(fast_path, "plain", script=script_of(answered)):
        pass


@pytest.mark.parametrize(
    ("answered", "settings", "words"),
    [
        (b"\x20\x02\x00\x01", {}, "the broker speaks no MQTT 5: set version: 3.1.1"),
        (connack(0x84), {}, "the broker speaks no MQTT 5: set version: 3.1.1"),
        (b"\x20\x02\x00\x01", {"version": "3.1.1"}, "the broker speaks no MQTT 3.1.1: set version: 5"),
        (connack(0x85), {}, "the broker refuses the client_id 'c'"),
        (b"\x20\x02\x00\x02", {"version": "3.1.1"}, "the broker refuses the client_id 'c'"),
        (b"\x20\x02\x00\x02", {"version": "3.1.1", "client_id": None}, "a client without a client_id: add client_id"),
        (connack(0x87, ReasonString="no plan"), {}, "refused: Not authorized: no plan"),
        (connack(0x9D, ServerReference="b2:1883"), {}, "refused: Server moved (use b2:1883 instead)"),
        (
            None,
            {},
            "before the broker's answer: perhaps it speaks no MQTT 5 (version: 3.1.1), or the port is one for TLS",
        ),
        (None, {"version": "3.1.1"}, "before the broker's answer: perhaps the port is one for TLS (mqtts://)"),
    ],
    ids=lambda value: value[:60] if isinstance(value, str) else "",
)
async def test_each_refusal_has_words_of_its_own(
    answered: bytes | None, settings: dict[str, Any], words: str, fast_path: bool
) -> None:
    """With the broker's own explanation, and the server that it names instead."""
    assert words in await refused(fast_path, answered, **settings)


@pytest.mark.parametrize(
    ("version", "words"),
    [("5", "timed out: perhaps the broker speaks no MQTT 5 (version: 3.1.1)"), ("3.1.1", "timed out")],
)
async def test_a_broker_that_ignores_the_version(version: str, words: str, fast_path: bool) -> None:
    """A CONNECT that is never answered has its likely cause in words, until the broker has once spoken MQTT 5."""
    script = Script()
    script.connack = b""
    with pytest.raises(Disconnected) as ended:
        async with connected(fast_path, script=script, version=version, connect_timeout="1s"):
            pass
    assert str(ended.value) == words


async def test_a_refused_subscription_has_the_brokers_explanation(fast_path: bool) -> None:
    """The reason string of SUBACK, and of DISCONNECT."""
    reason = Properties(PacketTypes.SUBACK)
    reason.ReasonString = "over quota"
    packed = reason.pack()
    async with connected(fast_path) as (script, session):
        script.say(b"\xe0", bytes([1 + len(packed)]), b"\x97", packed)
        assert await cause_of_the_end(session) == "the broker disconnected: Quota exceeded: over quota"


async def test_a_token_that_the_broker_quotes_is_masked_before_its_words_are_cut(
    fast_path: bool, request: pytest.FixtureRequest
) -> None:
    """A user name at the end of a long explanation, or of a server's long name, leaves no part of itself behind."""
    token = "user-token-ABCDEFGHIJ"
    set_secrets({token})
    request.addfinalizer(lambda: set_secrets(()))
    words = "x" * 190 + f" {token}"
    for answered in (connack(0x87, ReasonString=words), connack(0x9D, ServerReference=words)):
        cause = await refused(fast_path, answered)
        assert "xxx ***" in cause
        assert "user" not in cause


async def test_a_shorter_session_is_said_once(fast_path: bool) -> None:
    """Both durations, and the guarantee that holds; again only if it changes."""
    config, said = None, []
    script = script_of(connack(SessionExpiryInterval=86_400))
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0)
    url = f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    config = Mqtt.model_validate({"type": "mqtt", "url": url, "client_id": "c", "fast_path": fast_path})
    source = MqttSource("s", config, ["t"], NOWHERE)
    with structlog.testing.capture_logs() as lines:
        for seconds in (86_400, 86_400, 60):
            script.connack = connack(SessionExpiryInterval=seconds)
            async with source.connect() as session:
                assert source.redelivers
                assert session.guarantee
    said = [line for line in lines if line["event"] == "source.session_shortened"]
    server.close()
    assert [(line["asked"], line["granted"], line["guarantee"]) for line in said] == [
        ("7d", "1d", "at least once of what the broker holds for 1d"),
        ("7d", "1m", "at least once of what the broker holds for 1m"),
    ]


async def test_a_session_that_ends_with_the_connection_redelivers_nothing(fast_path: bool) -> None:
    """With a session expiry of 0 the guarantee is the real one, and what is held at the end is not thrown away."""
    with structlog.testing.capture_logs() as lines:
        async with connected(fast_path, script=script_of(connack(SessionExpiryInterval=0))) as (script, session):
            assert not session.durable
            assert session.guarantee == "at most once: the session ends with the connection"
            script.say(*[publish("t", b"%d" % n, n) for n in range(1, 4)])
            await asyncio.sleep(0.2)
            session.fail("gone")
            assert [event.body for event in await receive(session, 3)] == [b"1", b"2", b"3"]
    (said,) = [line for line in lines if line["event"] == "source.session_shortened"]
    assert said["guarantee"] == "at most once: the session ends with the connection"


async def test_a_publisher_at_qos_0_is_said_once(fast_path: bool) -> None:
    """A durable session does not help it: brokers keep such events for nobody who is away."""
    with structlog.testing.capture_logs() as lines:
        async with connected(fast_path) as (script, session):
            script.say(publish("t", b"1", 1))
            await receive(session, 1)
            assert not [line for line in lines if line["event"] == "source.qos_0_published"]
            for _ in range(2):
                script.say(publish("t", b"0", 0))
                await receive(session, 1)
    (said,) = [line for line in lines if line["event"] == "source.qos_0_published"]
    assert (said["source"], said["topic"]) == ("s", "t")
    assert "its publisher sends at QoS 0" in said["cause"]


async def test_filters_are_subscribed_in_portions_of_eight(fast_path: bool) -> None:
    """AWS IoT closes a connection that asks for more at once; so does an UNSUBSCRIBE."""
    topics = [f"t{n}" for n in range(20)]
    async with connected(fast_path, *topics, client_id=None) as (script, session):
        assert [len(portion) for portion in script.subscribed] == [8, 8, 4]
        assert [topic for portion in script.subscribed for topic in portion] == topics
        await session.pause()
        assert [len(portion) for portion in script.unsubscribed] == [8, 8, 4]


async def test_a_request_fits_the_brokers_maximum_packet_size(fast_path: bool) -> None:
    """Longer filters go in more portions."""
    topics = [f"{n}" * 50 for n in range(6)]
    async with connected(fast_path, *topics, script=script_of(connack(MaximumPacketSize=150))) as (script, _):
        assert [len(portion) for portion in script.subscribed] == [2, 2, 2]


@pytest.mark.parametrize("present", [True, False])
async def test_a_packet_id_in_use_is_asked_for_again(present: bool, fast_path: bool) -> None:
    """Mochi answers 0x91 behind a backlog: on the same connection the request is made again, and succeeds."""
    script = script_of(connack(present=present))
    script.refusals = [b"\x91", b"\x91"]
    async with connected(fast_path, script=script) as (_, session):
        assert not session.ended
        await asyncio.to_thread(wait_until, lambda: len(script.subscribed) == 3, 10, "the third request")
        await asyncio.sleep(0.1)
        assert not session.ended


@pytest.mark.parametrize("length", [6, 200])
async def test_a_password_without_a_username_is_sent(length: int, fast_path: bool) -> None:
    """MQTT 5 allows it, and tokens come so; paho sends none."""
    async with connected(fast_path, password="p" * length) as (script, _):
        flags = script.connect[2 + 7]
        assert (flags & 0x80, flags & 0x40) == (0, 0x40)
        assert script.connect.endswith(length.to_bytes(2) + b"p" * length)


async def test_what_comes_once_is_kept_while_a_session_pauses(fast_path: bool) -> None:
    """An event of QoS 0 that arrives after `pause` is received, or counted as lost: it is not dropped without a count."""
    async with connected(fast_path) as (script, session):
        await session.pause()
        script.say(publish("t", b"once", 0), publish("t", b"again", 1))
        await asyncio.to_thread(wait_until, lambda: session.waiting > 0, 10, "an event")
        assert [event.body for event in await session.receive()] == [b"once"]


@pytest.mark.parametrize(
    "filters", [["$share/g/{}/+", "{}/b"], ["$share/g/{}/b", "{}/b"], ["$share/g/{}/#", "{}/b", "{}/+"]], ids=" ".join
)
def test_a_shared_subscription_beside_a_plain_one(
    filters: list[str], mosquitto: Mosquitto, redis_server: Redis, new_bridge: Bridges
) -> None:
    """Mosquitto sends an event for each of them: it is one event."""
    feed = MqttFeed(mosquitto)
    config = feed.config(redis_server, {"topic": f"{feed.name}/#"}, topics=[each.format(feed.name) for each in filters])
    new_bridge(config).ready()
    topic, feed.name = f"{feed.name}/b", f"{feed.name}/b"
    assert topic == feed.name
    feed.publish([{"n": n} for n in range(200)])
    with redis_server.client() as client:
        wait_until(lambda: answer(client.llen("dramatiq:default")) >= 200, what="200 messages")
        wait_until(lambda: feed.unacknowledged() == 0, what="everything acknowledged")
        numbers = Counter(call["args"][0] for call in queue_messages(client, "default"))
    assert numbers == dict.fromkeys(range(200), 1)


def test_overlapping_topics_are_said_in_3_1_1(mosquitto: Mosquitto, redis_server: Redis, new_bridge: Bridges) -> None:
    """It has no subscription identifiers: a broker that sends one copy for each filter makes duplicates."""
    feed = MqttFeed(mosquitto)
    topics = [f"{feed.name}/+/c", f"{feed.name}/b/+"]
    route = {"topic": f"{feed.name}/#"}
    bridge = new_bridge(feed.config(redis_server, route, topics=topics, version="3.1.1")).ready()
    said = bridge.wait_for("source.topics_overlap", source="feed")
    assert sorted(said["topics"]) == sorted(topics)
    assert "MQTT 3.1.1 has no subscription identifiers" in said["cause"]


def test_a_stop_right_after_the_start_leaves_no_filter_behind(
    mosquitto: Mosquitto, redis_server: Redis, new_bridge: Callable[..., Any]
) -> None:
    """What was subscribed to is recorded before the end: the next start unsubscribes what it does not want any more."""
    feed = MqttFeed(mosquitto)
    both = [f"{feed.name}/a", f"{feed.name}/b"]
    for _ in range(5):
        bridge = new_bridge(feed.config(redis_server, {"topic": f"{feed.name}/#"}, topics=both)).ready()
        bridge.terminate()
        assert bridge.wait() == 0
        bridge = new_bridge(feed.config(redis_server, {"topic": f"{feed.name}/#"}, topics=both[:1])).ready()
        assert bridge.wait_for("source.unsubscribed", source="feed")["topics"] == both[1:]
        bridge.terminate()
        assert bridge.wait() == 0
