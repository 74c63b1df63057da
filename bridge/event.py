"""The event: one thing that happened at a source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

#: The names an expression may read from `meta`; null where the protocol does not have them.
META_NAMES: Final = (
    "message_id",
    "correlation_id",
    "reply_to",
    "content_type",
    "timestamp",
    "expires_in",
    "exchange",
    "redelivered",
    "qos",
    "retain",
    "entry_id",
)

#: Makes the write of one event happen at most once (see `sink/enqueue.lua`):
#: `("ack", stream key, group, entry id)` or `("seen", key, milliseconds)`.
Gate = tuple[str, ...]


@dataclass(slots=True, eq=False)
class Event:
    """One event as its source presents it; immutable by convention.

    `topic` is the MQTT topic, the AMQP routing key, the Redis channel or the stream's key.
    `received_at_ms` is epoch milliseconds. `token` is what the session needs to settle the
    event, opaque to everyone else. `gate`, where there is one, makes the write idempotent.
    `defect` says why the source can't present the event properly: it becomes a dead letter.
    """

    source: str
    topic: str
    body: bytes
    received_at_ms: int
    headers: Mapping[str, object] = field(default_factory=dict)
    meta: Mapping[str, object] = field(default_factory=dict)
    token: object = None
    gate: Gate | None = None
    defect: str = ""
