"""The fast reader of AMQP against the library's own parser: the same bytes, however cut, give the same events."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp import frame as pamqp
from pamqp.commands import Basic
from pamqp.exceptions import UnmarshalingException

from bridge.errors import BadEvent
from bridge.model.event import Event
from bridge.sources.amqp.deliveries import DeliveryReader
from bridge.sources.amqp.frames import BadFrame
from bridge.sources.amqp.properties import details
from tests.support.amqp_wire import BAD_PROPERTIES, HEARTBEAT, bodies, deliver, frame, header, message

EVERYTHING = Basic.Properties(
    content_type="application/jsön",
    content_encoding="utf-8",
    headers={
        "text": "grüße",
        "long": 2**40,
        "negative": -7,
        "yes": True,
        "nothing": None,
        "decimal": Decimal("1.25"),
        "float": 1.5,
        "at": datetime(2026, 3, 29, tzinfo=UTC),
        "binary": bytearray(b"\x00\xff\xce"),
        "table": {"inner": [1, "zwei", {"drei": 3}]},
    },
    delivery_mode=2,
    priority=3,
    correlation_id="c-1",
    reply_to="answers",
    expiration="60000",
    message_id="m-1",
    timestamp=datetime(2026, 3, 29, 1, 30, tzinfo=UTC),
    message_type="a-type",
    user_id="guest",
    app_id="app",
)
#: A table with a value of each type that RabbitMQ has, named by its letter.
EVERY_TYPE = b"".join(
    b"\x01" + value[:1] + value
    for value in (
        b"t\x01", b"b\xff", b"B\xff", b"s\xff\xfe", b"u\xff\xfe", b"I\xff\xff\xff\xfe", b"i\xff\xff\xff\xfe",
        b"l\xff\xff\xff\xff\xff\xff\xff\xfe", b"L\x00\x00\x00\x00\x00\x00\x00\x07", b"f?\x80\x00\x00",
        b"d?\xf0\x00\x00\x00\x00\x00\x00", b"D\x02\x00\x00\x00\x7d", b"S\x00\x00\x00\x02hi", b"V",
        b"A\x00\x00\x00\x02t\x01", b"T\x00\x00\x00\x00\x65\x00\x00\x00", b"F\x00\x00\x00\x03\x01aV",
        b"x\x00\x00\x00\x02\x00\xce",
    )
)  # fmt: skip
OTHER = frame(1, b"\x00\x3c\x00\x15\x0fdramatiq-bridge")  # basic.consume-ok
BLOCKED = frame(1, b"\x00\x0a\x00\x3c\x03why", channel=0)

#: A stream with every form of delivery and of other frames.
STREAM = b"".join(
    [
        OTHER,
        message(1, b'{"n": 1}', EVERYTHING, key=b"order.paid.7", exchange=b"shop"),
        message(2, b"", key=b""),
        message(3, b"\xce" * 30, exchange=b"shop", redelivered=True),
        HEARTBEAT,
        deliver(4) + HEARTBEAT + header(9, EVERYTHING) + BLOCKED + b"".join(bodies(b"123456789", 4)),
        message(5, b"x", b"\x80\x00\x03\xff\xfe\xfd", key="grün".encode()),
        message(6, b"x", key=b"a.\xff\xfe", exchange=b"\xfe"),
        message(7, b'{"n": 7}', EVERYTHING, key=b"order.paid.7", exchange=b"shop"),
        message(8, b"\x01\x00\x01", key=b"k" * 255, exchange=b"e" * 255),
        message(9, b"y", b"\x20\x00" + len(EVERY_TYPE).to_bytes(4, "big") + EVERY_TYPE, key=b"order.paid.8"),
        message(10, b"z", key=b"order.paid.8", redelivered=True),
        message(11, b"z", key=b"order.paid.8"),
        BLOCKED,
    ]
)


def _reader() -> DeliveryReader:
    reader = DeliveryReader("feed")
    reader.consume(1, "dramatiq-bridge")
    return reader


def _seen(event: Event) -> tuple[object, ...]:
    try:
        details_or_error: object = event.details()
    except BadEvent as error:
        details_or_error = error.detail.partition(":")[0]  # the cause is in the words of one decoder or the other
    return event.source, event.topic, event.body, event.token, details_or_error, event.defect, event.redelivered


def _read(pieces: list[bytes]) -> tuple[list[tuple[object, ...]], bytes]:
    """Return the reader's events, and the frames that it leaves to the library."""
    reader, events = _reader(), list[Event]()
    passed = b"".join([reader.feed(piece, events) for piece in pieces])
    return [_seen(event) for event in events], passed


