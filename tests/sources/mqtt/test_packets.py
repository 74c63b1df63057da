"""The reader of MQTT packets: however the bytes are cut, it reads the same messages as paho."""

from __future__ import annotations

import itertools
import select
import socket
import struct
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paho.mqtt.client import MQTTv5, MQTTv311
from paho.mqtt.exception import MQTTException
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties, VariableByteIntegers

from bridge.errors import BadEvent
from bridge.model.event import Event
from bridge.sources.mqtt.packets import PacketReader
from bridge.sources.mqtt.paho_client import PlainClient, event_of
from bridge.sources.mqtt.properties import details, subscription_ids

ALL = 1 << 20
PING, SUBACK5 = b"\xd0\x00", b"\x90\x04\x00\x01\x00\x01"
Seen = tuple[str, bytes, object, object, str]


def packet(first: int, rest: bytes) -> bytes:
    """A packet of any kind."""
    return bytes((first,)) + bytes(VariableByteIntegers.encode(len(rest))) + rest


def publish(
    topic: str | bytes, body: bytes = b"", packet_id: int = 0, properties: bytes | None = b"", flags: int = 0
) -> bytes:
    """A PUBLISH, at QoS 1 where it has an id; of MQTT 3.1.1 where its properties are None."""
    name = topic.encode() if isinstance(topic, str) else topic
    rest = struct.pack(">H", len(name)) + name
    if packet_id:
        rest += struct.pack(">H", packet_id)
    if properties is not None:
        rest += VariableByteIntegers.encode(len(properties)) + properties
    return packet(0x30 | (2 if packet_id else 0) | flags, rest + body)


def packed(**values: Any) -> bytes:
    """Properties on the wire, by paho, without their length."""
    properties = Properties(PacketTypes.PUBLISH)
    for name, value in values.items():
        setattr(properties, name, value)
    whole = bytes(properties.pack())
    _, start = VariableByteIntegers.decode(whole)
    return whole[int(start) :]


def seen(events: Iterable[Event]) -> list[Seen]:
    """The visible parts of events; for details that can't be read, the reason."""
    visible: list[Seen] = []
    for event in events:
        known: object
        try:
            known = event.details()
        except BadEvent as error:
            known = (error.reason, error.detail)
        visible.append((event.topic, event.body, event.token, known, event.defect))
    return visible


def by_reader(pieces: Iterable[bytes], *, v5: bool = True, max_packets: int = ALL) -> tuple[list[Seen], bytes]:
    """The events the reader makes of `pieces`, at most `max_packets` at once; and the bytes that it leaves to paho."""
    reader = PacketReader("s", v5=v5)
    events, others = [], b""
    for piece in pieces:
        data = piece
        while data:
            events += reader.feed(data, max_packets)
            assert not reader.malformed
            others += reader.pop_others()
            data = reader.pop_deferred()
    return seen(events), others


def by_library(data: bytes, *, v5: bool) -> list[Seen]:
    """The events paho makes of the same bytes, read from a real socket."""
    ours, theirs = socket.socketpair()

    class Client(PlainClient):
        def _create_socket(self) -> Any:
            return ours

    def refuse(_data: bytes) -> tuple[bytes, bytes]:
        raise AssertionError("paho reads this itself")

    events: list[Event] = []
    client = Client(refuse, protocol=MQTTv5 if v5 else MQTTv311, manual_ack=True, reconnect_on_failure=False)
    client.suppress_exceptions = False
    client.on_message = lambda _client, _data, message: events.append(event_of("s", message))
    with ours, theirs:
        client.connect("127.0.0.1", 1)
        while data:
            theirs.sendall(data[:10_000])
            data = data[10_000:]
            while select.select([ours], [], [], 0)[0]:
                assert client.loop_read() == 0
    return seen(events)


