"""AMQP as bytes: frames and messages as RabbitMQ would send them, and a broker that sends any bytes a test gives it."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from pamqp import frame as pamqp
from pamqp.commands import Basic, Channel, Connection, Queue
from pamqp.common import FieldTable

from bridge.config import Dramatiq

#: Dramatiq's Redis, for a source of a queue: only that of a stream asks it.
NOWHERE: Final = Dramatiq.model_validate({"url": "redis://127.0.0.1:1"})
TAG = "dramatiq-bridge"
HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"
#: Properties as they stand on the wire: two bytes of flags, then the values.
BAD_PROPERTIES = {
    "a content type that is not UTF-8": b"\x80\x00\x03\xff\xfe\xfd",
    "a header's name that is not UTF-8": b"\x20\x00" + struct.pack(">I", 6) + b"\x01\xffS" + b"\x00" * 3,
    "a timestamp in nanoseconds": b"\x00\x40" + struct.pack(">Q", 1_700_000_000_000_000_000),
    "flags without an end": b"\x80\x01",
}


def frame(kind: int, payload: bytes, channel: int = 1) -> bytes:
    """One frame."""
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def deliver(tag: int, key: bytes = b"key", exchange: bytes = b"", *, redelivered: bool = False, to: str = TAG) -> bytes:
    """The method frame of a delivery."""
    consumer = to.encode()
    names = b"".join(bytes([len(name)]) + name for name in (exchange, key))
    head = b"\x00\x3c\x00\x3c" + bytes([len(consumer)]) + consumer
    return frame(1, head + struct.pack(">QB", tag, redelivered) + names)


def header(size: int, properties: Basic.Properties | bytes = b"\x00\x00") -> bytes:
    """The header frame of a message; properties are an object or bytes."""
    raw = properties if isinstance(properties, bytes) else properties.marshal()
    return frame(2, struct.pack(">HHQ", 60, 0, size) + raw)


def bodies(body: bytes, most: int = 131_064) -> list[bytes]:
    """The body frames of a message, with at most so many bytes in each."""
    return [frame(3, body[at : at + most]) for at in range(0, len(body), most)]


def message(tag: int, body: bytes, properties: Basic.Properties | bytes = b"\x00\x00", **names: Any) -> bytes:
    """All frames of a delivery."""
    return b"".join([deliver(tag, **names), header(len(body), properties), *bodies(body)])


@dataclass
class Broker:
    """Answers a client's requests, and sends `data` right behind the answer to basic.consume, in these pieces."""

    data: Sequence[bytes]
    greeting: bytes = b""
    hang_up: bool = False
    port: int = 0
    acknowledged: list[tuple[int, bool]] = field(default_factory=list)
    writer: asyncio.StreamWriter | None = None
    #: The answers to queue.declare, one after another; the last one stays.
    found: tuple[Queue.DeclareOk | Channel.Close, ...] = (Queue.DeclareOk("q", 0, 0),)
    #: Other answers than the usual ones, by the name of the request.
    replies: dict[str, Any] = field(default_factory=dict)
    #: Requests at which the connection is reset.
    resets: set[str] = field(default_factory=set)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[Broker]:
        """Listen on a port of its own."""
        async with await asyncio.start_server(self._talk, "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield self
            if self.writer is not None:
                self.writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readexactly(8)
            capabilities: FieldTable = {"consumer_cancel_notify": True, "basic.nack": True}
            start = Connection.Start(0, 9, {"capabilities": capabilities}, "PLAIN", "en_US")
            writer.write(self.greeting or pamqp.marshal(start, 0))
            while True:
                head = await reader.readexactly(7)
                _, channel, size = struct.unpack(">BHI", head)
                await self._answer(pamqp.unmarshal(head + await reader.readexactly(size + 1))[2], channel, writer)
        writer.close()

    async def _answer(self, asked: Any, channel: int, writer: asyncio.StreamWriter) -> None:
        replies: dict[str, Any] = {
            "Connection.StartOk": Connection.Tune(2047, 131_072, 60),
            "Connection.Open": Connection.OpenOk(),
            "Connection.Close": Connection.CloseOk(),
            "Channel.Open": Channel.OpenOk(),
            "Channel.Close": Channel.CloseOk(),
            "Basic.Qos": Basic.QosOk(),
            **self.replies,
        }
        if asked.name in self.resets:
            writer.transport.abort()
            return
        if asked.name == "Queue.Declare":
            replies[asked.name], *later = self.found
            self.found = tuple(later) or self.found
        if asked.name in replies:
            writer.write(pamqp.marshal(replies[asked.name], channel))
        elif asked.name == "Basic.Ack":
            self.acknowledged.append((asked.delivery_tag, asked.multiple))
        elif asked.name == "Basic.Cancel":
            writer.write(pamqp.marshal(Basic.CancelOk(asked.consumer_tag), channel))
        elif asked.name == "Basic.Consume":
            first, *rest = [*self.data, b""]
            writer.write(pamqp.marshal(Basic.ConsumeOk(asked.consumer_tag), channel) + first)
            for piece in rest:
                await writer.drain()
                await asyncio.sleep(0.001)  # so that it arrives by itself
                writer.write(piece)
            if self.hang_up:
                writer.close()
