"""The event of a test or of the command `route`, as its source would bring it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import cbor2
import msgspec

from bridge.config.cases import EventCase
from bridge.config.files import UnreadableFile, read_file
from bridge.config.source_model import SourceModel
from bridge.config.wording import describe
from bridge.errors import BadEvent, Diagnostic, InvalidValue
from bridge.model.event import Event
from bridge.routing.decoding import format_of

_MAX_FILE_BYTES: Final = 64 << 20

_ENCODERS: Final[dict[str, Callable[[Any], bytes]]] = {
    "json": msgspec.json.encode,
    "msgpack": msgspec.msgpack.encode,
    "cbor": cbor2.dumps,
}


def described_event(case: EventCase, source: SourceModel, directory: Path, now_ms: int) -> Event:
    """Return the event that `case` describes; its file lies in `directory`.

    Raises:
        InvalidValue: the payload can't be written in the source's format, or there is no such file.
    """
    raw = (case.headers, case.meta)
    received_at = now_ms if case.received_at is None else case.received_at
    event = Event(case.source, case.topic, b"", received_at, raw=raw)
    event.body = _body(case, source, directory, event)
    event.size = len(case.topic) + len(event.body) + sum(len(f"{name}{value}") for name, value in case.headers.items())
    return event


def _body(case: EventCase, source: SourceModel, directory: Path, event: Event) -> bytes:
    if case.body is not None:
        return case.body.encode()
    if case.payload_base64 is not None:
        return case.payload_base64
    if case.payload_file is not None:
        try:
            return read_file(directory / case.payload_file, _MAX_FILE_BYTES)
        except UnreadableFile as error:
            raise InvalidValue.of([Diagnostic(("payload_file",), f"the file {error}")]) from None
    if "payload" not in case.model_fields_set:
        return b""
    try:
        return _encoded(case.payload, source, event)
    except InvalidValue as error:
        raise InvalidValue.of([diagnostic.below(("payload",)) for diagnostic in error.diagnostics]) from None


def _encoded(payload: Any, source: SourceModel, event: Event) -> bytes:
    """Return the body that `source` would decode to `payload`."""
    if source.traits.presents_json(source):
        _check_fields(payload)
        return msgspec.json.encode(payload)
    try:
        kind = format_of(source.decode, event)
    except BadEvent:
        kind = "json"  # no body of this content type is decoded
    if kind in {"text", "bytes"}:
        if not isinstance(payload, str) or kind == "bytes":
            hint = "write payload_base64" if kind == "bytes" else "or set decode: of the source"
            raise InvalidValue(f"a source with decode: {kind} brings no payload that is {describe(payload)}", hint)
        return payload.encode()
    try:
        return _ENCODERS[kind](payload)
    except (OverflowError, TypeError, ValueError) as error:
        raise InvalidValue(f"{kind} can't hold this payload: {error}") from None


def _check_fields(payload: object) -> None:
    if not isinstance(payload, dict):
        raise InvalidValue(f"the payload is a mapping of the entry's fields, not {describe(payload)}")
    for name, value in payload.items():
        if not isinstance(value, str):
            hint = f'quote it: "{value}"' if isinstance(value, (int, float)) else ""
            raise InvalidValue.of([Diagnostic((name,), f"a field of an entry is text, not {describe(value)}", hint)])
