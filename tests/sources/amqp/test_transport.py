"""A connection of AMQP, on both paths, with a broker that sends data which RabbitMQ can't be made to send."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiormq
import pytest
import uvloop
from pamqp import frame as pamqp
from pamqp.commands import Basic, Channel, Connection

from bridge.config import Amqp
from bridge.errors import BadEvent, Disconnected
from bridge.model.event import Event
from bridge.sources.amqp.session import AmqpSession
from bridge.sources.amqp.source import AmqpSource
from bridge.sources.amqp.transport import FastTransport
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


def _config(broker: Broker, fast_path: bool, **settings: Any) -> Amqp:
    url = f"amqp://127.0.0.1:{broker.port}"
    return Amqp.model_validate({"type": "amqp", "url": url, "queue": "q", "fast_path": fast_path, **settings})


@asynccontextmanager
async def _session(
    broker: Broker, fast_path: bool, heartbeat: str = "10s", **window: Any
) -> AsyncIterator[AmqpSession]:
    async with broker.serve():
        config = _config(broker, fast_path, heartbeat=heartbeat, window=window, connect_timeout="10s")
        async with AmqpSource("feed", config, NOWHERE).connect() as session:
            yield session


async def _receive(session: AmqpSession, count: int) -> list[Event]:
    events: list[Event] = []
    while len(events) < count:
        events += await session.receive()
    return events


def _pieces(stream: bytes, size: int) -> Sequence[bytes]:
    return [stream[at : at + size] for at in range(0, len(stream), size)]


@pytest.mark.parametrize("size", [11, 100_000])
async def test_deliveries_right_behind_the_consent(fast_path: bool, size: int) -> None:
    """Deliveries that arrive together with the answer to basic.consume, whole or cut, are events, each once, in order."""
    properties = Basic.Properties(message_id="m", headers={"a": [1, "zwei"]})
    stream = b"".join(
        [
            message(1, b"one", properties, key=b"a.b", exchange=b"shop"),
            message(2, b""),
            HEARTBEAT,
            b"".join([deliver(3), HEARTBEAT, header(5), *bodies(b"three", 2)]),
            message(4, b"four", redelivered=True),
        ]
    )
    async with _session(Broker(_pieces(stream, size)), fast_path) as session:
        events = await _receive(session, 4)
    assert [(event.source, event.topic, event.body, event.token) for event in events] == [
        ("feed", "a.b", b"one", 1),
        ("feed", "key", b"", 2),
        ("feed", "key", b"three", 3),
        ("feed", "key", b"four", 4),
    ]
    assert [event.redelivered for event in events] == [False, False, False, True]
    headers, meta = events[0].details()
    assert headers == {"a": [1, "zwei"]}
    assert (meta["message_id"], meta["exchange"], meta["redelivered"]) == ("m", "shop", False)
    headers, meta = events[3].details()
    assert headers == {}
    assert (meta["message_id"], meta["exchange"], meta["redelivered"]) == (None, "", True)


async def test_an_unreadable_delivery_costs_no_other(fast_path: bool) -> None:
    """An unreadable property matters only if it is asked for; an unreadable routing key is the event's defect."""
    bad = [message(tag, b"x", raw) for tag, raw in enumerate(BAD_PROPERTIES.values(), 1)]
    names = message(5, b"x", Basic.Properties(message_id="m"), key=b"a.\xff", exchange=b"shop")
    async with _session(Broker([b"".join([*bad, names, message(6, b"next")])]), fast_path) as session:
        events = await _receive(session, 6)
    for event in events[:4]:
        assert (event.topic, event.body, event.defect) == ("key", b"x", "")
        with pytest.raises(BadEvent, match="a property can't be read"):
            event.details()
    assert (events[4].topic, events[4].body) == (r"a.\xff", b"x")
    assert events[4].defect.startswith("a name in the delivery can't be read: 'utf-8' codec can't decode byte 0xff")
    assert events[4].details()[1]["message_id"] == "m"
    assert (events[5].defect, events[5].body) == ("", b"next")


async def test_one_acknowledgement_covers_all_earlier_events(fast_path: bool) -> None:
    """Each `acknowledge` sends one acknowledgement of all events up to its last one."""
    broker = Broker([b"".join([message(tag, b"x") for tag in range(1, 301)])])
    async with _session(broker, fast_path) as session:
        events = await _receive(session, 300)
        await session.acknowledge(events[:10])
        await session.acknowledge(events[10:])
        await session.pause()
        assert await session.receive() == []
    assert broker.acknowledged == [(10, True), (300, True)]


