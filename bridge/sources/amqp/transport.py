"""Between the socket and aiormq: what the bridge takes for itself, and what the library reads.

`TransportFactory` is aiormq's own seam for transports of other kinds. A link has the `protocol` that the socket talks to,
and the `stream` and `library` of which aiormq's reader and writer are made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import aiormq
from yarl import URL

from bridge.model.event import Event
from bridge.sources.amqp.deliveries import DeliveryReader
from bridge.sources.amqp.frames import END, BadFrame, FrameReader
from bridge.sources.window import InFlightWindow

_BUFFER_BYTES: Final = 256 << 10
_HEARTBEAT: Final = b"\x08\x00\x00\x00\x00\x00\x00" + END
_HEARTBEAT_EVERY_S: Final = 1.0
_ACK: Final = b"\x00\x00\x00\x0d\x00\x3c\x00\x50"  # size 13, class 60 (basic), method 80


class LibraryTransport:
    """The library reads everything, through a reader that holds back and repairs."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.stream = FrameReader(loop)
        self.library = self.protocol = asyncio.StreamReaderProtocol(self.stream, loop=loop)
        self.hold, self.release = self.stream.hold, self.stream.release

    def agreed(self, frame_max: int) -> None:
        """Refuse frames that are larger."""
        self.stream.frame_max = frame_max


class FastTransport(asyncio.BufferedProtocol):
    """Deliveries become events here; the library reads what is left."""

    def __init__(self, source: str, loop: asyncio.AbstractEventLoop) -> None:
        self.stream = asyncio.StreamReader(limit=2**20, loop=loop)
        self.library = asyncio.StreamReaderProtocol(self.stream, loop=loop)
        self.protocol = self
        self._reader = DeliveryReader(source)
        self._transport: Any = None
        self._window: InFlightWindow | None = None
        self._ack = b""
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._on_heavy: Callable[[], None] = self.hold
        self._time = loop.time
        self._next_heartbeat = 0.0

    @property
    def received(self) -> int | None:
        """How many deliveries have come; None while one is on its way."""
        return None if self._reader.delivering else self._reader.last_tag

    def agreed(self, frame_max: int) -> None:
        """Refuse frames that are larger."""
        self._reader.frame_max = frame_max

    def consume(self, channel: int, consumer_tag: str, window: InFlightWindow, on_heavy: Callable[[], None]) -> None:
        """Put the deliveries of this consumer into `window` from now on; `on_heavy` is called while it is."""
        self._reader.consume(channel, consumer_tag)
        self._window = window
        self._on_heavy = on_heavy
        self._ack = b"\x01" + channel.to_bytes(2, "big") + _ACK

    def discard(self) -> None:
        """Let what is delivered from now on go, and never acknowledge it."""
        self._window = None

    def acknowledge(self, delivery_tag: int) -> None:
        """Acknowledge everything up to this delivery."""
        # aiormq's basic_ack takes ten times as long. It too writes whole frames, so nothing gets mixed.
        if not self._transport.is_closing():  # where it is, the session is about to hear why
            self._transport.write(self._ack + delivery_tag.to_bytes(8, "big") + b"\x01" + END)

    def hold(self) -> None:
        """Read nothing for now; TCP holds the broker back meanwhile."""
        if self._transport is not None:
            self._transport.pause_reading()

    def release(self) -> None:
        """Read again."""
        if self._transport is not None:
            self._transport.resume_reading()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the protocol's
        """Return where the next bytes go: always the same place, for asyncio's own buffers cost 20 us per read."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take what the broker has sent."""
        events: list[Event] = []
        try:
            passed = self._reader.feed(bytes(self._buffer[:nbytes]), events)
        except BadFrame as error:
            if self._window is not None:
                self._window.fail(str(error))
            self.stream.set_exception(error)
            self._transport.abort()
            return
        if events and self._window is not None and not self._window.failed:
            self._window.put(events)
            if self._window.over_byte_limit:
                self._on_heavy()
        if passed:
            self.stream.feed_data(passed)
        elif (now := self._time()) >= self._next_heartbeat:
            # The library ends a connection on which it sees nothing.
            self._next_heartbeat = now + _HEARTBEAT_EVERY_S
            self.stream.feed_data(_HEARTBEAT)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = transport
        self.library.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let the library know."""
        self.library.connection_lost(exc)

    def eof_received(self) -> bool | None:
        """Let the library know."""
        return self.library.eof_received()

    def pause_writing(self) -> None:
        """Let the library know."""
        self.library.pause_writing()

    def resume_writing(self) -> None:
        """Let the library know."""
        self.library.resume_writing()


class TransportFactory(aiormq.TransportFactory):
    """Opens the connection as aiormq itself does, with a link of ours; `used` says whether it was asked to."""

    def __init__(self, link: FastTransport | LibraryTransport, server_name: str | None) -> None:
        self.used = False
        self._link = link
        self._server_name = server_name

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect."""
        self.used = True
        secure = await kwargs.pop("ssl_context_provider").get_context() if url.scheme == "amqps" else None
        loop = asyncio.get_running_loop()
        # Both asyncio and uvloop set TCP_NODELAY.
        transport, _ = await loop.create_connection(
            lambda: self._link.protocol,
            url.host or "localhost",
            url.port or (5671 if secure else 5672),
            ssl=secure,
            server_hostname=(self._server_name or url.host) if secure else None,
        )
        return self._link.stream, asyncio.StreamWriter(transport, self._link.library, self._link.stream, loop)
