"""A scripted MQTT broker that sends exactly the bytes of a test, and sessions with it."""

from __future__ import annotations

import asyncio
import ctypes
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import pytest

from bridge.config import Dramatiq, Mqtt
from bridge.errors import Disconnected
from bridge.model.event import Event
from bridge.sources.mqtt.packets import PUBACK
from bridge.sources.mqtt.session import MqttSession
from bridge.sources.mqtt.source import MqttSource
from tests.support.certificates import Certificates

#: For long tests: each way of reading and each version once, instead of all four combinations.
across = pytest.mark.parametrize(("fast_path", "version"), [(True, "5"), (False, "3.1.1")], ids=["fast-5", "library-3"])

_SO_ATTACH_FILTER: Final = 26
#: Nothing listens here: a source must work without Dramatiq's Redis.
NOWHERE = Dramatiq(url="redis://127.0.0.1:1/0")


class Script:
    """A broker of MQTT 5 for one connection: it grants every request, and sends the bytes it is told to."""

    def __init__(self) -> None:
        self.pings = True
        self.pinged = 0
        self.grants = True
        self.backlog = b""
        #: The answer to CONNECT; None: the connection is closed instead.
        self.connack: bytes | None = b"\x20\x03\x00\x00\x00"
        #: The answers to SUBSCRIBE, as reason codes, one after another; then each filter is granted at QoS 1.
        self.refusals: list[bytes] = []
        #: CONNECT, and the filters of each SUBSCRIBE and UNSUBSCRIBE.
        self.connect = b""
        self.subscribed: list[list[str]] = []
        self.unsubscribed: list[list[str]] = []
        self.received = bytearray()
        self._changed = asyncio.Condition()
        self._writer: asyncio.StreamWriter | None = None

    def say(self, *data: bytes) -> None:
        """Send."""
        assert self._writer is not None
        self._writer.writelines(data)

    def go_deaf(self) -> None:
        """Act like a host that is gone: every packet is dropped, and not even TCP answers (Linux)."""
        assert self._writer is not None
        nothing = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0))  # BPF: return 0
        program = struct.pack("HL", 1, ctypes.addressof(nothing))
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)

    def reset(self, *data: bytes) -> None:
        """Send, and reset the connection at once: the client sees both together."""
        assert self._writer is not None
        self.say(*data)
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def hang_up(self) -> None:
        """Close the connection."""
        assert self._writer is not None
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()

    async def until(self, data: bytes) -> None:
        """Wait until `data` has been received."""
        async with self._changed:
            await self._changed.wait_for(lambda: data in self.received)

    async def acknowledged(self, count: int) -> list[int]:
        """Wait for `count` PUBACKs and return the packet ids, in order."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.received) >= 4 * count)
        assert len(self.received) == 4 * count
        packets = [self.received[at : at + 4] for at in range(0, 4 * count, 4)]
        assert all(packet[:2] == PUBACK for packet in packets)
        return [int.from_bytes(packet[2:]) for packet in packets]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one client; packets that only the test can judge are kept in `received`."""
        self._writer = writer
        try:
            while True:
                first, size = await reader.readexactly(2)
                if size >= 0x80:
                    (more,) = await reader.readexactly(1)
                    assert more < 0x80, "no client of these tests sends a packet of 16 KiB"
                    size += (more - 1) << 7
                rest = await reader.readexactly(size)
                await self._answer(first, bytes((first, size & 0x7F)) + rest)
        except (asyncio.IncompleteReadError, ConnectionError):
            await self.hang_up()

    async def _answer(self, first: int, whole: bytes) -> None:
        match first >> 4:
            case 1:
                self.connect = whole
                if self.connack is None:
                    await self.hang_up()
                else:
                    self.say(self.connack)
            case 8:
                self.say(self.backlog)
                self.subscribed.append(_filters(whole, options=True))
                if self.grants:
                    codes = self.refusals.pop(0) if self.refusals else b"\x01" * len(self.subscribed[-1])
                    self.say(b"\x90", bytes([3 + len(codes)]), whole[2:4], b"\x00", codes)
            case 10:
                self.unsubscribed.append(_filters(whole, options=False))
                count = len(self.unsubscribed[-1])
                self.say(b"\xb0", bytes([3 + count]), whole[2:4], b"\x00" * (1 + count))
            case 12:
                self.pinged += 1
                if self.pings:
                    self.say(b"\xd0\x00")
            case 14:
                pass
            case _:
                async with self._changed:
                    self.received += whole
                    self._changed.notify_all()


def _filters(packet: bytes, *, options: bool) -> list[str]:
    """Return the filters of a SUBSCRIBE or UNSUBSCRIBE of MQTT 5; two bytes are before its packet id."""
    at = 5 + packet[4]
    filters = []
    while at < len(packet):
        end = at + 2 + int.from_bytes(packet[at : at + 2])
        filters.append(packet[at + 2 : end].decode())
        at = end + options
    return filters


@asynccontextmanager
async def connected(
    fast_path: bool,
    *topics: str,
    secure: Certificates | None = None,
    script: Script | None = None,
    **settings: object,
) -> AsyncIterator[tuple[Script, MqttSession]]:
    """A session with a scripted broker."""
    script = script or Script()
    context = None
    if secure:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(secure.cert, secure.key)
        settings["tls"] = {"ca": str(secure.ca)}
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0, ssl=context)
    url = f"{'mqtts' if secure else 'mqtt'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    config = Mqtt.model_validate({"type": "mqtt", "url": url, "client_id": "c", "fast_path": fast_path, **settings})
    try:
        async with MqttSource("s", config, topics or ["t"], NOWHERE).connect() as session:
            yield script, session
    finally:
        await script.hang_up()
        server.close()
        await server.wait_closed()


async def receive(session: MqttSession, count: int) -> list[Event]:
    """Wait for `count` events."""
    events: list[Event] = []
    while len(events) < count:
        events += await session.receive()
    return events


async def cause_of_the_end(session: MqttSession) -> str:
    """Receive until the session has ended, and return why."""
    try:
        while True:
            await session.receive()
    except Disconnected as ended:
        return ended.cause
