"""Body to payload: one strict decoder per format.

Every decoder returns only values that JSON can hold again (`bridge.model.message` writes JSON): text
without lone surrogates, finite numbers, mappings with text keys, nesting of at most `MAX_DEPTH`.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Any, Final

import cbor2
import msgspec

from bridge.errors import BadEvent
from bridge.model.event import Event
from bridge.model.json_limits import EXPONENTS_FROM_BYTES, check_exponents
from bridge.routing.binary_formats import check_cbor, check_msgpack, has_times
from bridge.routing.body_check import MAX_DEPTH
from bridge.routing.cbor_tags import CBOR_TAGS
from bridge.routing.json_types import to_json_types

_LARGE_BODY_BYTES: Final = 1024

#: The first characters of values in JSON; "" is part of every text.
_BEGINS_JSON: Final = '{["-0123456789tfn'

Decode = Callable[[Event], object]

#: A smaller body of msgpack or CBOR is not checked before it is decoded: it can cost some milliseconds at most, and
#: `to_json_types` refuses the same values afterwards, but for one that a later field with an equal key has replaced.
_CHECKED_FROM_BYTES: Final = 16 << 10

_json = msgspec.json.Decoder().decode
_msgpack = msgspec.msgpack.Decoder().decode


def _decode_json(event: Event) -> object:
    body = event.body
    # msgspec checks UTF-8, surrogates, NaN, 1e999 and the 4,300 digits, but not the depth.
    try:
        if len(body) > EXPONENTS_FROM_BYTES:
            check_exponents(body)
        payload = _json(body)
    except (ValueError, RecursionError) as error:  # msgspec.DecodeError and UnicodeDecodeError are ValueErrors
        cause = str(error).removeprefix("JSON is malformed: ")
        raise _refused("JSON", body, f"{cause}{_text_hint(body)}") from None
    # Most bodies are short or one flat object (no bracket after the first byte): they skip the count.
    if (
        len(body) > 2 * MAX_DEPTH
        and (body.find(b"{", 1) >= 0 or body.find(b"[", 1) >= 0)
        and _may_nest(body)
        and type(payload) in (dict, list)
    ):
        check_depth(payload)
    return payload


def _refused(format_: str, body: bytes, cause: str) -> BadEvent:
    cause = cause if body.strip() else "the body is empty"
    return BadEvent("decode", f"not {format_}: {cause}"[:300])


def _text_hint(body: bytes) -> str:
    """Return a hint where the body seems to be text that was never meant as JSON."""
    try:
        begins = body.decode().lstrip()[:1]
    except UnicodeDecodeError:
        return ""
    return "" if begins in _BEGINS_JSON or not begins.isprintable() else "; for plain text, set decode: text"


def _may_nest(body: bytes) -> bool:
    """Return whether the body has enough brackets to nest deeper than MAX_DEPTH."""
    if len(body) < _LARGE_BODY_BYTES:
        return body.count(b"[") + body.count(b"{") > MAX_DEPTH
    # In a large body with few brackets `find` is far faster than `count`.
    brackets = 0
    for bracket in (b"[", b"{"):
        position = body.find(bracket)
        while position >= 0:
            brackets += 1
            if brackets > MAX_DEPTH:
                return True
            position = body.find(bracket, position + 1)
    return False


def _decode_text(event: Event) -> object:
    try:
        return event.body.decode()
    except UnicodeDecodeError as error:
        raise BadEvent("decode", f"not UTF-8 text: {error}") from None


def _decode_bytes(event: Event) -> object:
    return base64.b64encode(event.body).decode("ascii")


def _decode_msgpack(event: Event) -> object:
    body = event.body
    try:
        if len(body) < _CHECKED_FROM_BYTES:
            return to_json_types(_msgpack(body))
        heads = check_msgpack(body)
        payload = _msgpack(body)
        return to_json_types(payload) if has_times(heads) else msgspec.to_builtins(payload, str_keys=True)
    except (ValueError, TypeError, RecursionError) as error:
        raise _refused("msgpack", body, str(error)) from None


def _decode_cbor(event: Event) -> object:
    body = event.body
    try:
        is_checked = len(body) >= _CHECKED_FROM_BYTES
        if is_checked:
            check_cbor(body)
        # cbor2's decoder recurses: without max_depth a hostile body ends the process.
        stream = io.BytesIO(body)
        payload = cbor2.CBORDecoder(stream, max_depth=MAX_DEPTH + 1, semantic_decoders=CBOR_TAGS).decode()
        if stream.read(1):  # `cbor2.loads` would accept the first value and drop the rest
            raise ValueError("trailing bytes after the value")
        return msgspec.to_builtins(payload, str_keys=True) if is_checked else to_json_types(payload)
    except (cbor2.CBORError, ValueError, TypeError, RecursionError, OverflowError, MemoryError) as error:
        raise _refused("CBOR", body, str(error.__cause__ or error)) from None


_DECODERS: Final[dict[str, Decode]] = {
    "json": _decode_json,
    "text": _decode_text,
    "bytes": _decode_bytes,
    "msgpack": _decode_msgpack,
    "cbor": _decode_cbor,
}

#: The formats whose payloads can have fields.
ENCODERS: Final[dict[str, Callable[[Any], bytes]]] = {
    "json": msgspec.json.encode,
    "msgpack": msgspec.msgpack.encode,
    "cbor": cbor2.dumps,
}

_CONTENT_TYPES: Final = {
    "application/json": "json",
    "application/octet-stream": "bytes",
    "application/msgpack": "msgpack",
    "application/x-msgpack": "msgpack",
    "application/vnd.msgpack": "msgpack",
    "application/cbor": "cbor",
}


def _decode_auto(event: Event) -> object:
    declared = event.details()[1].get("content_type")
    # Nearly all are written exactly so: one look-up.
    kind = _CONTENT_TYPES.get(declared) if type(declared) is str else None
    return _DECODERS[kind or declared_format(event)](event)


def format_of(kind: str, event: Event) -> str:
    """Return the format of an event's body: `kind`, unless that is "auto".

    Raises:
        BadEvent: the event's content type has no decoder.
    """
    return declared_format(event) if kind == "auto" else kind


def declared_format(event: Event) -> str:
    """Return the format that an event's content type names; JSON without one.

    Raises:
        BadEvent: no decoder reads this content type.
    """
    _, meta = event.details()
    declared = meta.get("content_type")
    if not declared:
        return "json"
    media = str(declared).partition(";")[0].strip().lower()
    known = _CONTENT_TYPES.get(media)
    if known is not None:
        return known
    if media.startswith("text/"):
        return "text"
    suffix = media.rpartition("+")[2]  # application/senml+cbor, application/vnd.x+json
    if suffix not in ("json", "cbor"):
        raise BadEvent("decode", f"no decoder for the content type {media[:80]!r}")
    return suffix


def decoder(kind: str) -> Decode:
    """Return the decoder for `decode: kind`; it raises BadEvent("decode", ...) for a body that it refuses."""
    return _decode_auto if kind == "auto" else _DECODERS[kind]


def check_depth(payload: object) -> None:
    """Check layer by layer, without recursion, that a container nests at most MAX_DEPTH deep.

    Raises:
        BadEvent: it nests deeper.
    """
    layer: list[Any] = [payload]
    for _ in range(MAX_DEPTH):
        layer = [
            child
            for node in layer
            for child in (node.values() if type(node) is dict else node)
            if type(child) is dict or type(child) is list
        ]
        if not layer:
            return
    raise BadEvent("decode", f"nested more than {MAX_DEPTH} deep")
