"""AMQP bodies that are too large to be held: the beginning is kept, the rest is skipped, and the next deliveries flow."""

from __future__ import annotations

import asyncio
import struct
import threading
from collections.abc import Callable
from typing import Any

import pamqp.frame
import pytest
from pamqp.commands import Basic, Connection

from bridge.config import Amqp
from bridge.errors import Disconnected
from bridge.model.event import KEPT_BODY_BYTES, Event
from bridge.sources.amqp.deliveries import DeliveryReader
from bridge.sources.amqp.frames import BadFrame, FrameReader
from bridge.sources.amqp.source import AmqpSource
from tests.support.amqp_wire import (
    BAD_PROPERTIES,
    HEARTBEAT,
    NOWHERE,
    TAG,
    Broker,
    bodies,
    deliver,
    frame,
    header,
    message,
)
from tests.support.brokers import RabbitMQ, Redis
from tests.support.children import wait_until
from tests.support.feeds import AmqpFeed
from tests.support.processes import Bridges, queue_messages

#: 1 MiB above a `max_body` of 1 KiB is still held whole; this is a byte more.
SIZE = (1 << 20) + 1024 + 1
BODY = (bytes(range(251)) * (SIZE // 251 + 1))[:SIZE]
PROPERTIES = Basic.Properties(message_id="m", headers={"plant": "p1"})


async def _received(broker: Broker, fast_path: bool, count: int, **settings: Any) -> tuple[list[Event], str]:
    """Connect to a scripted broker, acknowledge `count` events and return them; or how the session ended instead."""
    async with broker.serve():
        config = Amqp.model_validate(
            {
                "type": "amqp",
                "url": f"amqp://127.0.0.1:{broker.port}/",
                "queue": "q",
                "fast_path": fast_path,
                **settings,
            }
        )
        events: list[Event] = []
        try:
            async with AmqpSource("s", config, NOWHERE).connect() as session, asyncio.timeout(60):
                while len(events) < count:
                    events += await session.receive()
                await session.acknowledge(events)
        except Disconnected as ended:
            return events, ended.cause
        return events, ""


@pytest.mark.parametrize("piece", [4000, 1_000_000])
async def test_of_a_body_that_is_too_large_only_the_beginning_is_held(fast_path: bool, piece: int) -> None:
    """1 MiB above `max_body` it is still whole; a byte more, and 16 KiB are kept, in both ways to read."""
    data = message(1, BODY[:-1], PROPERTIES) + message(2, BODY, PROPERTIES, key=b"k") + message(3, b"after")
    broker = Broker([data[at : at + piece] for at in range(0, len(data), piece)])
    events, cause = await _received(broker, fast_path, 3, max_body="1KiB")
    assert not cause
    whole, cut, after = events
    assert (whole.body, whole.skipped) == (BODY[:-1], 0)
    assert (cut.topic, cut.body, cut.skipped) == ("k", BODY[:KEPT_BODY_BYTES], SIZE - KEPT_BODY_BYTES)
    assert cut.details()[0] == {"plant": "p1"}
    assert cut.details()[1]["message_id"] == "m"
    assert cut.size < 2 * KEPT_BODY_BYTES
    assert (after.body, after.skipped) == (b"after", 0)


async def test_properties_of_a_large_body_that_cannot_be_read(fast_path: bool) -> None:
    """Both faults at once: the event still comes, with its beginning."""
    data = message(1, BODY, BAD_PROPERTIES["a content type that is not UTF-8"]) + message(2, b"after")
    events, cause = await _received(Broker([data]), fast_path, 2, max_body="1KiB")
    assert not cause
    assert [(event.body, event.skipped > 0) for event in events] == [(BODY[:KEPT_BODY_BYTES], True), (b"after", False)]


async def test_a_large_body_with_more_bytes_than_announced_ends_the_connection(fast_path: bool) -> None:
    """As with a small one."""
    data = b"".join([deliver(1), header(SIZE), *bodies(BODY + b"x" * 200_000, 100_000)])
    _, cause = await _received(Broker([data]), fast_path, 1, max_body="1KiB")
    assert "delivery 1 has" in cause


async def test_the_library_sees_life_while_a_body_is_skipped() -> None:
    """Each skipped frame is a heartbeat to it, or it would end the connection in the middle of a slow body."""
    reader = FrameReader(asyncio.get_running_loop(), 1000)
    frames = [deliver(1), header(40_000), *bodies(b"x" * 40_000, 10_000), HEARTBEAT]
    reader.feed_data(b"".join(frames))
    seen = []
    for _ in frames:
        start = await reader.readexactly(1) + await reader.readexactly(6)
        seen.append(start + await reader.readexactly(struct.unpack(">I", start[3:])[0] + 1))
    assert seen[1][11:19] == KEPT_BODY_BYTES.to_bytes(8)
    assert seen[2:5] == [HEARTBEAT] * 3
    assert seen[5] == frame(3, b"x" * KEPT_BODY_BYTES)
    assert seen[6] == HEARTBEAT
    assert reader.skipped == {1: 40_000 - KEPT_BODY_BYTES}


@pytest.mark.parametrize(("proposed", "agreed_to"), [(0, 131_072), (2**31 - 1, 131_072), (2**32 - 1, 131_072),
                                                     (131_073, 131_072), (131_072, 131_072), (4096, 4096)])  # fmt: skip
async def test_frames_without_a_limit_or_with_a_huge_one_are_not_agreed_to(
    fast_path: bool, proposed: int, agreed_to: int
) -> None:
    """A broker with `frame_max = 0`, or 2 GiB, would send a body in one frame: RabbitMQ's default is agreed to instead."""
    without = pamqp.frame.marshal(Connection.Tune(2047, 0, 60), 0)
    tune = without[:13] + struct.pack(">I", proposed) + without[17:]
    if fast_path:
        passed = DeliveryReader("s").feed(tune, [])
    else:
        reader = FrameReader(asyncio.get_running_loop())
        reader.feed_data(tune)
        passed = await reader.readexactly(len(tune))
    agreed: Any = pamqp.frame.unmarshal(passed)[2]
    assert agreed.frame_max == agreed_to


@pytest.mark.parametrize("proposed", [0, 2**31 - 1])
async def test_a_body_in_one_huge_frame_is_not_buffered(fast_path: bool, proposed: int) -> None:
    """A broker that sends one nevertheless, of 300 MiB, is refused at its first bytes."""
    start = struct.pack(">BHI", 3, 1, 300 << 20)
    broker = Broker(
        [deliver(1) + header(300 << 20) + start + b"x" * 1000],
        replies={"Connection.StartOk": Connection.Tune(2047, proposed, 60)},
    )
    events, cause = await _received(broker, fast_path, 1)
    assert "a frame of 314572800 bytes, where 131072 were agreed upon" in cause
    assert events == []


def test_a_reader_refuses_a_body_of_more_than_rabbitmq_allows() -> None:
    """Before it has come."""
    reader = DeliveryReader("s", 1000)
    reader.consume(1, TAG)
    with pytest.raises(BadFrame, match="a body of 1073741824 bytes"):
        reader.feed(deliver(1) + header(1 << 30), [])


def test_a_huge_body_stops_none_behind_it(
    rabbitmq: RabbitMQ, new_redis: Callable[..., Redis], either_bridge: Bridges
) -> None:
    """100 MiB cost less than 40 MiB of memory: it is a dead letter with its true size, and five good events arrive."""
    feed, sink = AmqpFeed(rabbitmq), new_redis()
    feed.prepare()
    bridge = either_bridge(feed.config(sink)).ready()
    before = bridge.rss_bytes()
    payloads: list[dict[str, Any]] = [{"n": -1, "text": "x" * (100 << 20)}, *({"n": n} for n in range(5))]
    publishing = threading.Thread(target=feed.publish, args=(payloads,), daemon=True)
    publishing.start()
    grown = 0
    client: Any
    with sink.client() as client:

        def arrived() -> bool:
            nonlocal grown
            grown = max(grown, bridge.rss_bytes() - before)
            return int(client.llen("dramatiq:default")) >= 5

        wait_until(arrived, 60, "the good events")
        publishing.join(30)
        assert [entry["args"] for entry in queue_messages(client, "default")] == [[n] for n in range(5)]
        ((_, letter),) = client.xrange("dramatiq-bridge:dead-letters")
    assert letter[b"reason"] == b"too-large"
    assert int(letter[b"body_size"]) > 100 << 20
    assert letter[b"body_cut"] == b"1"
    assert grown < 40 << 20, f"grew by {grown / 2**20:.1f} MiB"
    assert bridge.events("source.disconnected") == []
    bridge.terminate()
    assert bridge.wait() == 0
    assert feed.unacknowledged() == 0