PROPERTIES = [
    b"",
    packed(PayloadFormatIndicator=1),
    packed(MessageExpiryInterval=4_294_967_295),
    packed(ContentType="application/json"),
    packed(ContentType=""),
    packed(ResponseTopic="antworten/größe"),
    packed(CorrelationData=b"\x00\xff\xfe"),
    packed(CorrelationData=b""),
    packed(SubscriptionIdentifier=1),
    packed(SubscriptionIdentifier=[268_435_455, 127, 128, 16_384]),
    packed(TopicAlias=7),
    packed(UserProperty=("", "")),
    packed(UserProperty=[("a", "1"), ("b", "°"), ("a", "2")]),
    packed(UserProperty=[("k" * 200, "v" * 20_000)]),
    packed(
        PayloadFormatIndicator=0, MessageExpiryInterval=0, ContentType="x", ResponseTopic="y", CorrelationData=b"z",
        SubscriptionIdentifier=[5, 6], TopicAlias=65_535, UserProperty=[("a", "b"), ("c", "d")],
    ),
]  # fmt: skip


@pytest.mark.parametrize("properties", PROPERTIES, ids=lambda raw: raw[:12].hex() or "none")
@pytest.mark.parametrize("packet_id", [0, 1, 65_535])
def test_every_property(properties: bytes, packet_id: int) -> None:
    """Each kind of property that a message may have is read, or ignored, as by paho."""
    data = publish("a/b", b"{}", packet_id, properties) + publish("a/b", b"", packet_id, properties, flags=9)
    assert by_reader([data]) == (by_library(data, v5=True), b"")


def test_headers_and_meta() -> None:
    """User properties become headers (the last of equal names); the other properties become meta, null if absent."""
    ((*_, known, _),) = by_reader([publish("t", b"", 9, PROPERTIES[-1], flags=8)])[0]
    meta = {"qos": 1, "retain": False, "redelivered": True}
    assert known == (
        {"a": "b", "c": "d"},
        {**meta, "content_type": "x", "reply_to": "y", "correlation_id": "z", "expires_in": 0},
    )
    assert details(b"\x31\x00") == ({}, {"qos": 0, "retain": True, "redelivered": False})


def stream(*, v5: bool) -> bytes:
    """One message of each kind, with other packets in between."""
    none = b"" if v5 else None
    parts = [
        publish("a", b"", 0, none),
        PING,
        publish("a/b", b"x", 1, none),
        publish("a/b", b"x" * 130, 2, none, flags=8),
        SUBACK5 if v5 else b"\x90\x03\x00\x01\x01",
        PING,
        PING,
        publish("ü/" + "n" * 300, b"y" * 17_000, 0x4002, none, flags=1),
        publish("a", b"", 3, none),
        publish("a", b"\x30\x03\x00\x01a", 0, none, flags=1),
    ]
    if v5:
        parts.insert(3, publish("a/b", b"x", 4, PROPERTIES[-1]))
        parts.insert(6, publish("a/b", b"", 5, PROPERTIES[-2]))
    parts.append(PING)
    return b"".join(parts)


def places(data: bytes) -> Iterable[int]:
    """Every place to cut at; only some within long runs of one byte."""
    return [at for at in range(len(data) + 1) if at % 97 == 0 or data[at - 2 : at + 2] != data[at - 1 : at] * 4]


@pytest.mark.parametrize("v5", [True, False], ids=["5", "3.1.1"])
def test_cut_anywhere(v5: bool) -> None:
    """The same bytes give the same events, wherever the network cuts them, with any packets in between."""
    data = stream(v5=v5)
    whole = by_reader([data], v5=v5)
    assert whole[0] == by_library(data, v5=v5)
    for at in places(data):
        assert by_reader([data[:at], data[at:]], v5=v5) == whole, at
    assert by_reader([data[at : at + 1] for at in range(len(data))], v5=v5) == whole


@pytest.mark.parametrize("max_packets", [1, 2, 3])
def test_no_more_than_there_is_room_for(max_packets: int) -> None:
    """The reader reads at most `max_packets`, and the rest, in order, when it is fed the deferred bytes again."""
    data = stream(v5=True)
    assert len(PacketReader("s", v5=True).feed(data, max_packets)) <= max_packets
    for at in range(0, len(data), 50):
        assert by_reader([data[:at], data[at:]], max_packets=max_packets) == by_reader([data])


@pytest.mark.parametrize("size", [0, 1, 117, 118, 119, 16_373, 16_374, 16_375, 16_376, 2_097_141, 2_097_142, 2_200_000])
def test_bodies_of_any_size(size: int) -> None:
    """A body is whole at each size where the length takes one more byte, in one piece and in many."""
    data = publish("a/b", b"x" * size, 7) + publish("a", b"", 8) + PING
    expected = [("a/b", b"x" * size, b"\x00\x07"), ("a", b"", b"\x00\x08")]
    for step in (len(data), 1460, 262_144):
        events, others = by_reader([data[at : at + step] for at in range(0, len(data), step)])
        assert [event[:3] for event in events] == expected
        assert others == PING


