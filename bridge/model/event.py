"""The event: one thing that happened at a source."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from typing import Any, Final, NoReturn

import msgspec

from bridge.errors import BadEvent

#: The names an expression may read from `meta`; null where the protocol does not have them.
META_NAMES: Final = (
    "message_id",
    "correlation_id",
    "reply_to",
    "content_type",
    "content_encoding",
    "type",
    "app_id",
    "user_id",
    "priority",
    "timestamp",
    "expires_in",
    "exchange",
    "redelivered",
    "qos",
    "retain",
    "entry_id",
)

#: The part that is kept of a body which is too large to be used: enough to see in the dead letter what was sent.
KEPT_BODY_BYTES: Final = 16 << 10

#: An event's headers, and its meta: only names of META_NAMES.
Details = tuple[Mapping[str, object], Mapping[str, object]]


class PartlyRead(Mapping[str, object]):
    """Headers, or a meta, of which some can't be read: `cause` says why.

    They are the `unreadable` names; None means each name that is not among those that were `read`.
    """

    def __init__(self, read: Mapping[str, object], cause: str, unreadable: Container[str] | None) -> None:
        self._read = read
        self._cause = cause
        self._unreadable = unreadable

    def __getitem__(self, name: str) -> object:
        """Return a value. Raises KeyError where there is none, BadEvent where it can't be read."""
        if name not in self._read and (self._unreadable is None or name in self._unreadable):
            self.refuse()
        return self._read[name]

    @property  # type: ignore[misc]
    def __class__(self) -> type[PartlyRead]:
        """Raise BadEvent: who asks for the type of headers takes all of them for a value."""
        self.refuse()

    def __lt__(self, _other: object) -> bool:
        """Raise BadEvent."""
        self.refuse()

    __le__ = __gt__ = __ge__ = __lt__

    def refuse(self) -> NoReturn:
        """Raise BadEvent: whoever asks for all asks for those that can't be read, too."""
        raise BadEvent("decode", self._cause)

    def __iter__(self) -> Iterator[str]:
        """Raise BadEvent."""
        self.refuse()

    def __len__(self) -> int:  # noqa: PLE0303 - there is no number
        """Raise BadEvent."""
        self.refuse()


class UnreadableDetails(BadEvent):
    """Headers and meta of which some can't be read; `details` has the others."""

    def __init__(self, cause: str, details: Details) -> None:
        super().__init__("decode", cause)
        self.details = details


class OnceByXack(msgspec.Struct, frozen=True):
    """Write an event only if XACK of the entry `event.deduplication_key` says 1.

    `stream` is a key in the Redis that the sink writes to, `group` a consumer group of it. Where the group was lost and
    made again, XACK can't tell: then the write remembers the entry itself, as with `OnceByKey`.
    `log` names the reader, for whom the write keeps the highest id of the events written.
    """

    stream: str
    group: str
    prefix: str
    lifetime_ms: int
    log: str


class OnceByKey(msgspec.Struct, frozen=True):
    """Write an event only if Redis does not remember its key, which is `prefix` and `event.deduplication_key`.

    The write itself makes Redis remember the key, for `lifetime_ms`. `log` is as in `OnceByXack`.
    """

    prefix: str
    lifetime_ms: int
    log: str


class OncePerRoute(msgspec.Struct, frozen=True):
    """Write each message of an event only if Redis does not remember its route under the event's key.

    The key is that of `OnceByKey`. A dead letter is not remembered: the route that failed may succeed when the event
    comes again, and then its message alone is written.

    `is_shown` says whether a log line may have the key: it is made of nothing that `dead_letters.redact` removes.
    """

    prefix: str
    lifetime_ms: int
    is_shown: bool = True


class OnceByPosition(msgspec.Struct, frozen=True):
    """Write an event of a log whose reader receives it in order, only if the reader's position is not behind it.

    The event's deduplication key is its offset, one number in decimal digits. The write moves the position to the
    offset behind it: every event before the position is written, and none after it.
    `log` is as in `OnceByXack`.
    """

    log: str


#: The condition under which an event is written, so that it is written at most once (see `sink/enqueue.lua`).
WriteOnce = OnceByXack | OnceByKey | OncePerRoute | OnceByPosition
#: The conditions of the events of a log, for whose reader the write keeps a position.
OF_A_LOG: Final = (OnceByXack, OnceByKey, OnceByPosition)


def already_parsed(raw: Any) -> Details:
    """Return `raw` itself: the source has parsed headers and meta already."""
    return raw  # type: ignore[no-any-return]


# A Struct, because one is made per event: it takes a fifth of a dataclass's time. gc=False: nothing in an
# event leads back to it, and a hundred thousand fewer objects for the collector to walk through.
class Event(msgspec.Struct, eq=False, gc=False):
    """One event as its source presents it. Later only routing sets `write_once` and `deduplication_key`.

    `topic` is the MQTT topic, the AMQP routing key, the Redis channel or the stream's key.
    `received_at_ms` is epoch milliseconds.
    `token` lets the session acknowledge the event; it is opaque to everyone else, and None if the broker
    expects no acknowledgement.
    `raw` holds the unparsed headers and meta; `read` parses them, only when a route needs them.
    `write_once` and `deduplication_key` make the write idempotent; without a condition the event is written each time.
    `defect` says why the source can't present the event properly; such an event becomes a dead letter.
    `redelivered` says that the broker has delivered it before, to any consumer.
    `size` is its share of a window's bytes: body, topic, headers and properties, as they were received.
    `skipped` counts the bytes behind `body` that the source did not keep, because the whole is larger than `max_body`;
    such an event has a `defect` too. `grown` counts the bytes that came out of a compressed body, once it was read.
    """

    source: str
    topic: str
    body: bytes
    received_at_ms: int
    token: object = None
    raw: object = ({}, {})
    read: Callable[[Any], Details] = already_parsed
    write_once: WriteOnce | None = None
    deduplication_key: bytes = b""
    defect: str = ""
    redelivered: bool = False
    size: int = 0
    skipped: int = 0
    grown: int = 0

    @property
    def body_size(self) -> int:
        """The bytes of the whole body, also of the part that was not kept."""
        return len(self.body) + self.skipped

    def skip(self, size: int) -> None:
        """Note that `size` bytes behind `body` were not kept; call it once `defect` is set, if there is one."""
        self.skipped = size
        if size and not self.defect:
            self.defect = "the body is too large to be kept"

    def details(self) -> Details:
        """Return the headers and the meta; each call parses them again.

        Raises:
            BadEvent: they can't be read.
        """
        return self.read(self.raw)

    def readable_details(self) -> Details:
        """Return the headers and the meta. Those that can't be read raise a BadEvent once they are asked for.

        Raises:
            BadEvent: none of them can be read.
        """
        try:
            return self.read(self.raw)
        except UnreadableDetails as error:
            return error.details
