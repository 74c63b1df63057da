"""AMQP frames for the library's own path (`fast_path: false`): not read while the window is full, and repaired.

    type (1 byte) | channel (2) | size (4) | payload (size) | 0xCE

pamqp raises at properties it cannot decode (text that is not UTF-8, a timestamp in nanoseconds), and the connection
ends: the broker redelivers the same message again and again, and its queue stands still. Therefore the library gets a
frame that it can decode, and the session gets the rest by its delivery tag.
"""

from __future__ import annotations

import asyncio
import struct
from typing import Final

from pamqp.commands import Basic
from pamqp.header import ContentHeader

from bridge.model.event import KEPT_BODY_BYTES
from bridge.sources.amqp.field_table import read_properties
from bridge.sources.amqp.offsets import OFFSET_HEADER, offset_in

METHOD: Final = 1
HEADER: Final = 2
BODY: Final = 3
HEARTBEAT: Final = 8
DELIVER: Final = b"\x00\x3c\x00\x3c"  # class 60 (basic), method 60
CLOSE: Final = b"\x00\x0a\x00\x32"  # class 10 (connection), method 50
TUNE: Final = b"\x00\x0a\x00\x1e"  # class 10 (connection), method 30
END: Final = b"\xce"
HEARTBEAT_FRAME: Final = b"\x08\x00\x00\x00\x00\x00\x00" + END
#: The largest payload of a frame that is accepted before `frame_max` is negotiated, in bytes.
INITIAL_FRAME_MAX: Final = 2**20
#: RabbitMQ's own default, in bytes.
_DEFAULT_FRAME_MAX: Final = 131_072
#: The largest `max_message_size` that RabbitMQ lets an operator set.
MAX_BODY_BYTES: Final = 512 << 20

#: pamqp copies the rest of the properties for each field: at this size that takes up to 26 ms.
_LIBRARY_MAX_BYTES: Final = 32 << 10

_FRAME_START: Final = struct.Struct(">BHI")


class BadFrame(ConnectionError):
    """The stream is no valid AMQP, and nothing after that can be read. The library expects a ConnectionError."""


def parse_frame_start(data: bytes, at: int, frame_max: int) -> tuple[int, int, int]:
    """Return kind, channel and payload size of the frame whose first 7 bytes are at `at`.

    Raises:
        BadFrame: no frame begins there, or its payload is larger than `frame_max`.
    """
    kind, channel, size = _FRAME_START.unpack_from(data, at)
    if kind not in (METHOD, HEADER, BODY, HEARTBEAT):
        raise BadFrame(f"this is not AMQP 0-9-1: {data[at : at + 7]!r}")
    if size > frame_max:
        raise BadFrame(f"a frame of {size} bytes, where {frame_max} were agreed upon")
    return kind, channel, size


def bound_frame_max(frame: bytes) -> bytes:
    """Return the frame; a Connection.Tune that sets no limit for a frame, or one above RabbitMQ's default, with the default.

    aiormq 6.9.2 agrees to all that the broker proposes; then a frame could be as large as the largest body.
    """
    if frame[7:11] == TUNE and not 0 < int.from_bytes(frame[13:17]) <= _DEFAULT_FRAME_MAX:
        return frame[:13] + _DEFAULT_FRAME_MAX.to_bytes(4) + frame[17:]
    return frame


def for_a_look(frame: bytes) -> bytes:
    """Return a frame of a delivery on a channel that only looks at offsets (see `look.py`), as the library can read it.

    It brings no body, no name, and of the properties only the offset: whatever a producer has sent, the connection holds.
    """
    if frame[0] == METHOD and frame[7:11] == DELIVER:
        return _with_payload(frame, DELIVER + _without_names(frame[11:-1]))
    if frame[0] == HEADER:
        offset = offset_in(frame, 7)
        properties = Basic.Properties(headers=None if offset is None else {OFFSET_HEADER: offset})
        return _with_payload(frame, ContentHeader(body_size=0, properties=properties).marshal())
    return HEARTBEAT_FRAME if frame[0] == BODY else bound_frame_max(frame)


def close_reason(data: bytes) -> str:
    """Return the text of a Connection.Close among the frames of `data`, "" if there is none.

    aiormq 6.9.2 throws it away where it comes instead of an answer: "Expected one of ['Connection.OpenOk']".
    """
    _, found, arguments = data.partition(CLOSE)
    # After the code (2): the text, behind its length (1).
    return arguments[3 : 3 + arguments[2]].decode("utf-8", "backslashreplace") if found and len(arguments) > 2 else ""


