"""The payload of a record: one batch with its number, not routed, in MessagePack."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from bridge.model.batch import Batch, BatchSequence
from bridge.model.event import Details, Event


class _EncodedEvent(msgspec.Struct, array_like=True):
    topic: str
    body: bytes
    received_at_ms: int
    raw: bytes | None
    defect: str
    #: Records of events without it have five fields.
    skipped: int = 0


class _EncodedBatch(msgspec.Struct, array_like=True):
    """A newer version may add fields at the end, here and to an event: they are passed over."""

    sequence: str
    number: int
    events: list[_EncodedEvent]


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_EncodedBatch).decode


def encode_batch(batch: Batch) -> bytes:
    """Return a batch that has its number as bytes; its messages and dead letters are left out."""
    events = [
        (
            event.topic,
            event.body,
            event.received_at_ms,
            event.raw if isinstance(event.raw, bytes) else None,
            event.defect,
            *((event.skipped,) if event.skipped else ()),
        )
        for event in batch.events
    ]
    return _encode((batch.sequence.name, batch.number, events))


def kept_apart(payload: bytes) -> bytes:
    """Return the batch of a record that an earlier start could not decode, in a sequence of its own; else the payload as it is.

    That start has gone on with later batches of its sequence, so Redis would refuse this one as written long ago.
    """
    try:
        encoded = _decode(payload)
    except msgspec.DecodeError:
        return payload
    return _encode(msgspec.structs.replace(encoded, sequence=f"{encoded.sequence}-unread"))


def decode_batch(payload: bytes, source: str, read: Callable[[Any], Details]) -> Batch:
    """Return the batch that `encode_batch` has encoded, not routed; `read` parses headers and meta of an event's `raw`.

    Raises:
        msgspec.DecodeError: the bytes are not such a batch.
    """
    encoded = _decode(payload)
    events = []
    for one in encoded.events:
        event = Event(source, one.topic, one.body, one.received_at_ms, defect=one.defect, skipped=one.skipped)
        event.size = len(one.topic) + len(one.body)
        if one.raw is not None:
            event.raw, event.read = one.raw, read
            event.size += len(one.raw)
        events.append(event)
    return Batch(events, BatchSequence(encoded.sequence, last=encoded.number), number=encoded.number)
