"""MQTT messages that are too large to be held: the beginning is kept, the rest is skipped, and the next ones flow."""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from paho.mqtt.properties import VariableByteIntegers

from bridge.errors import Disconnected
from bridge.model.event import KEPT_BODY_BYTES, Event
from bridge.sources.mqtt.oversized import OversizedMessage
from bridge.sources.mqtt.packets import PacketReader
from bridge.sources.mqtt.properties import subscription_ids
from bridge.sources.oversized import ROOM_BYTES
from tests.sources.mqtt.test_packets import packed, packet, publish
from tests.support.brokers import Mosquitto, Redis
from tests.support.children import wait_until
from tests.support.feeds import MqttFeed
from tests.support.mqtt_wire import Script, cause_of_the_end, connected, receive
from tests.support.processes import Bridges, queue_messages

LIMIT = 300_000
BODY = bytes(range(256)) * 4000
ALL = 1000

both_versions = pytest.mark.parametrize("version", ["5", "3.1.1"])


def read(data: bytes, piece: int, *, v5: bool) -> tuple[list[Event], int, str]:
    """The events of `data`, read in pieces; the most bytes that the reader held; and why it read no more."""
    reader = PacketReader("s", v5=v5, max_bytes=LIMIT)
    events: list[Event] = []
    held = 0
    for at in range(0, len(data), piece):
        rest = data[at : at + piece]
        while rest and not reader.malformed:
            events += reader.feed(rest, ALL)
            rest = reader.pop_deferred()
        held = max(held, sum(map(len, reader._pieces)) + len(reader._oversized._kept if reader._oversized else b""))
    return events, held, reader.malformed


@pytest.mark.parametrize("piece", [1000, 65_549, 262_144, 10_000_000])
@pytest.mark.parametrize("v5", [True, False], ids=["5", "3.1.1"])
def test_of_a_message_that_is_too_large_only_the_beginning_is_held(v5: bool, piece: int) -> None:
    """Its topic, its properties and 16 KiB of its body, however the bytes are cut; then the next messages are read."""
    properties = packed(UserProperty=("plant", "p1"), SubscriptionIdentifier=7) if v5 else None
    large = publish("a/b", BODY, 7, properties, flags=8)
    after = publish("t", b"1", 8, b"" if v5 else None) + publish("t", b"2", 0, b"" if v5 else None)
    events, held, malformed = read(publish("t", b"0", 0, b"" if v5 else None) + large + after, piece, v5=v5)
    assert not malformed
    assert [event.body for event in events if not event.skipped] == [b"0", b"1", b"2"]
    event = events[1]
    assert (event.topic, event.body, event.token) == ("a/b", BODY[:KEPT_BODY_BYTES], b"\x00\x07")
    assert len(event.body) + event.skipped == len(BODY)
    assert event.redelivered
    headers, meta = event.details()
    assert headers == ({"plant": "p1"} if v5 else {})
    assert (meta["qos"], meta["redelivered"]) == (1, True)
    assert subscription_ids(event.raw) == ([7] if v5 else [])  # type: ignore[arg-type]
    assert event.size < 2 * KEPT_BODY_BYTES
    assert held < 90_000


@pytest.mark.parametrize("piece", [1000, 65_549, 10_000_000])
def test_properties_that_are_too_large_are_skipped(piece: int) -> None:
    """Their message has no properties, no body, and says so: no route could ask for them."""
    properties = packed(UserProperty=[("k", "v" * 65_000)] * 20)
    assert len(properties) > ROOM_BYTES
    large = publish("a/b", b"body", 7, properties)
    (event, after), held, malformed = read(large + publish("t", b"1"), piece, v5=True)
    assert not malformed
    assert (event.topic, event.body, event.token, event.skipped) == ("a/b", b"", b"\x00\x07", 4)
    assert event.defect == f"the properties have more than 1048576 bytes: {len(properties) + 3}"
    assert event.details()[0] == {}
    assert after.body == b"1"
    assert held < 90_000