class FrameReader(asyncio.StreamReader):
    """The stream that the library reads: whole, readable frames, and none between `pause_reading` and `resume_reading`.

    `last_tag` is the tag of the last delivery that has begun. `close_reason` is the broker's, once it has closed the
    connection. `unreadable_names` holds the error and `headers` the content header, by delivery tag, of deliveries whose names
    or properties the library does not get. Of a body of more than `max_bytes` the library gets the
    beginning only; `skipped` holds the size of the rest by delivery tag. `sizes` holds the bytes of a delivery without its
    body: names and properties. All of them are of the deliveries on one `channel`.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, max_bytes: int = MAX_BODY_BYTES) -> None:
        super().__init__(limit=2**20, loop=loop)
        #: The largest payload of a frame that is accepted, in bytes.
        self.frame_max = INITIAL_FRAME_MAX
        self.channel = 1
        self.last_tag = 0
        self.close_reason = ""
        self.unreadable_names: dict[int, str] = {}
        self.headers: dict[int, bytes] = {}
        self.skipped: dict[int, int] = {}
        self.sizes: dict[int, int] = {}
        self._max_bytes = max_bytes
        # Of a body that is too large: how many bytes are still to come, and the beginning.
        self._oversized_left = 0
        self._kept = b""
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._frame = b""
        self._at = 0

    def pause_reading(self) -> None:
        """Give the library no further frame; TCP holds the broker back meanwhile."""
        self._may_read.clear()

    def resume_reading(self) -> None:
        """Give the library frames again."""
        self._may_read.set()

    async def readexactly(self, n: int) -> bytes:
        """Return the next `n` bytes of the current frame; at its end, of the next one."""
        if self._at == len(self._frame):
            await self._may_read.wait()
            self._frame, self._at = await self._next_frame(), 0
        part = self._frame[self._at : self._at + n]
        self._at += n
        return part

    async def _next_frame(self) -> bytes:
        start = await super().readexactly(7)
        kind, channel, size = parse_frame_start(start, 0, self.frame_max)
        frame = start + await super().readexactly(size + 1)
        if channel not in {0, self.channel}:
            return for_a_look(frame)
        if kind == METHOD and frame[7:11] == DELIVER:
            frame = self._repair_names(frame)
            self.sizes[self.last_tag] = size
            return frame
        if kind == METHOD and frame[7:11] == CLOSE:
            self.close_reason = close_reason(frame)
        if kind == HEADER:
            if self.last_tag in self.sizes:
                self.sizes[self.last_tag] += size
            return self._repair_properties(self._announce_less(frame))
        if kind == BODY and self._oversized_left:
            return self._shorten(frame)
        return bound_frame_max(frame)

    def _announce_less(self, header: bytes) -> bytes:
        """Return the header frame, with a smaller body size if the body is too large."""
        body_size = int.from_bytes(header[11:19])
        if body_size > MAX_BODY_BYTES:
            raise BadFrame(f"delivery {self.last_tag} has a body of {body_size} bytes")
        if body_size <= self._max_bytes:
            return header
        self.skipped[self.last_tag] = body_size - KEPT_BODY_BYTES
        self._oversized_left = body_size
        return header[:11] + KEPT_BODY_BYTES.to_bytes(8) + header[19:]

    def _shorten(self, frame: bytes) -> bytes:
        """Return the beginning of a body that is too large, once all of it has come; before that, heartbeats."""
        payload = frame[7:-1]
        self._kept += payload[: KEPT_BODY_BYTES - len(self._kept)]
        self._oversized_left -= len(payload)
        if self._oversized_left < 0:
            raise BadFrame(f"delivery {self.last_tag} has more bytes than its header says")
        if self._oversized_left:
            return HEARTBEAT_FRAME
        kept, self._kept = self._kept, b""
        return _with_payload(frame, kept)

    def _repair_names(self, frame: bytes) -> bytes:
        at = 12 + frame[11]  # after the consumer tag
        self.last_tag = int.from_bytes(frame[at : at + 8], "big")
        try:
            Basic.Deliver().unmarshal(frame[11:-1])
        except Exception as error:  # noqa: BLE001 - everything that the library would raise
            self.unreadable_names[self.last_tag] = f"a name in the delivery can't be read: {error}"[:300]
            return _with_payload(frame, DELIVER + _escape_names(frame[11:-1]))
        return frame

    def _repair_properties(self, frame: bytes) -> bytes:
        header = frame[7:-1]
        if len(frame) <= _LIBRARY_MAX_BYTES and _is_readable(header):
            return frame
        self.headers[self.last_tag] = header
        return _with_payload(frame, ContentHeader(body_size=int.from_bytes(frame[11:19])).marshal())


def _is_readable(header: bytes) -> bool:
    try:
        read_properties(header)
    except (ValueError, RecursionError):
        return False
    return True


def _with_payload(frame: bytes, payload: bytes) -> bytes:
    return frame[:3] + struct.pack(">I", len(payload)) + payload + END


def _without_names(deliver: bytes) -> bytes:
    """Return the arguments of basic.deliver without exchange and routing key."""
    end = 10 + int.from_bytes(deliver[:1])  # the consumer tag; the delivery tag (8) and `redelivered` (1)
    return deliver[:end] + b"\0\0"


def _escape_names(deliver: bytes) -> bytes:
    """Return the arguments of basic.deliver with its names (consumer tag, exchange, routing key) escaped to ASCII."""
    parts: list[bytes] = []
    at = 0
    for fixed in (9, 0, 0):  # after the consumer tag: the delivery tag (8) and `redelivered` (1)
        end = at + 1 + deliver[at]
        name = deliver[at + 1 : end].decode("utf-8", "backslashreplace").encode("ascii", "backslashreplace")[:255]
        parts += (bytes([len(name)]), name, deliver[end : end + fixed])
        at = end + fixed
    return b"".join(parts)
