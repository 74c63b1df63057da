"""The fast path of AMQP: every delivery in the receive buffer becomes an event, in one pass.

RabbitMQ sends a message as a method frame, a header frame, and its body in none, one or more body frames:

    01 | channel 2 | size 4 | 003c 003c | consumer tag | delivery tag 8 | redelivered 1 | exchange | routing key | ce
    [prefix                                           ] [tag           ] [routing ...
    02 | channel 2 | size 4 | 003c 0000 | body size 8 | flags and properties                                     | ce
    ... routing  ] [size  ]
    03 | channel 2 | size 4 | body                                                                               | ce

Consumer tag, exchange and routing key are each a length (1) and that many bytes. A channel has one consumer here, so the
prefix is the same for all deliveries whose exchange and key have the same total length. One lookup therefore checks the
whole prefix, and gives the struct that unpacks the tag, the routing, the size and the body size. A second lookup finds
the topic by the routing. Properties are not parsed here.

A delivery that does not have this form (cut by the end of the buffer, an empty body, a body in several frames) is taken
frame by frame. All other frames are passed to the library, byte for byte.
"""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass, field
from typing import Any, Final

from bridge.model.event import KEPT_BODY_BYTES, Details, Event
from bridge.sources.amqp.frames import (
    BODY,
    DELIVER,
    END,
    HEADER,
    HEARTBEAT,
    INITIAL_FRAME_MAX,
    MAX_BODY_BYTES,
    METHOD,
    BadFrame,
    bound_frame_max,
    for_a_look,
    parse_frame_start,
)
from bridge.sources.amqp.properties import readable_details
from bridge.topics.memory import TopicMemory

#: Routings that are longer are not remembered.
_MAX_REMEMBERED_BYTES: Final = 160

#: The bytes between properties and body: `ce 03 channel`, and the size of the body frame.
_body_frame_start = struct.Struct(">4sI")


def read(raw: bytes) -> Details:
    """Return headers and meta of a delivery; `raw` is its bytes from the tag to the last property.

    Raises:
        UnreadableDetails: a property can't be read.
    """
    exchange_end = 10 + raw[9]
    header_at = exchange_end + 1 + raw[exchange_end] + 8  # after the routing key: ce, 02, channel, size
    exchange = raw[10:exchange_end].decode("utf-8", "backslashreplace")
    return readable_details(raw[header_at:], exchange, raw[8] & 1 == 1)


@dataclass(slots=True)
class _PartialDelivery:
    """A delivery that is taken frame by frame; `raw` is as in `read`, `taken` counts the bytes of the body that have come."""

    tag: int
    topic: str
    defect: str
    raw: bytes
    size: int = -1  # of the body; -1 until the header frame has come
    kept_size: int = 0  # how many bytes of the body are kept, in `parts`
    parts: list[bytes] = field(default_factory=list)
    taken: int = 0