@pytest.mark.parametrize(
    ("rest", "cause"),
    [
        (b"\x00\x00" + b"x" * LIMIT, "a message without a topic"),
        (b"\x00\x01t\xff\xff\xff\x7f" + b"x" * LIMIT, "a message shorter than its properties"),
        (b"\x00\x01t\xff\xff\xff\xff\x7f" + b"x" * LIMIT, "a length of more than four bytes"),
    ],
)
def test_a_large_message_that_is_not_mqtt_is_refused(rest: bytes, cause: str) -> None:
    """As a small one is."""
    assert cause in read(packet(0x30, rest), 1000, v5=True)[2]


def test_a_topic_that_is_not_utf_8_is_said_of_a_large_message_too() -> None:
    """Such an event can't be routed, and is a dead letter."""
    (event,), _, _ = read(publish(b"\xff", BODY), 1000, v5=True)
    assert (event.topic, event.defect) == ("", "the topic is not UTF-8")


def test_the_longest_topic_of_a_large_message() -> None:
    """65,535 bytes; all that tells where the body begins fits into what is read first."""
    topic = "t" * 65_535
    (event,), _, _ = read(publish(topic, BODY, 7, packed(UserProperty=("k", "v" * 60_000))), 1000, v5=True)
    assert (event.topic, event.body) == (topic, BODY[:KEPT_BODY_BYTES])


def test_a_message_smaller_than_what_is_read_first() -> None:
    """A limit may be that small; the message ends before the first part is full."""
    message = OversizedMessage(0x30, 2, 9, v5=True)
    assert message.feed(b"\x30\x07\x00\x01t\x00") == b""
    assert message.feed(b"abcdef") == b"def"
    assert (message.complete, message.event("s").body) == (True, b"abc")


async def test_a_broker_that_ignores_the_maximum_packet_size(fast_path: bool) -> None:
    """CONNECT states it, 1 MiB above `max_body`; a broker may still send more, and then the beginning is kept, on both paths."""
    large = publish("t", b"x" * 3_000_000, 7)
    async with connected(fast_path, max_body="1KiB") as (script, session):
        assert b"\x27" + struct.pack(">I", ROOM_BYTES + 1024) in script.connect
        script.say(large, publish("t", b"after", 8))
        event, after = await receive(session, 2)
        assert (len(event.body), event.skipped, event.topic) == (KEPT_BODY_BYTES, 3_000_000 - KEPT_BODY_BYTES, "t")
        assert after.body == b"after"
        await session.acknowledge([event, after])
        assert await script.acknowledged(2) == [7, 8]


async def test_a_large_message_may_take_longer_than_the_connection(fast_path: bool) -> None:
    """One that comes slowly, before the grant, ends no connection: the broker would send it again to the next one."""
    script = Script()
    script.grants = False
    large = publish("t", b"x" * 3_000_000, 7)

    async def send() -> None:
        while not script.subscribed:  # noqa: ASYNC110 - the script has no event for it
            await asyncio.sleep(0.01)
        for at in range(0, len(large), 250_000):
            script.say(large[at : at + 250_000])
            await asyncio.sleep(0.3)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(send())
        async with connected(fast_path, script=script, connect_timeout="2s", keepalive="1s") as (_, session):
            (event,) = await receive(session, 1)
            assert event.skipped == 3_000_000 - KEPT_BODY_BYTES


async def test_a_large_packet_that_is_no_message_ends_the_connection(fast_path: bool) -> None:
    """Its announcement is enough: nothing of it is received."""
    async with connected(fast_path) as (script, session):
        script.say(b"\x90", bytes(VariableByteIntegers.encode(100_000_000)), b"x")
        cause = await cause_of_the_end(session)
        assert "a packet of 100000005 bytes which is no message" in cause


def _letters(client: Any) -> list[dict[bytes, bytes]]:
    return [fields for _, fields in client.xrange("dramatiq-bridge:dead-letters")]