ENDINGS = {
    "an oversized frame": (
        b"\x01\x00\x01\xff\xff\xff\xff",
        "a frame of 4294967295 bytes, where 131072 were agreed upon",
    ),
    "an oversized body": (deliver(2) + header(2**40), "a body of 1099511627776 bytes"),
    "a delivery left out": (message(3, b"x"), "delivery 3 came after 1"),
    "no frame at all": (b"HTTP/1.1 400 Bad Request\r\n", "this is not AMQP 0-9-1: b'HTTP/1."),
    "a frame without its end": (frame(1, b"\x00\x3c\x00\x1f\x00", channel=1)[:-1] + b"\x00", ""),
    "a method that nobody knows": (frame(1, b"\x00\xff\x00\xff"), ""),
    "half a delivery": (message(2, b"body")[:-3], ""),
    "the broker closes the channel": (
        pamqp.marshal(Channel.Close(406, "PRECONDITION_FAILED - delivery acknowledgement timed out", 0, 0), 1),
        "PRECONDITION_FAILED - delivery acknowledgement timed out",
    ),
    "the broker closes the connection": (
        pamqp.marshal(Connection.Close(320, "CONNECTION_FORCED - maintenance tonight", 0, 0), 0),
        "maintenance tonight",
    ),
    "the broker cancels the consumer": (pamqp.marshal(Basic.Cancel(TAG, nowait=True), 1), "cancelled the consumer"),
}


@pytest.mark.parametrize("name", ENDINGS)
async def test_the_end_has_a_cause(fast_path: bool, name: str) -> None:
    """Anything that breaks a connection ends its session at once, with its cause; nothing hangs."""
    sent, cause = ENDINGS[name]
    broker = Broker([message(1, b"x"), sent], hang_up=name == "half a delivery")
    async with _session(broker, fast_path) as session:
        with pytest.raises(Disconnected) as caught:
            await _receive(session, 99)
        assert session.ended
        assert caught.value.cause
        assert cause in caught.value.cause
        assert "other settings" not in caught.value.cause


@pytest.mark.parametrize(
    ("greeting", "cause"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not AMQP 0-9-1: b'HTTP/1."),
        (b"AMQP\x00\x01\x00\x00", "not AMQP 0-9-1: b'AMQP"),
        (b"\x01\x00\x00\xff\xff\xff\xff", "a frame of 4294967295 bytes"),
        (b"\x08", ""),
    ],
)
async def test_a_server_that_is_no_broker(fast_path: bool, greeting: bytes, cause: str) -> None:
    """If the server does not speak AMQP 0-9-1 no connection is made, and there is a cause."""
    broker = Broker([], greeting=greeting)
    async with broker.serve():
        # Short only for the server that says nothing.
        config = _config(broker, fast_path, connect_timeout="10s" if cause else "500ms")
        with pytest.raises(Disconnected) as caught:
            async with AmqpSource("feed", config, NOWHERE).connect():
                pass
    assert cause in caught.value.cause


async def test_no_more_is_read_than_the_window_holds(fast_path: bool) -> None:
    """With its bytes full a session reads no further, however much the broker sends; with room it continues."""
    count, body = 400, b"x" * 65_536
    broker = Broker([b"".join([message(tag, body) for tag in range(1, count + 1)])])
    taken = 0
    async with _session(broker, fast_path, events=1000, bytes="512KiB") as session:
        await asyncio.sleep(0.3)
        while taken < count:
            await asyncio.sleep(0.01)
            assert session.waiting * len(body) <= 1_500_000  # the window, and a receive buffer
            events = await session.receive()
            assert events[0].token == taken + 1
            await session.acknowledge(events)
            taken += len(events)