text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00\ufeff"), max_size=40)
topics = st.one_of(st.sampled_from(["a", "a/b", "plants/1/t"]), text.filter(bool))
some = st.fixed_dictionaries(
    {},
    optional={
        "MessageExpiryInterval": st.integers(0, 2**32 - 1),
        "ContentType": text,
        "ResponseTopic": text,
        "CorrelationData": st.binary(max_size=40),
        "SubscriptionIdentifier": st.lists(st.integers(1, 268_435_455), min_size=1, max_size=3),
        "UserProperty": st.lists(st.tuples(text, text), min_size=1, max_size=3),
    },
)
messages = st.tuples(topics, st.binary(max_size=300), st.integers(0, 65_535), some, st.sampled_from([0, 1, 8, 9]))
between = st.sampled_from([b"", PING, SUBACK5, PING + PING])


@pytest.mark.parametrize("v5", [True, False], ids=["5", "3.1.1"])
@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.tuples(messages, between), min_size=1, max_size=6), st.lists(st.integers(0, 2000), max_size=6),
    st.integers(1, 4),
)  # fmt: skip
def test_any_messages(v5: bool, parts: list[Any], cuts: list[int], max_packets: int) -> None:
    """Any messages, cut anywhere and read in any number, are those that paho reads; paho gets the other packets whole."""
    data, others = b"", b""
    for (topic, body, packet_id, properties, flags), other in parts:
        data += publish(topic, body, packet_id, packed(**properties) if v5 else None, flags)
        # In 3.1.1 paho refuses a SUBACK of MQTT 5, and this test is not about that.
        data += other if v5 else other.replace(SUBACK5, b"")
        others += other if v5 else other.replace(SUBACK5, b"")
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in itertools.pairwise(edges)]
    assert by_reader(pieces, v5=v5, max_packets=max_packets) == (by_library(data, v5=v5), others)