def _same(pieces: list[bytes]) -> bool:
    """Whether the pieces give the very bytes that the whole stream gives."""
    whole, cut = list[Event](), list[Event]()
    whole_reader, cut_reader = _reader(), _reader()
    passed = whole_reader.feed(b"".join(pieces), whole)
    rest = b"".join([cut_reader.feed(piece, cut) for piece in pieces])
    return rest == passed and list(map(_bytes, whole)) == list(map(_bytes, cut))


def _bytes(event: Event) -> tuple[object, ...]:
    return event.topic, event.body, event.token, event.raw, event.read, event.defect, event.redelivered


def _as_the_library(stream: bytes) -> tuple[list[tuple[object, ...]], bytes]:
    """Return the same, read by the library's parser: a frame at a time, the parts of a message put together."""
    events: list[tuple[object, ...]] = []
    passed = b""
    delivery: Any = None
    parsed: Any = None
    body, size = b"", 0
    while stream:
        end = int.from_bytes(stream[3:7], "big") + 8
        frame_bytes, stream = stream[:end], stream[end:]
        try:
            part: Any = pamqp.unmarshal(frame_bytes)[2]
        except (UnmarshalingException, UnicodeDecodeError, ValueError):
            if frame_bytes[0] != 2:
                raise
            parsed, size = "a property can't be read", int.from_bytes(frame_bytes[11:19], "big")
        else:
            if part.name == "Basic.Deliver":
                delivery, body = part, b""
                continue
            if part.name == "ContentHeader":
                parsed, size = details(part.properties, delivery.exchange, delivery.redelivered), part.body_size
            elif part.name == "ContentBody":
                body += part.value
            else:
                passed += frame_bytes
                continue
        if len(body) == size:
            events.append(("feed", delivery.routing_key, body, delivery.delivery_tag, parsed, "", delivery.redelivered))
    return events, passed


def _expected() -> tuple[list[tuple[object, ...]], bytes]:
    # The library can't read the names of delivery 6 at all.
    events, passed = _as_the_library(STREAM.replace(b"\x01\xfe\x04a.\xff\xfe", b"\x01X\x04a.YZ"))
    position = next(at for at, event in enumerate(events) if event[3] == 6)
    _, _, body, tag, (headers, meta), _, redelivered = events[position]  # type: ignore[misc]
    reason = "'utf-8' codec can't decode byte 0xfe in position 0: invalid start byte"
    defect = f"a name in the delivery can't be read: {reason}"
    meta = {**meta, "exchange": r"\xfe"}  # type: ignore[has-type]
    events[position] = ("feed", r"a.\xff\xfe", body, tag, (headers, meta), defect, redelivered)  # type: ignore[has-type]
    return events, passed


def test_the_stream_is_read_as_the_library_would() -> None:
    """Every event has the topic, body, headers and meta that the library's parser finds; other frames are untouched."""
    events, passed = _read([STREAM])
    assert (events, passed) == _expected()
    assert passed == OTHER + HEARTBEAT * 2 + BLOCKED * 2
    assert [event[3] for event in events] == list(range(1, 12))
    assert [event[3] for event in events if event[6]] == [3, 10]
    headers, _ = events[8][4]  # type: ignore[misc]
    assert "".join(headers) == "tbBsuIilLfdDSVATFx"  # type: ignore[has-type]


