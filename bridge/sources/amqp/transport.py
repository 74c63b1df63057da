"""Between the socket and aiormq: deliveries become events here, and the library reads all other frames.

aiormq lets its users pass a TransportFactory. Each of the two transports has the `protocol` that the socket is given, and
the `stream` and `library_protocol` that aiormq's reader and writer are made with.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final

import aiormq
from yarl import URL

from bridge.connecting.attempt import Attempt, Server
from bridge.model.event import Event
from bridge.sources.amqp.deliveries import DeliveryReader
from bridge.sources.amqp.frames import END, HEARTBEAT_FRAME, BadFrame, FrameReader, close_reason
from bridge.sources.window import InFlightWindow

_BUFFER_BYTES: Final = 256 << 10
_HEARTBEAT_INTERVAL_S: Final = 1.0
_ACK: Final = b"\x00\x00\x00\x0d\x00\x3c\x00\x50"  # size 13, class 60 (basic), method 80


class LibraryTransport:
    """The library reads every frame, through a FrameReader; of a body of more than `max_bytes`, only the beginning."""

    def __init__(self, loop: asyncio.AbstractEventLoop, max_bytes: int) -> None:
        self.stream = FrameReader(loop, max_bytes)
        self.library_protocol = self.protocol = asyncio.StreamReaderProtocol(self.stream, loop=loop)
        self.pause_reading, self.resume_reading = self.stream.pause_reading, self.stream.resume_reading

    @property
    def close_reason(self) -> str:
        """The broker's reason for closing the connection, "" if it has given none."""
        return self.stream.close_reason

    def set_frame_max(self, frame_max: int) -> None:
        """Refuse frames with a larger payload, in bytes."""
        self.stream.frame_max = frame_max


class FastTransport(asyncio.BufferedProtocol):
    """The bridge reads deliveries and writes acknowledgements; the library reads and writes all other frames.

    Of a body of more than `max_bytes` only the beginning is kept.
    """

    def __init__(self, source: str, loop: asyncio.AbstractEventLoop, max_bytes: int) -> None:
        self.stream = asyncio.StreamReader(limit=2**20, loop=loop)
        self.library_protocol = asyncio.StreamReaderProtocol(self.stream, loop=loop)
        self.protocol = self
        #: See `LibraryTransport`; only until deliveries come, since aiormq reports later reasons itself.
        self.close_reason = ""
        self._reader = DeliveryReader(source, max_bytes)
        self._transport: Any = None
        self._window: InFlightWindow | None = None
        self._ack = b""
        self._buffer = memoryview(b"")
        self._on_over_byte_limit: Callable[[], None] = self.pause_reading
        self._time = loop.time
        self._next_heartbeat = 0.0

    @property
    def received_count(self) -> int | None:
        """How many deliveries have come; None while one is incomplete."""
        return None if self._reader.is_mid_delivery else self._reader.last_tag

    def set_frame_max(self, frame_max: int) -> None:
        """See `LibraryTransport`."""
        self._reader.frame_max = frame_max

    def consume(
        self, channel: int, consumer_tag: str, window: InFlightWindow, on_over_byte_limit: Callable[[], None]
    ) -> None:
        """Put this consumer's deliveries into `window` from now on.

        `on_over_byte_limit` is called after each read that leaves the window over its byte limit.
        """
        self._reader.consume(channel, consumer_tag)
        self._window = window
        self._on_over_byte_limit = on_over_byte_limit
        self._ack = b"\x01" + channel.to_bytes(2, "big") + _ACK

    def discard(self) -> None:
        """Discard all further deliveries, and never acknowledge them."""
        self._window = None

    def acknowledge(self, delivery_tag: int) -> None:
        """Acknowledge this delivery and all earlier ones."""
        # aiormq's basic_ack takes ten times as long. It also writes whole frames, so its frames and ours never mix.
        if not self._transport.is_closing():  # otherwise the session is about to fail, with the cause
            self._transport.write(self._ack + delivery_tag.to_bytes(8, "big") + b"\x01" + END)

    def pause_reading(self) -> None:
        """Read nothing for now; TCP holds the broker back meanwhile."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again; nothing where the connection has ended."""
        # uvloop raises for a transport that a cancelled connect has closed, of which `is_closing` is still false (observed).
        if self._transport is not None:
            with contextlib.suppress(RuntimeError):
                self._transport.resume_reading()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """Return the buffer for the next bytes: always the same one, since asyncio's own buffers cost 20 us per read."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Turn the received bytes into events, and pass all other frames to the library."""
        events: list[Event] = []
        try:
            for_library = self._reader.feed(bytes(self._buffer[:nbytes]), events)
        except BadFrame as error:
            if self._window is not None:
                self._window.fail(str(error))
            self.stream.set_exception(error)
            self._transport.abort()
            return
        if events and self._window is not None and not self._window.failed:
            self._window.put(events)
            if self._window.over_byte_limit:
                self._on_over_byte_limit()
        if for_library:
            if self._window is None:
                self.close_reason = close_reason(for_library) or self.close_reason
            self.stream.feed_data(for_library)
        elif (now := self._time()) >= self._next_heartbeat:
            # The library ends a connection on which it sees nothing, so it gets a heartbeat of ours.
            self._next_heartbeat = now + _HEARTBEAT_INTERVAL_S
            self.stream.feed_data(HEARTBEAT_FRAME)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.BaseProtocol`."""
        self._transport = transport
        # Held by nothing longer than the connection: its transport is left to the garbage collector, in a ring (observed).
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        self.library_protocol.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.BaseProtocol`; only the library needs it."""
        self._buffer = memoryview(b"")
        self.library_protocol.connection_lost(exc)

    def eof_received(self) -> bool | None:
        """See `asyncio.BaseProtocol`; only the library needs it."""
        return self.library_protocol.eof_received()

    def pause_writing(self) -> None:
        """See `asyncio.BaseProtocol`; only the library needs it."""
        self.library_protocol.pause_writing()

    def resume_writing(self) -> None:
        """See `asyncio.BaseProtocol`; only the library needs it."""
        self.library_protocol.resume_writing()


class TransportFactory(aiormq.TransportFactory):
    """Connects to `server` in an attempt of ours; `used` says whether aiormq has asked for it."""

    def __init__(self, transport: FastTransport | LibraryTransport, attempt: Attempt, server: Server) -> None:
        self.used = False
        self._transport = transport
        self._attempt = attempt
        self._server = server
        self._opened: asyncio.Transport | None = None

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:  # noqa: ARG002
        """Open the connection; called by aiormq."""
        self.used = True
        self._opened = await self._attempt.connect(self._transport.protocol, self._server)
        stream, loop = self._transport.stream, asyncio.get_running_loop()
        return stream, asyncio.StreamWriter(self._opened, self._transport.library_protocol, stream, loop)

    def abort(self) -> None:
        """Close the socket, if it is open: closing, aiormq waits for a peer that takes nothing or says no farewell."""
        if self._opened is not None:
            self._opened.abort()
