"""`check --connect` at an MQTT broker: limits and subscriptions, as another client that takes no event from anybody."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from bridge.config import Mqtt
from bridge.errors import Disconnected
from bridge.model.findings import Findings
from bridge.sources.mqtt.looking_client import LookingClient
from bridge.sources.mqtt.preflight import look_at_broker
from tests.preflight.conftest import Looked
from tests.sources.mqtt.test_promise import connack, script_of
from tests.support.brokers import Mosquitto
from tests.support.children import wait_until
from tests.support.mqtt_wire import Script

Unique = Callable[[str], str]


def mqtt(url: str, *topics: str, **more: Any) -> dict[str, Any]:
    """Return a source."""
    return {"type": "mqtt", "url": url, "client_id": "plant", "topics": list(topics), **more}


class Member:
    """A client of MQTT 5 that keeps its session, as a running bridge does; `got` are the bodies that have come."""

    def __init__(self, url: str, client_id: str, topic: str) -> None:
        self.got: list[bytes] = []
        self.connections = 0
        self._granted = threading.Event()
        self._topic = topic
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=paho.MQTTv5)
        self.client.on_connect = self._on_connect
        self.client.on_message = lambda _client, _data, message: self.got.append(bytes(message.payload))
        self.client.on_subscribe = lambda *_: self._granted.set()
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 60
        host, port = url.removeprefix("mqtt://").split(":")
        self.client.connect(host, int(port), clean_start=True, properties=properties)
        self.client.loop_start()
        assert self._granted.wait(10)

    def _on_connect(self, *_: object) -> None:
        self.connections += 1
        self.client.subscribe(self._topic, 1)

    def publish(self, topic: str, *bodies: bytes) -> None:
        """Publish at QoS 1, and wait for the confirmations."""
        for published in [self.client.publish(topic, body, 1) for body in bodies]:
            published.wait_for_publish(10)


@pytest.fixture
def member() -> Iterator[Callable[..., Member]]:
    """Connect clients that are disconnected at the end."""
    made: list[Member] = []

    def connect(*arguments: Any) -> Member:
        made.append(Member(*arguments))
        return made[-1]

    yield connect
    for one in made:
        one.client.disconnect()
        one.client.loop_stop()


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_running_bridge_keeps_its_session_and_gets_every_event(
    version: str, mosquitto: Mosquitto, unique: Unique, member: Callable[..., Member], look: Looked
) -> None:
    """Neither its connection is taken over, nor an event of its group; while the look is subscribed, and afterwards."""
    name, topic = unique("plant"), unique("t")
    running = member(mosquitto.url, name, f"$share/g/{topic}/#")
    sent: list[bytes] = []
    ended = threading.Event()

    def publish() -> None:
        while not ended.is_set():
            sent.append(b"%d" % len(sent))
            running.publish(f"{topic}/x", sent[-1])

    publishing = threading.Thread(target=publish)
    publishing.start()
    for _ in range(5):
        source = mqtt(mosquitto.url, f"$share/g/{topic}/#", f"{topic}/x", client_id=name, version=version)
        found = look(source=source)
        assert found[:2] == [
            f"ok: connected: MQTT {version}, as another client than the source",
            "ok: granted: 2 subscriptions, given up at once",
        ] or found[1].startswith("note: the topics"), found
    ended.set()
    publishing.join()
    wait_until(lambda: len(running.got) >= len(sent), what="every event at the running client")
    assert running.got == sent
    assert running.connections == 1


def test_no_session_is_left_behind(new_mosquitto: Callable[..., Mosquitto], look: Looked) -> None:
    """The source asks the broker to keep its session for a week; nothing of the look is known to it afterwards."""
    broker = new_mosquitto()
    look(source=mqtt(broker.url, "a/#"))
    ids = re.findall(r" as (dramatiq-bridge-check-\w+) ", broker.log.read_text())
    assert len(ids) == 2
    assert not is_kept(broker.url, ids[0], expiry_s=60)
    assert is_kept(broker.url, ids[0])


async def test_a_look_that_ends_early_leaves_no_session(mosquitto: Mosquitto) -> None:
    """The first of its two connections asks for a session that is kept, and ends it itself."""
    config = Mqtt.model_validate(mqtt(mosquitto.url, "a"))
    async with LookingClient(config, "dramatiq-bridge-check-early", session_expiry_s=60):
        pass
    assert not await asyncio.to_thread(is_kept, mosquitto.url, "dramatiq-bridge-check-early")


def is_kept(url: str, client_id: str, expiry_s: int = 0) -> bool:
    """Tell whether the broker has a session of this client, by a connection that leaves one for `expiry_s`."""
    present: list[bool] = []
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=paho.MQTTv5)
    client.on_connect = lambda _client, _data, flags, *_: present.append(flags.session_present)
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = expiry_s
    host, port = url.removeprefix("mqtt://").split(":")
    client.connect(host, int(port), clean_start=False, properties=properties)
    client.loop_start()
    wait_until(lambda: present, what="CONNACK")
    client.disconnect()
    client.loop_stop()
    return present[0]


def test_what_can_not_be_seen_is_said(mosquitto: Mosquitto, look: Looked) -> None:
    """The rights of the client_id, events that the broker leaves out, and its queue."""
    unseen = [one for one in look(source=mqtt(mosquitto.url, "a")) if one.startswith("unseen")]
    assert unseen == [
        "unseen: whether the broker permits this with the client_id 'plant': another one was used",
        (
            "unseen: whether events of these topics come: a broker may grant a subscription and leave events out that the user may"
            " not read, without a word (mosquitto's acl_file does)"
        ),
        "unseen: how many events the broker keeps for a client that is away (mosquitto's max_queued_messages)",
    ]


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_mosquitto_denies_without_a_word(
    version: str, new_mosquitto: Callable[..., Mosquitto], look: Looked, tmp_path: Any
) -> None:
    """Its acl_file grants every subscription: a denial is seen by nothing, so the look says so."""
    acl = tmp_path / "acl"
    acl.write_text("topic read allowed/#\n")
    broker = new_mosquitto({"acl_file": acl})
    found = look(source=mqtt(broker.url, "secret/#", version=version))
    assert "ok: granted: 1 subscription, given up at once" in found
    assert any(one.startswith("unseen: whether events of these topics come") for one in found)


def test_a_wrong_password(new_mosquitto: Callable[..., Mosquitto], look: Looked) -> None:
    """With the remark that the client_id was another one."""
    broker = new_mosquitto(user="u", password="s3cret")
    (problem,) = look(source=mqtt(f"mqtt://127.0.0.1:{broker.port}", username="u", password="s3cre7"), code=1)
    assert problem == (
        "problem: refused: Not authorized; a broker that binds this user to the client_id 'plant' says so too: another one was used"
    )


def test_a_broker_with_less_than_qos_1(new_mosquitto: Callable[..., Mosquitto], look: Looked) -> None:
    """It grants each filter at QoS 0."""
    found = look(source=mqtt(new_mosquitto({"max_qos": "0"}).url, "a", "b/#"))
    (lowered,) = [one for one in found if "at QoS 0 only: what" in one]
    assert lowered.startswith("note: a, b/#: the broker grants these at QoS 0 only")
    assert lowered.endswith("; set qos: 0, if that is meant")


async def scripted(script: Script, *topics: str, **settings: Any) -> tuple[Script, list[str]]:
    """Return what is found at a scripted broker of MQTT 5; its end as `ended: ` and the cause."""
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0)
    url = f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    config = Mqtt.model_validate({"type": "mqtt", "url": url, "client_id": "plant", "topics": [*topics], **settings})
    found = Findings()
    try:
        await look_at_broker(config, topics, found)
        ended = []
    except Disconnected as error:
        ended = [f"ended: {error.cause}"]
    finally:
        await script.hang_up()
        server.close()
        await server.wait_closed()
    return script, [f"{one.kind}: {one.text}" for one in found.found] + ended


@pytest.mark.parametrize(
    ("answered", "topic", "said"),
    [
        (
            connack(SharedSubscriptionAvailable=0),
            "$share/g/t",
            "problem: the broker has no shared subscriptions: remove $share/GROUP/ from topics",
        ),
        (
            connack(WildcardSubscriptionAvailable=0),
            "a/+",
            "problem: the broker has no wildcards: write topics without + and #",
        ),
        (
            connack(SessionExpiryInterval=86_400),
            "a",
            "note: the broker keeps the session for 1d, not 7d: at least once of what the broker holds for 1d",
        ),
        (connack(ServerKeepAlive=7), "a", "ok: the broker wants a ping every 7 s: it gets one"),
        (
            connack(0x85),
            "a",
            "unseen: the broker refuses the client_id",
        ),
        (connack(0x84), "a", "ended: the broker speaks no MQTT 5: set version: 3.1.1"),
    ],
    ids=["shared", "wildcards", "expiry", "keepalive", "client-id", "version"],
)
async def test_the_limits_of_a_broker(answered: bytes, topic: str, said: str) -> None:
    """As its CONNACK tells them."""
    _, found = await scripted(script_of(answered), topic)
    assert any(one.startswith(said) for one in found), found


async def test_a_refused_subscription_is_named_and_the_others_are_tried() -> None:
    """By its reason code; each is given up at once, a shared one in a group that is nobody's."""
    script = Script()
    script.refusals = [b"\x01\x87\x01"]
    script, found = await scripted(script, "a/#", "secret/#", "$share/g/b")
    assert "problem: the broker refuses the subscription to 'secret/#': Not authorized" in found
    assert not any(one.startswith("ok: granted") for one in found)
    ((first, second, shared),) = script.subscribed
    assert script.unsubscribed == [[first, second, shared]]
    assert (first, second) == ("a/#", "secret/#")
    assert shared.startswith("$share/g-dramatiq-bridge-check-")
    assert shared.endswith("/b")
    assert b"plant" not in script.connect


async def test_a_refused_group_of_its_own_says_nothing_of_the_files() -> None:
    """A broker may permit a shared subscription by the name of its group (mosquitto's dynamic security does)."""
    script = Script()
    script.refusals = [b"\x87"]
    _, found = await scripted(script, "$share/g/b")
    assert not any(one.startswith("problem") for one in found)
    assert (
        "unseen: the broker refuses the subscription to '$share/g/b': Not authorized, in a group of the look's own; that of the"
        " file was not tried"
    ) in found


async def test_a_broker_that_does_not_answer_a_subscription() -> None:
    """As `run` says it."""
    script = Script()
    script.grants = False
    _, found = await scripted(script, "a", connect_timeout="300ms")
    assert found[-1] == "ended: no answer to SUBSCRIBE"


async def test_overlapping_topics_without_identifiers() -> None:
    """Their copies can't be told apart."""
    script, topics = script_of(connack(SubscriptionIdentifierAvailable=0)), ("a/#", "a/b")
    _, found = await scripted(script, *topics)
    assert any(one.startswith("note: the topics a/#, a/b overlap: the broker has no subscription id") for one in found)
