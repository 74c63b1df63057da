"""The fast path of AMQP: every delivery in the receive buffer becomes an event, in one pass.

RabbitMQ sends a message as a method frame, a header frame, and its body in none, one or more body frames:

    01 | channel 2 | size 4 | 003c 003c | consumer tag | delivery tag 8 | redelivered 1 | exchange | routing key | ce
    02 | channel 2 | size 4 | 003c 0000 | body size 8  | flags and properties                                    | ce
    03 | channel 2 | size 4 | the body                                                                           | ce

Tags, exchange and key are a length (1) and that many bytes. A channel has one consumer here, so what precedes the
delivery tag, the *head*, is the same wherever exchange and key have the same length together: one lookup checks it
all and gives the struct that takes apart what follows. Another one finds the topic by the *names*: what is between
delivery tag and `size`, that is `redelivered`, exchange, key, ce, 02 and the channel. Properties are not looked at.

Whatever does not look like that (cut by the end of the buffer, an empty body, one of several frames, not ours) is
taken frame by frame; and what is not a delivery is for the library, byte for byte.
"""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass, field
from typing import Any, Final

from bridge.model.event import Details, Event
from bridge.sources.amqp.frames import (
    BODY,
    DELIVER,
    END,
    FRAME_MAX,
    HEADER,
    HEARTBEAT,
    METHOD,
    MOST_BODY_BYTES,
    BadFrame,
    head_of,
)
from bridge.sources.amqp.properties import decoded, details
from bridge.topics.pattern import remember

#: How long names may be that are remembered.
_SHORT: Final = 160

_size_before_body = struct.Struct(">4sI")


def read(raw: bytes) -> Details:
    """Return headers and meta of a delivery, given as its bytes from the delivery tag to the last property.

    Raises:
        BadEvent: a property can't be read.
    """
    exchange_end = 10 + raw[9]
    header = exchange_end + 1 + raw[exchange_end] + 8  # after the key, its ce, and what begins the header frame
    exchange = raw[10:exchange_end].decode("utf-8", "backslashreplace")
    return details(decoded(raw[header:]), exchange, raw[8] & 1 == 1)


@dataclass(slots=True)
class _Delivery:
    """A delivery that is taken frame by frame."""

    tag: int
    topic: str
    defect: str
    raw: bytes
    size: int = -1  # of the body, until the header has said it
    parts: list[bytes] = field(default_factory=list)
    taken: int = 0


