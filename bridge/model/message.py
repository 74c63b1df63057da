"""The Dramatiq message: its identity and its exact JSON.

The wire form is what `dramatiq.brokers.redis.RedisBroker.enqueue` writes, unchanged from
Dramatiq 1.0 to 2.2: seven keys, `options.redis_message_id` equal to the hash field and to the
list's element; a delayed message has `.DQ` after its queue's name and `options.eta` in epoch
milliseconds.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

import msgspec

from bridge.errors import BadEvent

#: Larger messages are refused before Redis: a route has multiplied what it was given.
MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
#: The last three digits of ids.
_ENDS: Final = tuple(b"%03x" % number for number in reversed(range(4096)))
_encode = msgspec.json.Encoder().encode
_VARIANT: Final = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))
_CLOSED: Final = b'"'
_NOT_JSON: Final = (UnicodeEncodeError, TypeError, ValueError, OverflowError, RecursionError)


@dataclass(slots=True, frozen=True, eq=False)
class Message:
    """One message as it goes to Redis: HSET `<queue>.msgs` `id` `body`, RPUSH `<queue>` `id`."""

    queue: str
    id: bytes
    body: bytes


class MessageIds:
    """What messages that are made together have in common: their time, and their ids but for the end.

    An id has the form of a UUID of version 4. 110 of its 122 random bits are the stamp's, the last 12 count its
    messages: one read of the system's randomness serves 4,096 of them, and then it is renewed.
    """

    __slots__ = ("between", "ends", "now_ms", "redis_id", "tail")

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms
        self.tail = b'","message_timestamp":%d}' % now_ms
        self.redis_id = self.between = b""
        self.ends: list[bytes] = []

    def renew(self) -> None:
        """Make new ids, once there are no more `ends`."""
        h = os.urandom(32).hex()
        self.redis_id = _beginning(h[:32])
        self.between = b'},"message_id":"' + _beginning(h[32:])
        self.ends += _ENDS


class Template:
    """All that is known of a message before the event: encoded once, filled in per event.

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

    def fill(self, args: object, kwargs: object, stamp: MessageIds, more: bytes = _CLOSED) -> tuple[bytes, bytes]:
        """Return a message's redis_message_id and its body; `more` comes from `encode_dynamic_options`.

        `args` is a list and `kwargs` a mapping with text keys: `check_arguments` where that is not sure.

        Raises:
            BadEvent: JSON can't hold them, or only in a message that is too large.
        """
        if not stamp.ends:
            stamp.renew()
        end = stamp.ends.pop()
        redis_id = stamp.redis_id + end
        try:
            body = b"".join((
                self._head, _encode(args), b',"kwargs":', _encode(kwargs),
                self._options, redis_id, more, stamp.between, end, stamp.tail,
            ))  # fmt: skip
        except _NOT_JSON as error:
            raise _not_json(error) from None
        if len(body) > MAX_MESSAGE_BYTES:
            raise BadEvent("too-large", f"the message has {len(body)} bytes, at most {MAX_MESSAGE_BYTES} are written")
        return redis_id, body


def encode_dynamic_options(options: object, eta_ms: int | None) -> bytes:
    """Return what stands behind the redis_message_id: options that came from the event, and the eta.

    Raises:
        BadEvent: JSON can't hold them.
    """
    more = _CLOSED if eta_ms is None else b'","eta":%d' % eta_ms
    try:
        return b"%b,%b" % (more, _encode(options)[1:-1]) if options else more
    except _NOT_JSON as error:
        raise _not_json(error) from None


def check_arguments(args: object, kwargs: object) -> None:
    """Refuse what no actor can be called with.

    Raises:
        BadEvent: `args` is no list, or `kwargs` no mapping with text keys.
    """
    if type(args) is not list:
        raise BadEvent("wrong-type", f"args takes a list, not {type(args).__name__}")
    if type(kwargs) is not dict:
        raise BadEvent("wrong-type", f"kwargs takes a mapping, not {type(kwargs).__name__}")
    for key in kwargs:
        if type(key) is not str:
            raise BadEvent("wrong-type", f"kwargs takes text keys, not {type(key).__name__}")


def _not_json(error: Exception) -> BadEvent:
    return BadEvent("not-json", f"the message can't be written as JSON: {error}"[:300])


def _beginning(h: str) -> bytes:
    return f"{h[:8]}-{h[8:12]}-4{h[13:16]}-{_VARIANT[h[16]]}{h[17:20]}-{h[20:29]}".encode()
