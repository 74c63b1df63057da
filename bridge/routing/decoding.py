"""Body to payload: one strict decoder per format.

Every decoder returns only values that JSON can hold again (`bridge.model.message` writes JSON): text
without lone surrogates, finite numbers, mappings with text keys, nesting of at most `MAX_DEPTH`.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from typing import Any, Final

import cbor2
import msgspec

from bridge.errors import BadEvent
from bridge.model.event import Event
from bridge.routing.binary_formats import check_cbor, check_msgpack, has_times
from bridge.routing.body_check import MAX_DEPTH
from bridge.routing.cbor_tags import CBOR_TAGS
from bridge.routing.forms import read_form, write_form
from bridge.routing.json_bodies import json_decoder, lines_decoder
from bridge.routing.json_types import refuse_type, to_json_types
from bridge.routing.refusal import Decode, Refuse, refuse

#: A smaller body of msgpack or CBOR is not checked before it is decoded: it can cost some milliseconds at most, and
#: `to_json_types` refuses the same values afterwards, but for one that a later field with an equal key has replaced.
_CHECKED_FROM_BYTES: Final = 16 << 10

_msgpack = msgspec.msgpack.Decoder().decode


def _text_decoder(refuse: Refuse) -> Decode:
    def decode_text(event: Event) -> object:
        try:
            return event.body.decode()
        except UnicodeDecodeError as error:
            return refuse("text", event, error)

    return decode_text


def _bytes_decoder(_refuse: Refuse) -> Decode:
    def decode_bytes(event: Event) -> object:
        return base64.b64encode(event.body).decode("ascii")

    return decode_bytes


def _msgpack_decoder(refuse: Refuse) -> Decode:
    def decode_msgpack(event: Event) -> object:
        body = event.body
        try:
            if len(body) < _CHECKED_FROM_BYTES:
                return to_json_types(_msgpack(body))
            heads = check_msgpack(body)
            payload = _msgpack(body)
            return to_json_types(payload) if has_times(heads) else msgspec.to_builtins(payload, str_keys=True)
        except (ValueError, TypeError, RecursionError) as error:
            return refuse("msgpack", event, error)

    return decode_msgpack


def _cbor_decoder(refuse: Refuse) -> Decode:
    def decode_cbor(event: Event) -> object:
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
            if not is_checked:
                return to_json_types(payload)
            return msgspec.to_builtins(payload, str_keys=True, enc_hook=refuse_type)
        except (cbor2.CBORError, ValueError, TypeError, RecursionError, OverflowError, MemoryError) as error:
            return refuse("cbor", event, error)

    return decode_cbor


def _form_decoder(refuse: Refuse) -> Decode:
    def decode_form(event: Event) -> object:
        try:
            return read_form(event.body)
        except ValueError as error:
            return refuse("form", event, error)

    return decode_form


def _json_or_text_decoder(refuse: Refuse) -> Decode:
    # A refusal that is none of the syntax (nested too deeply) stays one.
    def text(_kind: str, event: Event, error: Exception) -> object:
        return refuse("json-or-text", event, error)

    return json_decoder(text)


Maker = Callable[[Refuse], Decode]

#: The decoders by their kind, each made with the function for bodies that it does not read.
DECODERS: Final[Mapping[str, Maker]] = {
    "json": json_decoder,
    "text": _text_decoder,
    "json-or-text": _json_or_text_decoder,
    "ndjson": lines_decoder,
    "form": _form_decoder,
    "bytes": _bytes_decoder,
    "msgpack": _msgpack_decoder,
    "cbor": _cbor_decoder,
}


def _write_json_or_text(payload: Any) -> bytes:
    return payload.encode() if _is_no_json(payload) else msgspec.json.encode(payload)


def _is_no_json(payload: object) -> bool:
    """Tell whether a payload is a text that no decoder of JSON takes for a value."""
    if not isinstance(payload, str):
        return False
    try:
        msgspec.json.decode(payload.encode())
    except (ValueError, RecursionError):
        return True
    return False


def _write_lines(payload: Any) -> bytes:
    if not isinstance(payload, list):
        raise TypeError("it takes a list")
    return b"".join(msgspec.json.encode(value) + b"\n" for value in payload)


#: By the kind: how a payload without its redacted fields is written as a body again. Payloads of other kinds have no fields.
ENCODERS: Final[dict[str, Callable[[Any], bytes]]] = {
    "json": msgspec.json.encode,
    "msgpack": msgspec.msgpack.encode,
    "cbor": cbor2.dumps,
    "json-or-text": _write_json_or_text,
    "ndjson": _write_lines,
    "form": write_form,
}

_CONTENT_TYPES: Final = {
    "application/json": "json",
    "text/json": "json",
    "application/x-ndjson": "ndjson",
    "application/x-www-form-urlencoded": "form",
    "application/octet-stream": "bytes",
    "application/msgpack": "msgpack",
    "application/x-msgpack": "msgpack",
    "application/vnd.msgpack": "msgpack",
    "application/cbor": "cbor",
}


def _auto_decoder(refuse: Refuse, makers: Mapping[str, Maker]) -> Decode:
    decoders = {kind: make(refuse) for kind, make in makers.items()}

    def decode_auto(event: Event) -> object:
        declared = event.readable_details()[1].get("content_type")
        # Nearly all are written exactly so: one look-up.
        kind = _CONTENT_TYPES.get(declared) if type(declared) is str else None
        return decoders[kind or declared_format(event)](event)

    return decode_auto


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
    _, meta = event.readable_details()
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


def decoder(kind: str, refuse: Refuse = refuse, makers: Mapping[str, Maker] = DECODERS) -> Decode:
    """Return the decoder for `decode: kind`; a body that it does not read is given to `refuse`.

    It raises BadEvent("decode", ...) itself for a body that is nested too deeply or has too many lines.
    """
    return _auto_decoder(refuse, makers) if kind == "auto" else makers[kind](refuse)
