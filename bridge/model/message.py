"""The Dramatiq message: its ids and its exact JSON.

The wire form is that of `dramatiq.brokers.redis.RedisBroker.enqueue`, unchanged from Dramatiq 1.0 to 2.2: seven keys;
`options.redis_message_id` equals the hash's field and the list's element; a delayed message has `.DQ` after its
queue's name and `options.eta` in epoch milliseconds.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, NoReturn

import msgspec

from bridge.errors import BadEvent

#: Larger messages are refused before Redis: a route has multiplied its input (`join` of a `split`), and any publisher
#: could fill Redis through it. Every message may have so many bytes, and so many more for each byte of its event, ...
FREE_MESSAGE_BYTES: Final = 64 * 1024
MAX_GROWTH: Final = 16
#: ... and none more than this.
MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
#: All messages that one route makes of one event.
MAX_ROUTE_BYTES: Final = 16 * 1024 * 1024
#: The last three digits of ids.
_SUFFIXES: Final = tuple(b"%03x" % number for number in reversed(range(4096)))


def _no_json(value: object) -> NoReturn:
    """Raise the TypeError of a value that is none of JSON's; headers of which some can't be read raise a BadEvent."""
    raise TypeError(f"it has a value of the type {value.__class__.__name__}")


_encode = msgspec.json.Encoder(enc_hook=_no_json).encode
#: Maps a random digit to one of 8, 9, a and b, which a UUID has in this place.
_VARIANT: Final = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))
#: Ends the redis_message_id.
CLOSING_QUOTE: Final = b'"'
_BEFORE_MESSAGE_ID: Final = b'},"message_id":"'
_NOT_JSON: Final = (UnicodeEncodeError, TypeError, ValueError, OverflowError, RecursionError)


@dataclass(slots=True, frozen=True)
class GateRule:
    """The rule for the keys of a route's messages: Redis remembers each for `lifetime_ms`; no two routes share a key.

    `is_shown` says whether a log line may have a key: it is made of nothing that `dead_letters.redact` removes.
    """

    route: str
    lifetime_ms: int
    is_shown: bool = True


class Gate(NamedTuple):
    """A message is written only if Redis does not remember its `key`; the write makes it remember."""

    rule: GateRule
    key: bytes


@dataclass(slots=True, frozen=True, eq=False)
class Message:
    """One message as it goes to Redis: HSET `<queue>.msgs` `id` `body`, RPUSH `<queue>` `id`."""

    queue: str
    id: bytes
    body: bytes
    gate: Gate | None = None


class MessageIds:
    """The time and the ids of messages that are made together; `now_ms` is epoch milliseconds.

    An id has the form of a UUID of version 4. Of its 122 random bits, 110 are common to 4,096 messages and the last 12
    count them (`suffixes`): they share one read of the system's randomness, and `renew` makes the next one.
    `message_id_prefix` begins with the JSON between the two ids of a message, `tail` is the JSON after them.
    """

    __slots__ = ("message_id_prefix", "now_ms", "redis_id_prefix", "suffixes", "tail")

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms
        self.tail = b'","message_timestamp":%d}' % now_ms
        self.redis_id_prefix = self.message_id_prefix = b""
        self.suffixes: list[bytes] = []

    def renew(self) -> None:
        """Make 4,096 new ids; call it once `suffixes` is empty."""
        h = self._random().hex()
        self.redis_id_prefix = _uuid_prefix(h[:32])
        self.message_id_prefix = _BEFORE_MESSAGE_ID + _uuid_prefix(h[32:])
        self.suffixes += _SUFFIXES

    def next_message_id(self) -> str:
        """Return the message_id of a message that is written into another one."""
        if not self.suffixes:
            self.renew()
        return (self.message_id_prefix[len(_BEFORE_MESSAGE_ID) :] + self.suffixes.pop()).decode()

    def _random(self) -> bytes:
        """Return 32 bytes: 16 for the redis_message_ids, 16 for the message_ids."""
        return os.urandom(32)


class Template:
    """The part of a message that is known before the event: encoded once, filled in per event.

    `options` are checked (see `bridge.config.message_options`); `delayed` says whether messages get an eta.
    """

    __slots__ = ("_head", "_options", "queue")

    def __init__(
        self, actor: str, queue: str, options: dict[str, object] | None = None, *, delayed: bool = False
    ) -> None:
        self.queue = f"{queue}.DQ" if delayed else queue
        self._head = b'{"queue_name":%b,"actor_name":%b,"args":' % (_encode(self.queue), _encode(actor))
        static = _encode(options)[1:-1] + b"," if options else b""
        self._options = b',"options":{%b"redis_message_id":"' % static

    def fill(
        self, args: object, kwargs: object, ids: MessageIds, dynamic_options: bytes = CLOSING_QUOTE
    ) -> tuple[bytes, bytes]:
        """Return a message's redis_message_id and its body; `dynamic_options` comes from `encode_dynamic_options`.

        `args` is a list and `kwargs` a mapping with text keys: see `routing.message_builder.check_arguments`, and
        `check_growth` of a message that comes from an event.

        Raises:
            BadEvent: JSON can't hold them.
        """
        if not ids.suffixes:
            ids.renew()
        suffix = ids.suffixes.pop()
        redis_id = ids.redis_id_prefix + suffix
        try:
            body = b"".join((
                self._head, _encode(args), b',"kwargs":', _encode(kwargs),
                self._options, redis_id, dynamic_options, ids.message_id_prefix, suffix, ids.tail,
            ))  # fmt: skip
        except _NOT_JSON as error:
            raise _not_json(error) from None
        return redis_id, body


def encode_dynamic_options(options: object, eta_ms: int | None, start: bytes = CLOSING_QUOTE) -> bytes:
    """Return the JSON after the redis_message_id: its closing quote, the eta, and the options that came from the event.

    `start` is the closing quote, and behind it the options of the event's trace.

    Raises:
        BadEvent: JSON can't hold them.
    """
    encoded = start if eta_ms is None else b'%b,"eta":%d' % (start, eta_ms)
    try:
        return b"%b,%b" % (encoded, _encode(options)[1:-1]) if options else encoded
    except _NOT_JSON as error:
        raise _not_json(error) from None


def check_growth(size: int, event_size: int) -> None:
    """Refuse a message of `size` bytes that its event of `event_size` bytes does not explain.

    Raises:
        BadEvent: it is too large.
    """
    most = min(MAX_MESSAGE_BYTES, FREE_MESSAGE_BYTES + MAX_GROWTH * event_size)
    if size > most:
        detail = f"the message has {size} bytes; of an event of {event_size} bytes a route makes {most} at most"
        raise BadEvent("too-large", detail)


def check_sizes(messages: Sequence[Message], event_size: int) -> None:
    """Check the messages that a route makes of one event of `event_size` bytes.

    Raises:
        BadEvent: one is too large, or all together are.
    """
    total = 0
    for message in messages:
        size = len(message.body)
        if size > FREE_MESSAGE_BYTES:
            check_growth(size, event_size)
        total += size
    if total > MAX_ROUTE_BYTES:
        detail = f"the {len(messages)} messages have {total} bytes together; a route makes {MAX_ROUTE_BYTES} at most"
        raise BadEvent("too-large", detail)


def _not_json(error: Exception) -> BadEvent:
    return BadEvent("not-json", f"the message can't be written as JSON: {error}"[:300])


def _uuid_prefix(h: str) -> bytes:
    """Return the first 33 of a UUID's 36 characters, from 32 random hexadecimal digits."""
    return f"{h[:8]}-{h[8:12]}-4{h[13:16]}-{_VARIANT[h[16]]}{h[17:20]}-{h[20:29]}".encode()