@both_versions
def test_a_huge_message_in_the_queue_stops_none_behind_it(
    new_mosquitto: Callable[..., Mosquitto], redis_server: Redis, either_bridge: Bridges, version: str
) -> None:
    """200 MiB at QoS 1, and 600 MiB of address space: five good events behind it arrive, without a reconnection.

    With 3.1.1 the huge one is a dead letter; with MQTT 5 the broker keeps it to itself, and the bridge has said so.
    """
    feed = MqttFeed(new_mosquitto(persistence=False))
    feed.prepare()
    feed.publish([{"n": -1, "text": "x" * (200 << 20)}])
    feed.publish([{"n": n} for n in range(5)])
    bridge = either_bridge(feed.config(redis_server, version=version))
    resource.prlimit(bridge.pid, resource.RLIMIT_AS, (600 << 20, resource.RLIM_INFINITY))
    bridge.ready()
    with redis_server.client() as client:
        wait_until(lambda: client.llen("dramatiq:default") >= 5, 60, "the good events")
        assert [message["args"] for message in queue_messages(client, "default")] == [[n] for n in range(5)]
        letters = _letters(client)
    if version == "5":
        said = bridge.wait_for("source.max_packet_size", source="feed")
        assert (said["max_packet_size"], said["level"]) == ("1280KiB", "info")
        assert letters == []
    else:
        (letter,) = letters
        size = len(json.dumps({"n": -1, "text": ""})) + (200 << 20)
        assert letter[b"reason"] == b"too-large"
        assert letter[b"error"] == f"the body has {size} bytes, max_body is 262144".encode()
        assert (letter[b"body_size"], letter[b"body_cut"]) == (str(size).encode(), b"1")
    assert bridge.events("source.disconnected") == []
    bridge.terminate()
    bridge.wait()
    assert feed.unacknowledged() == 0


def test_large_properties_fill_the_window(
    mosquitto: Mosquitto, new_redis: Callable[..., Redis], either_bridge: Bridges
) -> None:
    """While Redis hangs, 100 events with empty bodies and 1 MiB of properties take no more memory than the window allows.

    100 more with 2 MiB never come: the broker discards them.
    """
    feed, sink = MqttFeed(mosquitto), new_redis()
    feed.prepare()
    route = {"args": ["$len(headers.k)"], "when": "headers.k != ''"}
    settings: dict[str, Any] = {"decode": "bytes", "window": {"bytes": "4MiB"}}
    bridge = either_bridge(feed.config(sink, route, **settings)).ready()
    before = bridge.rss_bytes()
    sink.pause()
    try:
        publishing = threading.Thread(target=feed.publish_properties, args=([15, 31] * 100,), daemon=True)
        publishing.start()
        grown = 0
        for _ in range(60):
            time.sleep(0.1)
            grown = max(grown, bridge.rss_bytes() - before)
        publishing.join(60)
    finally:
        sink.resume()
    assert grown < 64 << 20, f"grew by {grown / 2**20:.1f} MiB"
    with sink.client() as client:
        wait_until(lambda: client.llen("dramatiq:default") >= 100, 60, "the events")
        assert {tuple(message["args"]) for message in queue_messages(client, "default")} == {(65_000,)}


class Unread(Script):
    """Reads nothing more once the first acknowledgement has come."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Have small buffers; else see Script."""
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await super().serve(reader, writer)

    async def _answer(self, first: int, whole: bytes) -> None:
        if first >> 4 == 4:
            await asyncio.sleep(3600)
        await super()._answer(first, whole)


async def test_acknowledgements_that_nobody_takes_have_a_bound() -> None:
    """A broker that sends and never reads loses the connection, and its acknowledgements fill no memory.

    Where paho reads, its ping has no answer by then.
    """
    script = Unread()
    async with connected(True, script=script, window={"events": 65_535}) as (_, session):
        tasks: set[asyncio.Task[None]] = set()

        async def send() -> None:
            while True:
                script.say(publish("t", b"", 7) * 2000)
                await asyncio.sleep(0.01)

        async def acknowledge() -> None:
            while True:
                await session.acknowledge(await session.receive())

        sock = session._connection._socket
        assert sock is not None
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        tasks.add(asyncio.create_task(send()))
        with pytest.raises(Disconnected, match="takes no acknowledgements"):
            await acknowledge()
        assert len(session._client._out_packet) < 1100
        for task in tasks:
            task.cancel()
