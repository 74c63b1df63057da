"""AMQP frames, whole: held back while the window is full, and repaired where the library could not read them.

    type (1 byte) | channel (2) | size (4) | payload (size) | 0xCE

pamqp raises at a property that it cannot decode (text that is not UTF-8, a timestamp in
nanoseconds), and the connection ends: the broker delivers the same message again and again, and
its queue stands still. Such a header is replaced by one that says so; the event becomes a dead letter.
"""

from __future__ import annotations

import asyncio
import struct
from typing import Final

from pamqp.commands import Basic
from pamqp.header import ContentHeader

#: The header by which a repaired message says what was wrong with it.
DEFECT_HEADER: Final = "x-dramatiq-bridge-defect"

_METHOD: Final = 1
_HEADER: Final = 2
_DELIVER: Final = b"\x00\x3c\x00\x3c"  # class 60 (basic), method 60
_END: Final = b"\xce"


class FrameReader(asyncio.StreamReader):
    """What the library reads from: frame by frame, and nothing while `gate` is not set."""

    def __init__(self, gate: asyncio.Event, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(limit=2**20, loop=loop)
        self._gate = gate
        self._frame = b""
        self._at = 0
        self._defect = ""

    async def readexactly(self, n: int) -> bytes:
        """Return the next `n` bytes, of one frame."""
        if self._at == len(self._frame):
            # TCP holds the broker back meanwhile.
            await self._gate.wait()
            self._frame, self._at = await self._next(), 0
        part = self._frame[self._at : self._at + n]
        self._at += n
        return part

    async def _next(self) -> bytes:
        head = await super().readexactly(7)
        if head.startswith(b"AMQP"):
            return head + await super().readexactly(1)  # the answer to a version that the broker does not speak
        kind, _, size = struct.unpack(">BHI", head)
        frame = head + await super().readexactly(size + 1)
        if kind == _METHOD and frame[7:11] == _DELIVER:
            return self._deliver(frame)
        if kind == _HEADER:
            return self._header(frame)
        return frame

    def _deliver(self, frame: bytes) -> bytes:
        try:
            Basic.Deliver().unmarshal(frame[11:-1])
        except Exception as error:  # noqa: BLE001 - whatever the library would raise
            self._defect = f"a name in the delivery can't be read: {error}"
            return _marshal(frame, _DELIVER + _readable(frame[11:-1]))
        return frame

    def _header(self, frame: bytes) -> bytes:
        defect, self._defect = self._defect, ""
        if not defect:
            try:
                ContentHeader().unmarshal(frame[7:-1])
            except Exception as error:  # noqa: BLE001 - whatever the library would raise
                defect = f"a property can't be read: {error}"
        if not defect:
            return frame
        body_size = struct.unpack(">Q", frame[11:19])[0]
        properties = Basic.Properties(headers={DEFECT_HEADER: defect[:300]})
        return _marshal(frame, ContentHeader(body_size=body_size, properties=properties).marshal())


def _marshal(frame: bytes, payload: bytes) -> bytes:
    return frame[:3] + struct.pack(">I", len(payload)) + payload + _END


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
