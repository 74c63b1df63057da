"""The event: one thing that happened at a source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

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

#: An event's headers, and its meta: only names of META_NAMES.
Details = tuple[Mapping[str, object], Mapping[str, object]]


class Gate(msgspec.Struct, frozen=True):
    """Makes the write of each event that has it happen at most once (see `sink/enqueue.lua`).

    kind "ack": `key` is a stream in the Redis that is written to, and XACK in `group` must say 1.
    kind "seen": `key` and the event's `deduplication_key` make a key that is remembered for `lifetime_ms`.
    """

    kind: str
    key: str
    group: str = ""
    lifetime_ms: int = 0


def already_parsed(raw: Any) -> Details:
    """Return details that are there already."""
    return raw  # type: ignore[no-any-return]


# A Struct, because one is made per event: it takes a fifth of a dataclass's time. gc=False: nothing in an
# event leads back to it, and a hundred thousand fewer objects for the collector to walk through.
class Event(msgspec.Struct, eq=False, gc=False):
    """One event as its source presents it; immutable by convention.

    `topic` is the MQTT topic, the AMQP routing key, the Redis channel or the stream's key.
    `received_at_ms` is epoch milliseconds. `token` is what the session needs to settle the
    event, opaque to everyone else. `raw` is what `read` makes headers and meta of, once somebody
    asks. `gate` and `deduplication_key`, where there are, make the write idempotent.
    `defect` says why the source can't present the event properly: it becomes a dead letter.
    `redelivered` says that the broker has delivered it before, to whoever.
    """

    source: str
    topic: str
    body: bytes
    received_at_ms: int
    token: object = None
    raw: object = ({}, {})
    read: Callable[[Any], Details] = already_parsed
    gate: Gate | None = None
    deduplication_key: bytes = b""
    defect: str = ""
    redelivered: bool = False

    def details(self) -> Details:
        """Return the headers and the meta, parsed each time.

        Raises:
            BadEvent: they can't be read.
        """
        return self.read(self.raw)