def test_cut_at_every_position() -> None:
    """Wherever the network cuts the stream in two, the events are the same."""
    for at in range(len(STREAM) + 1):
        assert _same([STREAM[:at], STREAM[at:]]), at


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 64, 300])
def test_in_pieces_of_every_size(size: int) -> None:
    """Byte by byte or in larger pieces, the events are the same."""
    assert _read([STREAM[at : at + size] for at in range(0, len(STREAM), size)]) == _expected()


short_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40).filter(
    lambda text: len(text.encode()) < 256
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, width=32)
    | short_text
    | st.binary(max_size=20).map(bytearray)
    | st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001
        lambda when: when.replace(microsecond=0)
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(short_text, inner, max_size=3),
    max_leaves=8,
)
properties = st.builds(
    Basic.Properties,
    content_type=st.none() | short_text,
    headers=st.none() | st.dictionaries(short_text, values, max_size=4),
    delivery_mode=st.sampled_from([None, 1, 2]),
    priority=st.none() | st.integers(0, 255),
    correlation_id=st.none() | short_text,
    reply_to=st.none() | short_text,
    expiration=st.none() | st.integers(0, 10**9).map(str),
    message_id=st.none() | short_text,
    timestamp=st.none() | st.integers(0, 2**32 - 1).map(lambda at: datetime.fromtimestamp(at, tz=UTC)),
    app_id=st.none() | short_text,
)
messages = st.tuples(
    st.binary(max_size=40),
    properties | st.sampled_from(list(BAD_PROPERTIES.values())),
    st.sampled_from([b"", b"a.b", b"order.paid", "é".encode()]),
    st.booleans(),
    st.integers(1, 40),
    st.sampled_from([b"", HEARTBEAT, BLOCKED]),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(messages, min_size=1, max_size=6), st.lists(st.integers(0, 3000), max_size=8))
def test_any_messages_in_any_pieces(sent: list[Any], cuts: list[int]) -> None:
    """With any properties, bodies, frames and pieces, the events are those of the library's parser."""
    stream = b""
    for number, (body, props, key, redelivered, most, between) in enumerate(sent, 1):
        start = deliver(number, key, b"shop", redelivered=redelivered)
        stream += between.join([start, header(len(body), props), *bodies(body, most)])
    at = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    pieces = [stream[begin:end] for begin, end in pairwise(at)]
    assert _read(pieces) == _as_the_library(stream)


@pytest.mark.parametrize("name", BAD_PROPERTIES)
def test_an_unreadable_property_is_found_when_asked_for(name: str) -> None:
    """A property that cannot be decoded does not change the event; only asking for headers or meta fails."""
    events: list[Event] = []
    _reader().feed(message(1, b"body", BAD_PROPERTIES[name]) + message(2, b"next"), events)
    assert [(event.topic, event.body, event.defect) for event in events] == [("key", b"body", ""), ("key", b"next", "")]
    with pytest.raises(BadEvent, match="a property can't be read") as caught:
        events[0].details()
    assert caught.value.reason == "decode"
    assert events[1].details()[0] == {}


def test_a_header_that_json_cannot_hold_leaves_the_others() -> None:
    """NaN and what is nested too deeply are left out; every other header is there."""
    deep: list[Any] = []
    for _ in range(70):
        deep = [deep]
    raw: Any = {
        "trace": "t-1",
        "nan": math.nan,
        "deep": deep,
        "ratio": 0.5,
        "table": {"at": datetime(2026, 1, 2, tzinfo=UTC)},
    }
    headers, _ = details(Basic.Properties(headers=raw), "shop", False)
    assert headers == {"trace": "t-1", "ratio": 0.5, "table": {"at": "2026-01-02T00:00:00+00:00"}}


