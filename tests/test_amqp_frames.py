"""Messages that the AMQP library cannot read become dead letters, and the queue goes on."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Any

import aio_pika
import pytest
from pamqp import frame as pamqp
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from bridge.sources.amqp_frames import DEFECT_HEADER, FrameReader
from tests.brokers import RabbitMQ, Redis
from tests.children import wait_until
from tests.feeds import AmqpFeed
from tests.processes import BridgeProcess, queue_messages

#: Properties as they stand on the wire: two bytes of flags, then the values.
BAD_PROPERTIES = {
    "a content type that is not UTF-8": b"\x80\x00\x03\xff\xfe\xfd",
    "a header's name that is not UTF-8": b"\x20\x00" + struct.pack(">I", 6) + b"\x01\xffS" + b"\x00" * 3,
    "a timestamp in nanoseconds": b"\x00\x40" + struct.pack(">Q", 1_700_000_000_000_000_000),
    "flags without an end": b"\x80\x01",
}


class _Raw(Basic.Properties):
    """Properties that go to the wire as they are."""

    raw = b""

    def marshal(self) -> bytes:
        return self.raw


@pytest.mark.parametrize("name", ["a content type that is not UTF-8", "a timestamp in nanoseconds"])
def test_an_unreadable_property_is_a_dead_letter(
    rabbitmq: RabbitMQ, redis_server: Redis, new_bridge: Callable[..., BridgeProcess], name: str
) -> None:
    """A property that nobody can decode costs its own message a dead letter, and holds up no other."""
    feed = AmqpFeed(rabbitmq)
    feed.prepare()
    bridge = new_bridge(feed.config(redis_server)).ready()
    feed.publish([{"n": 1}])
    asyncio.run(_publish_raw(rabbitmq.url, feed.name, b'{"n": 2}', BAD_PROPERTIES[name]))
    feed.publish([{"n": 3}])
    with redis_server.client() as client:
        wait_until(lambda: client.llen("dramatiq:default") == 2, 20, "the readable messages")
        assert [message["args"] for message in queue_messages(client, "default")] == [[1], [3]]
        ((_, letter),) = _answer(client.xrange("dramatiq-bridge:dead-letters"))
        assert letter[b"reason"] == b"decode"
        assert b"a property can't be read" in letter[b"error"]
        assert letter[b"body"] == b'{"n": 2}'
    assert len(bridge.events("source.connected")) == 1
    bridge.terminate()
    assert bridge.wait() == 0
    assert feed.unsettled() == 0


@pytest.mark.parametrize("properties", BAD_PROPERTIES.values(), ids=BAD_PROPERTIES)
async def test_a_header_that_cannot_be_read_is_replaced(properties: bytes) -> None:
    """The library gets a header that says what was wrong, with the body's size as it was."""
    payload = struct.pack(">HHQ", 60, 0, 8) + properties
    (repaired,) = await _read([_frame(2, payload)])
    header = pamqp.unmarshal(repaired)[2]
    assert isinstance(header, ContentHeader)
    assert header.body_size == 8
    assert "can't be read" in str((header.properties.headers or {})[DEFECT_HEADER])


async def test_a_routing_key_that_is_not_utf8_is_escaped() -> None:
    """The delivery stays what it was, but for the key; its message says what was wrong."""
    arguments = b"\x03tag" + struct.pack(">QB", 77, 1) + b"\x01x" + b"\x04a.\xff\xfe"
    header = ContentHeader(body_size=5).marshal()
    first, second = await _read([_frame(1, b"\x00\x3c\x00\x3c" + arguments), _frame(2, header)])
    deliver: Any = pamqp.unmarshal(first)[2]
    assert (deliver.consumer_tag, deliver.delivery_tag, deliver.redelivered) == ("tag", 77, True)
    assert (deliver.exchange, deliver.routing_key) == ("x", r"a.\xff\xfe")
    repaired: Any = pamqp.unmarshal(second)[2]
    assert "a name in the delivery can't be read" in repaired.properties.headers[DEFECT_HEADER]


async def test_what_the_library_can_read_is_untouched() -> None:
    """Every other frame arrives byte by byte as the broker sent it, however the bytes were cut."""
    properties = Basic.Properties(content_type="é", headers={"a": 1, "b": [True, None]}, message_id="m")
    frames = [
        _frame(1, b"\x00\x3c\x00\x3c" + b"\x03tag" + struct.pack(">QB", 1, 0) + b"\x00" + b"\x02\xc3\xa9"),
        _frame(2, ContentHeader(body_size=3, properties=properties).marshal()),
        _frame(3, b"\xff\x00\xce"),
        _frame(8, b""),
        _frame(3, b""),
    ]
    for piece in (1, 2, 7, 1000):
        assert await _read(frames, piece) == frames


async def test_nothing_is_read_while_the_window_is_full() -> None:
    """A closed gate holds the library back at the beginning of a frame."""
    gate = asyncio.Event()
    reader = FrameReader(gate, asyncio.get_running_loop())
    reader.feed_data(_frame(8, b""))
    waiting = asyncio.create_task(reader.readexactly(1))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    gate.set()
    assert await waiting == b"\x08"


def _frame(kind: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, 1, len(payload)) + payload + b"\xce"


async def _read(frames: list[bytes], piece: int = 1000) -> list[bytes]:
    """Feed the frames in pieces, and read them as aiormq does: 1 byte, 6 bytes, the rest."""
    gate = asyncio.Event()
    gate.set()
    reader = FrameReader(gate, asyncio.get_running_loop())
    stream = b"".join(frames)
    for start in range(0, len(stream), piece):
        reader.feed_data(stream[start : start + piece])
    reader.feed_eof()
    found = []
    for _ in frames:
        head = await reader.readexactly(1) + await reader.readexactly(6)
        found.append(head + await reader.readexactly(struct.unpack(">I", head[3:])[0] + 1))
    return found


async def _publish_raw(url: str, queue: str, body: bytes, properties: bytes) -> None:
    raw = _Raw()
    raw.raw = properties
    async with await aio_pika.connect(url) as connection, connection.channel() as channel:
        underlay = await channel.get_underlay_channel()
        await underlay.basic_publish(body, routing_key=queue, properties=raw)


def _answer(value: object) -> Any:
    return value