UNREADABLE = {
    "not UTF-8": b"\x03\x00\x03\xff\xfe\xfd",
    "a surrogate": b"\x03\x00\x03\xed\xa0\x80",
    "a user property that is not UTF-8": b"\x26\x00\x01a\x00\x01\xff",
    "unknown": b"\x7f\x01",
    "of another packet": b"\x11\x00\x00\x00\x01",
    "an identifier of two bytes": b"\x80\x01\x01",
    "cut off in its size": b"\x03\x00",
    "cut off in its text": b"\x03\x00\x09abc",
    "cut off in a number": b"\x02\x00\x00",
    "half a pair": b"\x26\x00\x01a",
    "an identifier that is too long": b"\x0b\xff\xff\xff\xff\x01",
    "twice": packed(ContentType="a") + packed(ContentType="b"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_properties_that_cannot_be_read(case: str) -> None:
    """A property that can't be read matters only once details are asked for; other messages are not affected."""
    data = publish("a/b", b"1", 1, UNREADABLE[case]) + publish("a/b", b"2", 2)
    (bad, good), others = by_reader([data])
    assert bad[:3] == ("a/b", b"1", b"\x00\x01")
    assert isinstance(bad[3], tuple)
    assert bad[3][0] == "decode"
    assert bad[3][1].startswith("a property can't be read: ")
    assert (good[1], others) == (b"2", b"")


@settings(deadline=None, max_examples=500)
@given(st.binary(max_size=60))
def test_any_properties(properties: bytes) -> None:
    """Any bytes of properties are read or clearly refused; properties that paho accepts are read as paho reads them."""
    raw = b"\x32" + VariableByteIntegers.encode(len(properties)) + properties
    subscription_ids(raw)
    theirs = Properties(PacketTypes.PUBLISH)
    try:
        headers, meta = details(raw)
        theirs.unpack(raw[1:])
    except BadEvent:
        return
    except (MQTTException, LookupError, ValueError):
        return  # paho refuses more: U+FEFF and NUL in a text, a format indicator of 2
    assert headers == dict(getattr(theirs, "UserProperty", ()))
    assert meta.get("reply_to") == getattr(theirs, "ResponseTopic", None)
    assert meta.get("expires_in") == getattr(theirs, "MessageExpiryInterval", None)
    assert subscription_ids(raw) == getattr(theirs, "SubscriptionIdentifier", [])


@pytest.mark.parametrize("v5", [True, False], ids=["5", "3.1.1"])
def test_a_topic_that_is_not_utf8(v5: bool) -> None:
    """A topic that is not UTF-8 is a defect of its event only."""
    none = b"" if v5 else None
    data = publish(b"a/\xff", b"1", 1, none) + publish("a", b"2", 2, none)
    assert by_reader([data], v5=v5)[0] == by_library(data, v5=v5)
    assert [event[4] for event in by_reader([data], v5=v5)[0]] == ["the topic is not UTF-8", ""]


MALFORMED = {
    "a length of five bytes": (b"\x30\x80\x80\x80\x80\x01", "a length of more than four bytes"),
    "no room for a topic": (b"\x30\x00", "shorter than its topic"),
    "half a size": (b"\x30\x01\x00", "shorter than its topic"),
    "a topic beyond the end": (b"\x30\x05\x00\x09abc", "shorter than its topic"),
    "an id beyond the end": (b"\x32\x04\x00\x01a\x00", "shorter than its topic"),
    "properties beyond the end": (b"\x30\x06\x00\x01a\x09xx", "shorter than its properties"),
    "no properties": (b"\x30\x03\x00\x01a", "shorter than its topic"),
    "no topic": (b"\x30\x04\x00\x00\x00x", "a message without a topic"),
    "a large packet that is no message": (b"\x90\xff\xff\xff\x7f", "a packet of 268435460 bytes"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_what_is_not_mqtt(case: str) -> None:
    """Bytes that no broker may send are reported as soon as they can be told, and the messages before them are read."""
    data, problem = MALFORMED[case]
    before = publish("a", b"1", 1)
    for pieces in ([before + data], [before, data], [bytes((byte,)) for byte in before + data]):
        reader = PacketReader("s", v5=True)
        events = [event for piece in pieces for event in reader.feed(piece, ALL)]
        assert [event.body for event in events] == [b"1"]
        assert problem in reader.malformed
        assert reader.malformed.startswith("the broker sent what is not MQTT: ")


@pytest.mark.parametrize("v5", [True, False], ids=["5", "3.1.1"])
@settings(deadline=None, max_examples=500)
@given(st.lists(st.binary(max_size=40), max_size=8))
def test_garbage(v5: bool, pieces: list[bytes]) -> None:
    """Garbage makes events, waits for more, or is refused; it never raises, and no byte is kept twice."""
    reader = PacketReader("s", v5=v5)
    for piece in pieces:
        seen(reader.feed(piece, ALL))
        if reader.malformed:
            break
        assert len(reader.pop_others()) + len(b"".join(reader._pieces)) <= sum(map(len, pieces))


def test_a_length_is_no_promise_of_memory() -> None:
    """A message that claims to be 256 MiB long takes only as much memory as was received of it."""
    reader = PacketReader("s", v5=True)
    assert reader.feed(b"\x30\xff\xff\xff\x7f\x00\x01a\x00" + b"x" * 1000, ALL) == []
    assert reader.feed(b"x" * 1000, ALL) == []
    assert sum(map(len, reader._pieces)) == 2009
    assert not reader.malformed


def test_many_topics_and_sizes() -> None:
    """However many topics and sizes there are, the caches are bounded, and all events are right."""
    reader = PacketReader("s", v5=True)
    data = b"".join(publish(f"topic/{n}", b"x" * (n % 9000), 1) for n in range(20_000))
    events = reader.feed(data, ALL)
    assert [(event.topic, len(event.body)) for event in events] == [(f"topic/{n}", n % 9000) for n in range(20_000)]
    assert len(reader._topics) <= 8192
    assert len(reader._shapes) <= 4096


def test_what_paho_has_to_answer_is_left_to_it() -> None:
    """A message of QoS 2, which was never asked for, goes to paho, which knows that protocol."""
    exotic = packet(0x34, b"\x00\x01a\x00\x07\x00body")
    assert by_reader([exotic + publish("a", b"1")])[1] == exotic