def test_a_large_body_in_small_pieces() -> None:
    """A body of many frames, of which each comes in many packets, is one event."""
    body = bytes(range(256)) * 20_000
    stream = b"".join([deliver(1), header(len(body)), *bodies(body)]) + message(2, b"next")
    reader, events = _reader(), list[Event]()
    for at in range(0, len(stream), 1460):
        reader.feed(stream[at : at + 1460], events)
    assert [event.body for event in events] == [body, b"next"]


def test_more_topics_than_are_remembered() -> None:
    """Ten thousand topics, short and long, are each told apart, before and after the memory for them was cleared."""
    keys = [f"{number}.{'x' * (number % 200)}" for number in range(10_000)]
    stream = b"".join([message(tag, b"b", key=key.encode()) for tag, key in enumerate(keys + keys, 1)])
    events: list[Event] = []
    _reader().feed(stream, events)
    assert [event.topic for event in events] == keys + keys


GOOD = message(1, b"body")
GARBAGE = {
    "no frame at all": (b"HTTP/1.1 400 Bad Request\r\n", "not AMQP 0-9-1"),
    "another version": (b"AMQP\x00\x01\x00\x00", "not AMQP 0-9-1"),
    "a frame without its end": (frame(3, b"x", channel=0)[:-1] + b"\x00", "without its end"),
    "a body without its end": (message(2, b"body")[:-1] + b"\x00", "without its end"),
    "an oversized frame": (b"\x01\x00\x01\xff\xff\xff\xff", "a frame of 4294967295 bytes"),
    "an oversized body": (deliver(2) + header(2**40), "a body of 1099511627776 bytes"),
    "a longer body than was announced": (deliver(2) + header(3) + frame(3, b"1234"), "a body of 4 bytes"),
    "a body frame without a byte": (deliver(2) + header(3) + frame(3, b""), "breaks off"),
    "a body without its delivery": (frame(3, b"x"), "without their delivery"),
    "a header without its delivery": (header(1), "without their delivery"),
    "a body instead of a header": (deliver(2) + frame(3, b"x"), "breaks off"),
    "a second header": (deliver(2) + header(3) + header(3), "breaks off"),
    "a header that is too short": (deliver(2) + frame(2, b"\x00\x3c\x00\x00"), "breaks off"),
    "a header of another channel": (deliver(2) + frame(2, header(4)[7:-1], 2) + frame(3, b"body"), "breaks off"),
    "a delivery within a delivery": (deliver(2) + deliver(3), "without its parts"),
    "a delivery left out": (message(3, b"body"), "delivery 3 came after 1"),
    "a delivery twice": (message(1, b"body"), "delivery 1 came after 1"),
    "names beyond their frame": (
        frame(1, deliver(2, b"key")[7:-1] + b"x"),
        "can't be read",
    ),
}


@pytest.mark.parametrize("name", GARBAGE)
@pytest.mark.parametrize("size", [1, 1000])
def test_garbage_is_refused(name: str, size: int) -> None:
    """An invalid stream is refused at once, without waiting for more; a delivery before it is an event."""
    garbage, cause = GARBAGE[name]
    stream = GOOD + garbage
    reader, events = _reader(), list[Event]()

    def feed() -> None:
        for at in range(0, len(stream), size):
            reader.feed(stream[at : at + size], events)

    with pytest.raises(BadFrame, match=cause):
        feed()
    assert [event.body for event in events] == [b"body"]


@settings(max_examples=400, deadline=None)
@given(st.integers(0, len(STREAM) - 1), st.integers(1, 255), st.integers(1, 200))
def test_a_flipped_bit_never_hangs(at: int, flip: int, piece: int) -> None:
    """With any byte changed, the stream is refused or read, and the details of each event can be read or are refused."""
    stream = STREAM[:at] + bytes([STREAM[at] ^ flip]) + STREAM[at + 1 :]
    reader, events = _reader(), list[Event]()
    try:
        for begin in range(0, len(stream), piece):
            reader.feed(stream[begin : begin + piece], events)
    except BadFrame:
        pass
    for event in events:
        _seen(event)