class DeliveryReader:
    """Takes the stream of a connection in pieces of any size, and gives the deliveries of one consumer as events."""

    def __init__(self, source: str) -> None:
        #: Larger frames are refused.
        self.frame_max = FRAME_MAX
        self._source = source
        self._channel = -1
        self._consumer = b""
        self._before_header = self._before_body = b""
        self._layouts: dict[bytes, tuple[Any, int]] = {}
        self._topics: dict[bytes, str] = {}
        self._again = False
        #: The number of the delivery that has begun last.
        self.last_tag = 0
        self._now_ms = 0
        self._delivery: _Delivery | None = None
        self._pieces: list[bytes] = []  # of a frame that is not whole
        self._held = 0
        self._needed = 0

    def consume(self, channel: int, consumer_tag: str) -> None:
        """Take the deliveries of this consumer from now on, the first of which has the delivery tag 1."""
        tag = consumer_tag.encode()
        self._channel = channel
        self._consumer = DELIVER + bytes([len(tag)]) + tag
        self._before_header = END + struct.pack(">BH", HEADER, channel)
        self._before_body = END + struct.pack(">BH", BODY, channel)

    @property
    def delivering(self) -> bool:
        """Whether something has come in part."""
        return self._delivery is not None or bool(self._pieces)

    def feed(self, data: bytes, events: list[Event]) -> bytes:
        """Append the events of all deliveries that are whole now, and return the frames that are not ours.

        Raises:
            BadFrame: the stream makes no sense; nothing that follows can be read.
        """
        if self._pieces:
            self._pieces.append(data)
            self._held += len(data)
            if self._held < self._needed:
                return b""
            data = b"".join(self._pieces)
            self._pieces.clear()
        self._now_ms = time.time_ns() // 1_000_000
        passed: list[bytes] = []
        at = 0
        while at < len(data):
            if self._delivery is None:
                at = self._whole_deliveries(data, at, events)
            end = self._one_frame(data, at, events, passed)
            if end == at:
                break
            at = end
        if at < len(data):
            self._pieces.append(data[at:] if at else data)
            self._held = len(data) - at
        return b"".join(passed)

    def _whole_deliveries(self, data: bytes, at: int, events: list[Event]) -> int:
        """Take deliveries as long as each lies in `data` as a whole and as usual; return where the next frame begins."""
        layouts, topics, before_body = self._layouts.get, self._topics.get, self._before_body
        source, now_ms, next_tag = self._source, self._now_ms, self.last_tag + 1
        size_before_body, append, event = _size_before_body.unpack_from, events.append, Event
        head_size = 7 + len(self._consumer)
        first = len(events)
        try:
            while True:
                tag_at = at + head_size
                layout = layouts(data[at:tag_at])
                if layout is None:
                    break
                unpack, header_at = layout
                tag, names, header_size, body_size = unpack(data, tag_at)
                topic = topics(names)
                if topic is None and (topic := self._topic(names)) is None:
                    break
                header_end = tag_at + header_at + header_size
                before, size = size_before_body(data, header_end)
                body_at = header_end + 8
                end = body_at + size
                if size != body_size or before != before_body or tag != next_tag or data[end] != 0xCE:
                    break
                append(event(source, topic, data[body_at:end], now_ms, tag, data[tag_at:header_end], read))
                next_tag += 1
                at = end + 1
        except (struct.error, IndexError):
            pass  # the end of the buffer
        self.last_tag = next_tag - 1
        if self._again:  # looked at only where there is one, so that the others pay nothing for it
            self._again = False
            for one in events[first:]:
                one.redelivered = one.raw[8] & 1 == 1  # type: ignore[index]  # it is `data[tag_at:header_end]`
        return at

    def _topic(self, names: bytes) -> str | None:
        """Return the topic, and remember it; None where these are no names, or need to be looked at closely."""
        key_at = 2 + names[1]
        key_end = key_at + 1 + names[key_at]
        if names[key_end:] != self._before_header:
            return None
        try:
            names[2:key_at].decode()
            topic = names[key_at + 1 : key_end].decode()
        except UnicodeDecodeError:
            return None
        if names[0] & 1:
            self._again = True  # and not remembered, so that each one is noticed
        else:
            remember(self._topics, names, topic, longest=_SHORT)
        return topic

    def _one_frame(self, data: bytes, at: int, events: list[Event], passed: list[bytes]) -> int:
        """Take one frame, whatever it is; return where the next one begins, or `at` where it isn't whole."""
        kind, channel, end = self._frame_at(data, at)
        if end > len(data):
            self._needed = end - at
            return at
        if data[end - 1 : end] != END:
            raise BadFrame("a frame without its end")
        delivery = self._delivery
        if channel != self._channel or kind == HEARTBEAT:
            passed.append(data[at:end])
        elif kind == METHOD and delivery is None:
            if data.startswith(self._consumer, at + 7):
                self._delivery = self._begun(data, at, end)
            else:
                passed.append(data[at:end])
        elif delivery is None or kind == METHOD:
            raise BadFrame("parts of a message without their delivery, or a delivery without its parts")
        elif self._continued(delivery, kind, data[at:end]):
            self._delivery = None
            events.append(self._event(delivery))
        return end

    def _frame_at(self, data: bytes, at: int) -> tuple[int, int, int]:
        """Return kind, channel and end of the frame that begins at `at`; the end is where it has to be looked at again, at least."""
        if len(data) - at < 7:
            return 0, 0, at + 7
        kind, channel, size = head_of(data, at, self.frame_max)
        return kind, channel, at + size + 8

    def _begun(self, data: bytes, at: int, end: int) -> _Delivery:
        """Return the delivery that the method frame in `data[at:end]` begins, and remember the frame's layout."""
        tag_at = at + 7 + len(self._consumer)
        tag = int.from_bytes(data[tag_at : tag_at + 8], "big")
        names = data[tag_at + 8 : end]
        key_at = 2 + int.from_bytes(names[1:2], "big")
        key_end = key_at + 1 + int.from_bytes(names[key_at : key_at + 1], "big")
        if names[key_end:] != END:
            raise BadFrame("a delivery that can't be read")
        if tag != self.last_tag + 1:
            # Acknowledging is up to a tag: were one left out, its event would be lost.
            raise BadFrame(f"delivery {tag} came after {self.last_tag}")
        self.last_tag = tag
        defect = ""
        exchange, key = names[2:key_at], names[key_at + 1 : key_end]
        try:
            exchange.decode()
            key.decode()
        except UnicodeDecodeError as error:
            defect = f"a name in the delivery can't be read: {error}"
        long = len(names) + 3  # with 02 and the channel
        self._layouts[data[at:tag_at]] = struct.Struct(f">Q{long}sI4xQ").unpack_from, 8 + long + 4
        return _Delivery(tag, key.decode("utf-8", "backslashreplace"), defect, data[tag_at:end])

    def _continued(self, delivery: _Delivery, kind: int, frame: bytes) -> bool:
        """Add a header or body frame to `delivery`; return whether it is whole now."""
        if (kind == HEADER) != (delivery.size < 0) or len(frame) < (22 if kind == HEADER else 9):
            raise BadFrame(f"delivery {delivery.tag} breaks off")
        if kind == HEADER:
            delivery.size = int.from_bytes(frame[11:19], "big")
            delivery.raw += frame[:-1]
        else:
            delivery.parts.append(frame[7:-1])
            delivery.taken += len(frame) - 8
        if delivery.size > MOST_BODY_BYTES or delivery.taken > delivery.size:
            raise BadFrame(f"delivery {delivery.tag} has a body of {max(delivery.size, delivery.taken)} bytes")
        return delivery.taken == delivery.size

    def _event(self, delivery: _Delivery) -> Event:
        body, raw, again = b"".join(delivery.parts), delivery.raw, delivery.raw[8] & 1 == 1
        event = Event(self._source, delivery.topic, body, self._now_ms, delivery.tag, raw, read, redelivered=again)
        event.defect = delivery.defect
        return event
