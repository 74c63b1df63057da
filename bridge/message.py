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

_encode = msgspec.json.Encoder().encode
_VARIANT: Final = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))


@dataclass(slots=True, frozen=True, eq=False)
class Message:
    """One message as it goes to Redis: HSET `<queue>.msgs` `id` `body`, RPUSH `<queue>` `id`."""

    queue: str
    id: str
    body: bytes


def unique_ids(count: int) -> list[str]:
    """Return `count` random UUIDs of version 4 as text, from a single read of the system's randomness."""
    h = os.urandom(16 * count).hex()
    return [
        f"{h[i : i + 8]}-{h[i + 8 : i + 12]}-4{h[i + 13 : i + 16]}-{_VARIANT[h[i + 16]]}{h[i + 17 : i + 20]}-{h[i + 20 : i + 32]}"
        for i in range(0, 32 * count, 32)
    ]


class Template:
    """All that is known of a message before the event: encoded once, filled in per event.

    `options` are checked (see `bridge.options`); `delayed` says whether messages get an eta.
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
        self,
        args: object,
        kwargs: object,
        *,
        options: dict[str, object] | None = None,
        eta_ms: int | None = None,
        now_ms: int,
        ids: tuple[str, str],
    ) -> Message:
        """Return the message; `ids` are the redis_message_id and the message_id.

        Raises:
            BadEvent: `args` is no list, `kwargs` no mapping with text keys, or JSON can't hold them.
        """
        if type(args) is not list:
            raise BadEvent("wrong-type", f"args takes a list, not {type(args).__name__}")
        if type(kwargs) is not dict:
            raise BadEvent("wrong-type", f"kwargs takes a mapping, not {type(kwargs).__name__}")
        for key in kwargs:
            if type(key) is not str:
                raise BadEvent("wrong-type", f"kwargs takes text keys, not {type(key).__name__}")
        redis_id, message_id = ids
        try:
            parts = [self._head, _encode(args), b',"kwargs":', _encode(kwargs), self._options, redis_id.encode(), b'"']
            if eta_ms is not None:
                parts.append(b',"eta":%d' % eta_ms)
            if options:
                parts += (b",", _encode(options)[1:-1])
        except (UnicodeEncodeError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise BadEvent("not-json", f"the message can't be written as JSON: {error}"[:300]) from None
        parts.append(b'},"message_id":"%b","message_timestamp":%d}' % (message_id.encode(), now_ms))
        body = b"".join(parts)
        if len(body) > MAX_MESSAGE_BYTES:
            raise BadEvent("too-large", f"the message has {len(body)} bytes, at most {MAX_MESSAGE_BYTES} are written")
        return Message(self.queue, redis_id, body)