async def test_deliveries_are_signs_of_life(fast_path: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """While deliveries come the connection is alive, also where the broker sends no heartbeats."""
    monkeypatch.setattr(aiormq.connection.Connection, "HEARTBEAT_GRACE_MULTIPLIER", 1)
    broker = Broker([message(tag, b"x") for tag in range(1, 3)])
    async with _session(broker, fast_path, heartbeat="2s") as session:  # the library's patience is 3 s then
        await _receive(session, 2)
        for tag in range(3, 8):
            await asyncio.sleep(0.7)
            assert broker.writer is not None
            broker.writer.write(message(tag, b"x"))
            (event,) = await session.receive()
            await session.acknowledge([event])
        with pytest.raises(Disconnected):  # now nothing comes
            await session.receive()


async def test_the_librarys_path_where_its_seam_has_moved(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If the library no longer asks for our transport the source works without it, and logs it with the cause."""
    made = aiormq.connection.Connection.__init__

    def without(self: Any, *args: Any, transport_factory: object = None, **kwargs: Any) -> None:
        made(self, *args, **kwargs)

    monkeypatch.setattr(aiormq.connection.Connection, "__init__", without)
    broker = Broker([message(1, b"one") + message(2, b"two")])
    async with _session(broker, fast_path=True) as session:
        events = await _receive(session, 2)
        assert [event.body for event in events] == [b"one", b"two"]
        await session.acknowledge(events)
        await session.pause()
    assert broker.acknowledged == [(2, True)]
    captured = capsys.readouterr()
    assert "source.fast_path_unavailable" in captured.out + captured.err


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_late_acknowledgement_does_no_harm(fast_path: bool, loop: str) -> None:
    """With the window full and the broker gone an acknowledgement does nothing, on either event loop."""
    factory = None if loop == "asyncio" else uvloop.new_event_loop
    body = b"x" * 900

    async def run() -> None:
        broker = Broker([message(tag, body) for tag in range(1, 21)])
        async with _session(broker, fast_path, bytes="8KiB") as session:
            events = await _receive(session, 9)
            await session.acknowledge(events[:2])
            assert broker.writer is not None
            broker.writer.transport.abort()
            with pytest.raises(Disconnected):
                await _acknowledge_one_by_one(session, events[2:4])
            assert session.ended
            await session.acknowledge(events[4:])
            await session.pause()
        await session.acknowledge([])

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(run())


async def _acknowledge_one_by_one(session: AmqpSession, events: list[Event]) -> None:
    """Acknowledge the events one by one, then all that are received after them."""
    for event in events:
        await session.acknowledge([event])
    while True:
        await session.acknowledge(await session.receive())


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_window_that_stays_full_keeps_no_broker_waiting(fast_path: bool, loop: str) -> None:
    """With its bytes full for long a session reads and discards deliveries; the events it holds are acknowledged, and it ends."""
    count, body = 400, b"x" * 65_536

    async def run() -> None:
        broker = Broker([b"".join([message(tag, body) for tag in range(1, count + 1)])])
        async with _session(broker, fast_path, heartbeat="1s", bytes="512KiB") as session:
            held = await session.receive()
            assert broker.writer is not None
            async with asyncio.timeout(60):
                await broker.writer.drain()  # it has sent everything
            await asyncio.sleep(2.5)  # the library's patience is 6 s
            assert not session.ended
            await session.acknowledge(held)
            while session.waiting:
                held = await session.receive()
                await session.acknowledge(held)
            with pytest.raises(Disconnected, match="the window was full for long"):
                await session.receive()
        (last, _) = broker.acknowledged[-1]
        assert last == held[-1].token
        assert last * len(body) <= 1_500_000  # the window, and a receive buffer

    with asyncio.Runner(loop_factory=None if loop == "asyncio" else uvloop.new_event_loop) as runner:
        runner.run(run())


async def test_a_blocked_connection_acknowledges(fast_path: bool) -> None:
    """A connection that the broker blocks (it means publishers) is still read, and its events acknowledged."""
    blocked = pamqp.marshal(Connection.Blocked("low on memory"), 0)
    broker = Broker([message(1, b"x") + blocked + message(2, b"x")])
    async with _session(broker, fast_path) as session:
        await session.acknowledge(await _receive(session, 2))
        assert broker.writer is not None
        broker.writer.write(message(3, b"x") + pamqp.marshal(Connection.Unblocked(), 0) + message(4, b"x"))
        await session.acknowledge(await _receive(session, 2))
        await session.pause()
        assert await session.receive() == []
    assert broker.acknowledged[-1] == (4, True)


async def test_a_closed_channel_acknowledges_nothing_anywhere(fast_path: bool) -> None:
    """Events of a closed channel are not acknowledged any more, neither on their session nor on the next one."""
    broker = Broker([message(1, b"x")])
    async with _session(broker, fast_path) as session:
        events = await session.receive()
        assert broker.writer is not None
        broker.writer.write(pamqp.marshal(Channel.Close(406, "PRECONDITION_FAILED - timed out", 0, 0), 1))
        with pytest.raises(Disconnected, match="timed out"):
            await session.receive()
        async with AmqpSource("feed", _config(broker, fast_path), NOWHERE).connect() as other:
            assert [event.token for event in await other.receive()] == [1]
            await session.acknowledge(events)
            await other.pause()  # its answer comes after any acknowledgement
            assert broker.acknowledged == []


async def test_reading_again_on_a_connection_that_has_ended_does_no_harm() -> None:
    """A stop that cancels a connect closes uvloop's transport at once; leaving the source resumes reading all the same."""

    class Closed(asyncio.Transport):
        def resume_reading(self) -> None:
            raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")

    transport = FastTransport("feed", asyncio.get_running_loop(), 1 << 20)
    transport.resume_reading()
    transport.connection_made(Closed())
    transport.resume_reading()
