"""Body to payload: one strict decoder per format.

Every decoder gives only what JSON can hold again (`bridge.model.message` writes JSON): text without
lone surrogates, finite numbers, mappings with text keys, nesting of at most `MAX_DEPTH`.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, NoReturn

import cbor2
import msgspec

from bridge.errors import BadEvent
from bridge.model.event import Event
from bridge.model.json_limits import MAX_DIGITS

MAX_DEPTH: Final = 64
_TOO_LARGE: Final[int] = 10**MAX_DIGITS
_LARGE: Final = 1024

Decode = Callable[[Event], object]

_json = msgspec.json.Decoder().decode
_msgpack = msgspec.msgpack.Decoder().decode


def _decode_json(event: Event) -> object:
    body = event.body
    # msgspec checks UTF-8, surrogates, NaN, 1e999 and the 4,300 digits; the depth is left to us.
    try:
        payload = _json(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        what = str(error).removeprefix("JSON is malformed: ")
        raise BadEvent("decode", f"not JSON: {what}"[:300]) from None
    # No call for a short body, nor for one flat object, as most are: it has no other bracket than its own.
    if (
        len(body) > 2 * MAX_DEPTH
        and (body.find(b"{", 1) >= 0 or body.find(b"[", 1) >= 0)
        and _may_nest(body)
        and type(payload) in (dict, list)
    ):
        check_depth(payload)
    return payload


def _may_nest(body: bytes) -> bool:
    """Tell whether there are enough brackets to nest too deeply."""
    if len(body) < _LARGE:
        return body.count(b"[") + body.count(b"{") > MAX_DEPTH
    # In a large body `find` is far faster than `count`, as long as it finds little.
    found = 0
    for bracket in (b"[", b"{"):
        at = body.find(bracket)
        while at >= 0:
            found += 1
            if found > MAX_DEPTH:
                return True
            at = body.find(bracket, at + 1)
    return False


def _decode_text(event: Event) -> object:
    try:
        return event.body.decode()
    except UnicodeDecodeError as error:
        raise BadEvent("decode", f"not UTF-8 text: {error}") from None


def _decode_bytes(event: Event) -> object:
    return base64.b64encode(event.body).decode("ascii")


def _decode_msgpack(event: Event) -> object:
    try:
        return plain(_msgpack(event.body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError, ValueError) as error:
        raise BadEvent("decode", f"not msgpack: {error}"[:300]) from None


def _decode_cbor(event: Event) -> object:
    try:
        # max_depth: cbor2's C decoder recurses; without a bound a hostile body ends the process.
        stream = io.BytesIO(event.body)
        payload = cbor2.CBORDecoder(stream, max_depth=MAX_DEPTH + 1, semantic_decoders=_CBOR_REFUSED).decode()
        if stream.read(1):  # `cbor2.loads` would take the first value and drop the rest
            raise ValueError("trailing bytes after the value")
        return plain(payload)
    except (cbor2.CBORError, RecursionError, TypeError, ValueError, OverflowError, MemoryError) as error:
        raise BadEvent("decode", f"not CBOR: {error}"[:300]) from None


def _refuse_reference(_decoder: object) -> NoReturn:
    raise ValueError("a reference to another part of the body")


#: Shared values and string references: 200 bytes of them are gigabytes once they are JSON.
_CBOR_REFUSED: Final = dict.fromkeys((25, 28, 29, 256), _refuse_reference)

_DECODERS: Final[dict[str, Decode]] = {
    "json": _decode_json,
    "text": _decode_text,
    "bytes": _decode_bytes,
    "msgpack": _decode_msgpack,
    "cbor": _decode_cbor,
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
    _, meta = event.details()
    declared = meta.get("content_type")
    if not declared:
        return _decode_json(event)
    media = str(declared).partition(";")[0].strip().lower()
    kind = _CONTENT_TYPES.get(media)
    if kind is None and media.startswith("text/"):
        kind = "text"
    if kind is None:
        kind = media.rpartition("+")[2]  # application/senml+cbor, application/vnd.x+json
        if kind not in ("json", "cbor"):
            raise BadEvent("decode", f"no decoder for the content type {media[:80]!r}")
    return _DECODERS[kind](event)


def decoder(kind: str) -> Decode:
    """Return the decoder for `decode: kind`; it raises BadEvent("decode", ...) for what it refuses."""
    return _decode_auto if kind == "auto" else _DECODERS[kind]


def check_depth(payload: object) -> None:
    """Refuse a container that nests deeper than MAX_DEPTH; layer by layer, without recursion."""
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


def plain(value: object, depth: int = 0) -> object:
    """Return `value` in JSON's own types: bytes become base64 text, dates ISO 8601 text.

    Raises:
        ValueError: a number that is not finite or has too many digits, nesting beyond
            MAX_DEPTH, a key that is not text, a type that JSON does not have.
    """
    kind = type(value)
    if kind is str:
        value.encode()  # type: ignore[attr-defined]  # a lone surrogate raises
        return value
    if value is None or kind is bool:
        return value
    if kind is int:
        if not -_TOO_LARGE < value < _TOO_LARGE:  # type: ignore[operator]
            raise ValueError(f"an integer of more than {MAX_DIGITS} digits")
        return value
    if kind is float:
        if not math.isfinite(value):  # type: ignore[arg-type]
            raise ValueError(f"{value} is not a number that JSON has")
        return value
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    return _plain_container(value, depth)


def _plain_container(value: object, depth: int) -> object:
    if depth >= MAX_DEPTH:
        raise ValueError(f"nested more than {MAX_DEPTH} deep")
    if isinstance(value, Mapping):
        return {_plain_key(key): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, depth + 1) for item in value]
    raise ValueError(f"JSON has no {type(value).__name__}")


def _plain_key(key: object) -> str:
    if isinstance(key, str):
        key.encode()
        return key
    if isinstance(key, int) and not isinstance(key, bool):
        return str(key)
    raise ValueError(f"a key is {type(key).__name__}, not text")