class DeliveryReader:
    """Reads the stream of a connection in pieces of any size, and makes events of the deliveries to one consumer.

    Of a body of more than `max_bytes` only the beginning is kept: its event has `skipped`.
    """

    def __init__(self, source: str, max_bytes: int = MAX_BODY_BYTES) -> None:
        #: The largest payload of a frame that is accepted, in bytes.
        self.frame_max = INITIAL_FRAME_MAX
        self._source = source
        self._max_bytes = max_bytes
        self._channel = -1
        self._consumer = b""
        self._before_header = self._before_body = b""
        # By prefix: the struct's `unpack_from`, and the offset of the header frame's payload from the tag.
        self._layouts: dict[bytes, tuple[Any, int]] = {}
        # By routing; those of redelivered events are not in it.
        self._topics: TopicMemory[bytes, str] = TopicMemory(_MAX_REMEMBERED_BYTES)
        self._saw_redelivered = False
        #: The tag of the last delivery that has begun.
        self.last_tag = 0
        self._now_ms = 0
        self._delivery: _PartialDelivery | None = None
        self._pieces: list[bytes] = []  # of an incomplete frame
        self._pieces_size = 0
        self._needed_size = 0  # below it the frame is incomplete

    def consume(self, channel: int, consumer_tag: str) -> None:
        """Make events of this consumer's deliveries from now on; the first one has the delivery tag 1."""
        encoded_tag = consumer_tag.encode()
        self._channel = channel
        self._consumer = DELIVER + bytes([len(encoded_tag)]) + encoded_tag
        self._before_header = END + struct.pack(">BH", HEADER, channel)
        self._before_body = END + struct.pack(">BH", BODY, channel)

    @property
    def is_mid_delivery(self) -> bool:
        """Whether a frame or a delivery is incomplete."""
        return self._delivery is not None or bool(self._pieces)

    def feed(self, data: bytes, events: list[Event]) -> bytes:
        """Append an event for each delivery that is complete, and return the frames for the library.

        Raises:
            BadFrame: the stream is no valid AMQP; nothing after that can be read.
        """
        if self._pieces:
            self._pieces.append(data)
            self._pieces_size += len(data)
            if self._pieces_size < self._needed_size:
                return b""
            data = b"".join(self._pieces)
            self._pieces.clear()
        self._now_ms = time.time_ns() // 1_000_000
        for_library: list[bytes] = []
        at = 0
        while at < len(data):
            if self._delivery is None:
                at = self._whole_deliveries(data, at, events)
            end = self._take_frame(data, at, events, for_library)
            if end == at:
                break
            at = end
        if at < len(data):
            self._pieces.append(data[at:] if at else data)
            self._pieces_size = len(data) - at
        return b"".join(for_library)

    def _whole_deliveries(self, data: bytes, at: int, events: list[Event]) -> int:
        """Take deliveries while each is complete and has the usual form; return where the next frame begins."""
        layouts, topics, before_body = self._layouts.get, self._topics.get, self._before_body
        source, now_ms, next_tag = self._source, self._now_ms, self.last_tag + 1
        body_frame_start, append, new_event = _body_frame_start.unpack_from, events.append, Event
        prefix_size = 7 + len(self._consumer)
        first = len(events)
        try:
            while True:
                tag_at = at + prefix_size
                layout = layouts(data[at:tag_at])
                if layout is None:
                    break
                unpack, header_offset = layout
                tag, routing, size, body_size = unpack(data, tag_at)
                topic = topics(routing)
                if topic is None and (topic := self._topic(routing)) is None:
                    break
                header_end = tag_at + header_offset + size
                before, frame_size = body_frame_start(data, header_end)
                body_at = header_end + 8
                end = body_at + frame_size
                if frame_size != body_size or before != before_body or tag != next_tag or data[end] != 0xCE:
                    break
                append(
                    new_event(
                        source, topic, data[body_at:end], now_ms, tag, data[tag_at:header_end], read, size=end - tag_at
                    )
                )
                next_tag += 1
                at = end + 1
        except (struct.error, IndexError):
            pass  # the end of the buffer
        self.last_tag = next_tag - 1
        if self._saw_redelivered:  # checked once a buffer, so that other events pay nothing for it
            self._saw_redelivered = False
            for event in events[first:]:
                event.redelivered = event.raw[8] & 1 == 1  # type: ignore[index]  # it is `data[tag_at:header_end]`
        return at

    def _topic(self, routing: bytes) -> str | None:
        """Return the topic, and remember it; None if the routing is invalid, or not UTF-8."""
        key_at = 2 + routing[1]
        key_end = key_at + 1 + routing[key_at]
        if routing[key_end:] != self._before_header:
            return None
        try:
            routing[2:key_at].decode()
            topic = routing[key_at + 1 : key_end].decode()
        except UnicodeDecodeError:
            return None
        if routing[0] & 1:
            self._saw_redelivered = True  # and not remembered, so that each redelivered event comes here
        else:
            self._topics.remember(routing, topic)
        return topic

    def _take_frame(self, data: bytes, at: int, events: list[Event], for_library: list[bytes]) -> int:
        """Take one frame of any kind; return where the next one begins, or `at` if the frame is incomplete."""
        kind, channel, end = self._frame_at(data, at)
        if end > len(data):
            self._needed_size = end - at
            return at
        if data[end - 1 : end] != END:
            raise BadFrame("a frame without its end")
        delivery = self._delivery
        if channel != self._channel or kind == HEARTBEAT:
            frame = data[at:end]
            for_library.append(for_a_look(frame) if channel else bound_frame_max(frame))
        elif kind == METHOD and delivery is None:
            if data.startswith(self._consumer, at + 7):
                self._delivery = self._begin_delivery(data, at, end)
            else:
                for_library.append(data[at:end])
        elif delivery is None or kind == METHOD:
            raise BadFrame("parts of a message without their delivery, or a delivery without its parts")
        elif self._add_frame(delivery, kind, data[at:end]):
            self._delivery = None
            events.append(self._event(delivery))
        return end

    def _frame_at(self, data: bytes, at: int) -> tuple[int, int, int]:
        """Return kind, channel and end of the frame at `at`; with fewer than 7 bytes there, the end of its first 7 bytes."""
        if len(data) - at < 7:
            return 0, 0, at + 7
        kind, channel, size = parse_frame_start(data, at, self.frame_max)
        return kind, channel, at + size + 8

    def _begin_delivery(self, data: bytes, at: int, end: int) -> _PartialDelivery:
        """Return the delivery that the method frame in `data[at:end]` begins, and remember the layout of its prefix."""
        tag_at = at + 7 + len(self._consumer)
        tag = int.from_bytes(data[tag_at : tag_at + 8], "big")
        routing = data[tag_at + 8 : end]  # without 02 and the channel of the header frame
        key_at = 2 + int.from_bytes(routing[1:2], "big")
        key_end = key_at + 1 + int.from_bytes(routing[key_at : key_at + 1], "big")
        if routing[key_end:] != END:
            raise BadFrame("a delivery that can't be read")
        if tag != self.last_tag + 1:
            # An acknowledgement covers all earlier tags: it would lose the event of a tag that was skipped.
            raise BadFrame(f"delivery {tag} came after {self.last_tag}")
        self.last_tag = tag
        defect = ""
        exchange, key = routing[2:key_at], routing[key_at + 1 : key_end]
        try:
            exchange.decode()
            key.decode()
        except UnicodeDecodeError as error:
            defect = f"a name in the delivery can't be read: {error}"
        routing_size = len(routing) + 3
        self._layouts[data[at:tag_at]] = struct.Struct(f">Q{routing_size}sI4xQ").unpack_from, 8 + routing_size + 4
        return _PartialDelivery(tag, key.decode("utf-8", "backslashreplace"), defect, data[tag_at:end])

    def _add_frame(self, delivery: _PartialDelivery, kind: int, frame: bytes) -> bool:
        """Add a header or body frame to `delivery`; return whether it is complete."""
        if (kind == HEADER) != (delivery.size < 0) or len(frame) < (22 if kind == HEADER else 9):
            raise BadFrame(f"delivery {delivery.tag} breaks off")
        if kind == HEADER:
            delivery.size = int.from_bytes(frame[11:19], "big")
            delivery.kept_size = delivery.size if delivery.size <= self._max_bytes else KEPT_BODY_BYTES
            delivery.raw += frame[:-1]
        else:
            if (missing := delivery.kept_size - delivery.taken) > 0:
                delivery.parts.append(frame[7:-1][:missing])
            delivery.taken += len(frame) - 8
        if delivery.size > MAX_BODY_BYTES or delivery.taken > delivery.size:
            raise BadFrame(f"delivery {delivery.tag} has a body of {max(delivery.size, delivery.taken)} bytes")
        return delivery.taken == delivery.size

    def _event(self, delivery: _PartialDelivery) -> Event:
        body, raw = b"".join(delivery.parts), delivery.raw
        redelivered = raw[8] & 1 == 1
        event = Event(
            self._source, delivery.topic, body, self._now_ms, delivery.tag, raw, read, redelivered=redelivered
        )
        event.size = len(raw) + len(body)
        event.defect = delivery.defect
        event.skip(delivery.size - len(body))
        return event
