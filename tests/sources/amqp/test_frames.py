"""The library's own path of AMQP: it gets only frames it can decode, and none while the window is full."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

import pytest
from pamqp import frame as pamqp
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from bridge.sources.amqp.frames import BadFrame, FrameReader
from tests.support.amqp_wire import BAD_PROPERTIES, HEARTBEAT, deliver, frame, header


@pytest.mark.parametrize("properties", BAD_PROPERTIES.values(), ids=BAD_PROPERTIES)
async def test_properties_that_cannot_be_read_are_left_out(properties: bytes) -> None:
    """The library gets a header without properties, with the body's size unchanged; the session gets the one that came."""
    reader = _reader()
    first, repaired = await _read(reader, [deliver(7), header(8, properties)])
    assert first == deliver(7)
    parsed = pamqp.unmarshal(repaired)[2]
    assert isinstance(parsed, ContentHeader)
    assert parsed.body_size == 8
    assert parsed.properties == Basic.Properties()
    assert reader.headers == {7: header(8, properties)[7:-1]}
    assert reader.unreadable_names == {}


async def test_properties_that_the_library_would_read_slowly_are_left_out() -> None:
    """The library needs quadratic time: beyond 32 KiB it gets none, and the session all of them."""
    small, large = (Basic.Properties(headers={"h": "x" * size}) for size in (30_000, 33_000))
    reader = _reader()
    _, kept, _, repaired = await _read(reader, [deliver(1), header(8, small), deliver(2), header(8, large)])
    assert kept == header(8, small)
    assert pamqp.unmarshal(repaired)[2].properties == Basic.Properties()  # type: ignore[union-attr]
    assert reader.headers == {2: header(8, large)[7:-1]}


async def test_a_routing_key_that_is_not_utf8_is_escaped() -> None:
    """The delivery is unchanged but for the key; the error is kept apart."""
    sent = [deliver(77, b"a.\xff\xfe", b"x", redelivered=True, to="tag"), header(5)]
    reader = _reader()
    first, second = await _read(reader, sent)
    parsed: Any = pamqp.unmarshal(first)[2]
    assert (parsed.consumer_tag, parsed.delivery_tag, parsed.redelivered) == ("tag", 77, True)
    assert (parsed.exchange, parsed.routing_key) == ("x", r"a.\xff\xfe")
    assert second == sent[1]
    assert "a name in the delivery can't be read" in reader.unreadable_names[77]


async def test_frames_that_the_library_can_read_are_unchanged() -> None:
    """Every other frame arrives byte by byte as the broker sent it, however the bytes were cut."""
    properties = Basic.Properties(content_type="é", headers={"a": 1, "b": [True, None]}, message_id="m")
    sent = [deliver(1, "é".encode()), header(3, properties), frame(3, b"\xff\x00\xce"), HEARTBEAT, frame(3, b"")]
    for piece in (1, 2, 7, 1000):
        assert await _read(_reader(), sent, piece) == sent


async def test_nothing_is_read_while_the_window_is_full() -> None:
    """Between `pause_reading` and `resume_reading` the library stays at the beginning of a frame."""
    reader = _reader()
    reader.pause_reading()
    reader.feed_data(HEARTBEAT)
    waiting = asyncio.create_task(reader.readexactly(1))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    reader.resume_reading()
    assert await waiting == b"\x08"


@pytest.mark.parametrize(
    ("sent", "cause"),
    [
        (b"\x01\x00\x01\xff\xff\xff\xff", "a frame of 4294967295 bytes"),
        (header(2**40), "a body of 1099511627776 bytes"),
    ],
    ids=["frame", "body"],
)
async def test_sizes_beyond_reason_are_refused(sent: bytes, cause: str) -> None:
    """A size that no broker would announce ends the connection instead of filling the memory."""
    with pytest.raises(BadFrame, match=cause):
        await _read(_reader(), [sent])


def _reader() -> FrameReader:
    return FrameReader(asyncio.get_running_loop())


async def _read(reader: FrameReader, frames: list[bytes], piece: int = 1000) -> list[bytes]:
    """Feed the frames in pieces, and read them as aiormq does: 1 byte, 6 bytes, the rest."""
    stream = b"".join(frames)
    for start in range(0, len(stream), piece):
        reader.feed_data(stream[start : start + piece])
    reader.feed_eof()
    frames_read = []
    for _ in frames:
        head = await reader.readexactly(1) + await reader.readexactly(6)
        frames_read.append(head + await reader.readexactly(struct.unpack(">I", head[3:])[0] + 1))
    return frames_read
