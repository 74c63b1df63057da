"""AMQP frames for the library's own path (`fast_path: false`): held back while the window is full, and repaired.

    type (1 byte) | channel (2) | size (4) | payload (size) | 0xCE

pamqp raises at what it cannot decode (text that is not UTF-8, a timestamp in nanoseconds), and the
connection ends: the broker delivers the same message again and again, and its queue stands still. So
the library gets a frame that it can read, and the session, which asks by delivery tag, what was wrong.
"""

from __future__ import annotations

import asyncio
import struct
from typing import Final

from pamqp.commands import Basic
from pamqp.header import ContentHeader

from bridge.errors import BadEvent
from bridge.sources.amqp.properties import decoded

METHOD: Final = 1
HEADER: Final = 2
BODY: Final = 3
HEARTBEAT: Final = 8
DELIVER: Final = b"\x00\x3c\x00\x3c"  # class 60 (basic), method 60
END: Final = b"\xce"
#: The size of a frame's payload that is taken before anything is negotiated.
FRAME_MAX: Final = 2**20
#: RabbitMQ's own limit on what an operator may set as `max_message_size`.
MOST_BODY_BYTES: Final = 512 << 20


_HEAD: Final = struct.Struct(">BHI")


class BadFrame(ConnectionError):
    """The stream makes no sense, and nothing that follows can be read. A ConnectionError, for the library."""


def head_of(data: bytes, at: int, frame_max: int) -> tuple[int, int, int]:
    """Return kind, channel and size of the frame whose first 7 bytes are at `at`.

    Raises:
        BadFrame: it is none, or larger than `frame_max`.
    """
    kind, channel, size = _HEAD.unpack_from(data, at)
    if kind not in (METHOD, HEADER, BODY, HEARTBEAT):
        raise BadFrame(f"this is not AMQP 0-9-1: {data[at : at + 7]!r}")
    if size > frame_max:
        raise BadFrame(f"a frame of {size} bytes, where {frame_max} were agreed upon")
    return kind, channel, size


class FrameReader(asyncio.StreamReader):
    """What the library reads from: frame by frame, and nothing between `hold` and `release`.

    `tag` is that of the delivery that has begun last. `bad_names` and `bad_properties` say by delivery tag what could not be read.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(limit=2**20, loop=loop)
        #: Larger frames are refused.
        self.frame_max = FRAME_MAX
        self.bad_names: dict[int, str] = {}
        self.bad_properties: dict[int, str] = {}
        self._gate = asyncio.Event()
        self._gate.set()
        self._frame = b""
        self._at = 0
        self.tag = 0

    def hold(self) -> None:
        """Let the library read nothing more for now; TCP holds the broker back meanwhile."""
        self._gate.clear()

    def release(self) -> None:
        """Let the library read again."""
        self._gate.set()

    async def readexactly(self, n: int) -> bytes:
        """Return the next `n` bytes, of one frame."""
        if self._at == len(self._frame):
            await self._gate.wait()
            self._frame, self._at = await self._next(), 0
        part = self._frame[self._at : self._at + n]
        self._at += n
        return part

    async def _next(self) -> bytes:
        head = await super().readexactly(7)
        kind, _, size = head_of(head, 0, self.frame_max)
        frame = head + await super().readexactly(size + 1)
        if kind == METHOD and frame[7:11] == DELIVER:
            return self._deliver(frame)
        if kind == HEADER:
            return self._header(frame)
        return frame

    def _deliver(self, frame: bytes) -> bytes:
        at = 12 + frame[11]  # after the consumer tag
        self.tag = int.from_bytes(frame[at : at + 8], "big")
        try:
            Basic.Deliver().unmarshal(frame[11:-1])
        except Exception as error:  # noqa: BLE001 - whatever the library would raise
            self.bad_names[self.tag] = f"a name in the delivery can't be read: {error}"[:300]
            return _marshal(frame, DELIVER + _readable(frame[11:-1]))
        return frame

    def _header(self, frame: bytes) -> bytes:
        (body_size,) = struct.unpack(">Q", frame[11:19])
        if body_size > MOST_BODY_BYTES:
            raise BadFrame(f"delivery {self.tag} has a body of {body_size} bytes")
        try:
            decoded(frame[7:-1])
        except BadEvent as error:
            self.bad_properties[self.tag] = error.detail
            return _marshal(frame, ContentHeader(body_size=body_size).marshal())
        return frame


def _marshal(frame: bytes, payload: bytes) -> bytes:
    return frame[:3] + struct.pack(">I", len(payload)) + payload + END


def _readable(deliver: bytes) -> bytes:
    """Return the arguments of basic.deliver (tag, number, flag, exchange, routing key) with names in ASCII."""
    parts: list[bytes] = []
    at = 0
    for fixed in (9, 0, 0):  # after the consumer tag: the delivery tag (8) and `redelivered` (1)
        end = at + 1 + deliver[at]
        name = deliver[at + 1 : end].decode("utf-8", "backslashreplace").encode("ascii", "backslashreplace")[:255]
        parts += (bytes([len(name)]), name, deliver[end : end + fixed])
        at = end + fixed
    return b"".join(parts)
