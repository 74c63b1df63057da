"""Encodes dead letters as fields of a stream's entry, each of a bounded size; `dead_letters.lua` bounds the stream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from bridge.errors import BadEvent
from bridge.model.batch import DeadLetter
from bridge.model.event import KEPT_BODY_BYTES, Event
from bridge.redis_io.connection import Word
from bridge.routing.json_types import to_json_types
from bridge.routing.redaction import RedactedEvent

#: The version of a dead letter's fields. Fields may be added to it, which older versions pass over; a letter with a higher number
#: is shown by them, and not retried.
DEAD_LETTER_VERSION: Final = 1
#: The bytes that are kept of a topic (MQTT's own limit; AMQP's is 255), and of headers and meta together.
_MAX_PART: Final = 64 * 1024
_MAX_ERROR: Final = 1_000
_MAX_CAUSE: Final = 300
#: The shares of `max_bytes` that a body, a topic, and headers with meta may take: one letter never takes half of it.
_BODY_SHARE: Final = 4
_PART_SHARE: Final = 16
_encode = msgspec.json.Encoder().encode


@dataclass(slots=True, frozen=True)
class LetterBounds:
    """The bounds of the dead letters' stream: entries, bytes in Redis's memory, milliseconds."""

    max_length: int
    max_bytes: int
    max_age_ms: int


def encode_letter(letter: DeadLetter, max_bytes: int) -> list[Word]:
    """Return the names and values of a dead letter in turn, for a stream of `max_bytes`.

    The body is whole unless no retry could use it, or it is larger than a quarter of `max_bytes`: `body_cut` says so.
    """
    event, max_part = letter.event, min(_MAX_PART, max_bytes // _PART_SHARE)
    is_whole = letter.is_body_usable and len(event.body) <= max_bytes // _BODY_SHARE
    body = event.body if is_whole else event.body[: min(KEPT_BODY_BYTES, max_bytes // _BODY_SHARE)]
    topic = _utf8(event.topic)
    fields: list[Word] = ["version", DEAD_LETTER_VERSION, "reason", letter.reason, "error", _shorten(letter.detail)]
    fields += ("source", event.source, "route", letter.route, "topic", _cut(topic, max_part))
    if len(topic) > max_part:
        fields += ("topic_cut", 1)
    fields += ("received_at", event.received_at_ms, *_details(event, max_part))
    if isinstance(event, RedactedEvent) and event.redacted:
        fields += ("redacted", _encode(event.redacted))
    fields += ("body_size", event.body_size, "body_cut", int(len(body) < event.body_size), "body", body)
    return [_utf8(value) if isinstance(value, str) else value for value in fields]


def _details(event: Event, max_bytes: int) -> list[Word]:
    """Return headers and meta as JSON; `details_error` says why some are left out, or all."""
    try:
        headers, meta = event.details()
        known = {name: value for name, value in meta.items() if value is not None}
        encoded_headers, encoded_meta = _json(headers), _json(known)
        error = ""
        size = len(encoded_headers) + len(encoded_meta)
        if size > max_bytes:
            kept_meta = _fitting(known, max_bytes // 2)
            kept_headers = _fitting(headers, max_bytes // 2)
            left_out = len(headers) + len(known) - len(kept_headers) - len(kept_meta)
            encoded_headers, encoded_meta = _json(kept_headers), _json(kept_meta)
            error = f"{left_out} of {len(headers) + len(known)} are left out: all have {size} bytes"
    except (ValueError, UnicodeEncodeError, BadEvent) as failure:
        # A dead letter without headers is better than none: they can't be read, or JSON can't hold them.
        encoded_headers = encoded_meta = b"{}"
        error = (failure.detail if isinstance(failure, BadEvent) else str(failure))[:_MAX_CAUSE]
    return ["headers", encoded_headers, "meta", encoded_meta, *(("details_error", error) if error else ())]


def _json(values: Mapping[Any, object]) -> bytes:
    return _encode(to_json_types(dict(values)))


def _fitting(values: Mapping[Any, object], max_bytes: int) -> dict[Any, object]:
    """Return as many of `values` as fit into `max_bytes` of JSON, in their order; those that are too large are left out."""
    fitting, room = {}, max_bytes - len("{}")
    for name, value in values.items():
        size = len(_json({name: value})) - len("{}") + len(",")
        if size <= room:
            fitting[name] = value
            room -= size
    return fitting


def _shorten(error: str) -> str:
    return error if len(error) <= _MAX_ERROR else f"{error[:_MAX_ERROR]} ... ({len(error)} characters)"


def _cut(text: bytes, max_bytes: int) -> bytes:
    # The first half of a character is no UTF-8.
    return text if len(text) <= max_bytes else text[:max_bytes].decode("utf-8", "ignore").encode()


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")
