"""The event of a test or of the command `route`, as its source would bring it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from bridge.config.cases import EventCase
from bridge.config.files import UnreadableFile, named, read_file
from bridge.config.properties import Properties
from bridge.config.source_model import SourceModel
from bridge.config.wording import describe
from bridge.errors import BadEvent, Diagnostic, InvalidValue, KeyPath
from bridge.model.event import Event
from bridge.routing.decoding import ENCODERS, format_of

_MAX_FILE_BYTES: Final = 64 << 20
_AS_FIELDS: Final = 'as in {"name": "value"}'


def described_event(case: EventCase, source: SourceModel, directory: Path, now_ms: int) -> Event:
    """Return the event that `case` describes; its file lies in `directory`.

    Raises:
        InvalidValue: the source brings no such event, or there is no such file; the paths begin at the case.
    """
    received_at = now_ms if case.received_at is None else case.received_at
    event = event_without_body(case.source, source, case.topic, case.headers, case.meta, received_at)
    place, body = _body(case, source, directory, event)
    return with_body(event, source, body, place)


def event_without_body(  # noqa: PLR0917 - the parts of an event
    name: str,
    source: SourceModel,
    topic: str,
    headers: Mapping[str, Any],
    meta: Mapping[str, Any],
    received_at_ms: int,
) -> Event:
    """Return an event of the source `name`, with the protocol's defaults for all that is not given.

    Raises:
        InvalidValue: the source brings no such event; the paths begin with "topic", "headers" or "meta".
    """
    known = source.traits.known_topics(source)
    if not topic and known is not None and len(known) == 1:
        topic = known[0]
    mistakes: list[Diagnostic] = []
    try:
        source.traits.topics.check_topic(topic)
    except InvalidValue as error:
        mistakes += [diagnostic.below(("topic",)) for diagnostic in error.diagnostics]
    try:
        raw = source.traits.properties(source).read(headers, meta)
    except InvalidValue as error:
        mistakes += error.diagnostics
    if mistakes:
        raise InvalidValue.of(mistakes)
    return Event(name, topic, b"", received_at_ms, raw=raw)


def with_body(event: Event, source: SourceModel, body: bytes, place: KeyPath) -> Event:
    """Give the event its body, which is written at `place`.

    Raises:
        InvalidValue: the source makes the body of an entry's fields, and never this one.
    """
    if source.traits.presents_json(source):
        try:
            _check_fields(msgspec.json.decode(body) if body else {}, source.traits.properties(source))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            message = "the body is the JSON mapping of the entry's fields, and this is no JSON"
            raise InvalidValue.of([Diagnostic(place, message, _AS_FIELDS)]) from None
        except InvalidValue as error:
            raise InvalidValue.of([diagnostic.below(place) for diagnostic in error.diagnostics]) from None
    headers, _ = event.details()
    event.body = body
    event.size = len(event.topic) + len(body) + sum(len(f"{name}{value}") for name, value in headers.items())
    return event


def _body(case: EventCase, source: SourceModel, directory: Path, event: Event) -> tuple[KeyPath, bytes]:
    if case.body is not None:
        return ("body",), case.body.encode()
    if case.payload_base64 is not None:
        return ("payload_base64",), case.payload_base64
    if case.payload_file is not None:
        path = directory / case.payload_file
        try:
            return ("payload_file",), read_file(path, _MAX_FILE_BYTES)
        except UnreadableFile as error:
            raise InvalidValue.of([Diagnostic(("payload_file",), f"{named(path)} {error}")]) from None
    if "payload" not in case.model_fields_set:
        return (), b""
    try:
        return ("payload",), _encoded(case.payload, source, event)
    except InvalidValue as error:
        raise InvalidValue.of([diagnostic.below(("payload",)) for diagnostic in error.diagnostics]) from None


def _encoded(payload: Any, source: SourceModel, event: Event) -> bytes:
    """Return the body that `source` would decode to `payload`."""
    if source.traits.presents_json(source):
        return msgspec.json.encode(payload)
    try:
        kind = format_of(source.decode, event)
    except BadEvent:
        kind = "json"  # no body of this content type is decoded
    if kind in {"text", "bytes"}:
        if not isinstance(payload, str) or kind == "bytes":
            raise InvalidValue(*_no_encoder(kind, payload, is_auto=source.decode == "auto"))
        return payload.encode()
    try:
        return ENCODERS[kind](payload)
    except (OverflowError, TypeError, ValueError) as error:
        raise InvalidValue(f"{kind} can't hold this payload: {error}") from None


def _no_encoder(kind: str, payload: object, *, is_auto: bool) -> tuple[str, str]:
    cause = "the event's content_type" if is_auto else f"the source's decode: {kind}"
    if kind == "bytes":
        return f"by {cause} the body is bytes", "write payload_base64"
    change = "another content_type in meta" if is_auto else "another decode at the source"
    return f"by {cause} the payload is text, not {describe(payload)}", f"write text, or {change}"


def _check_fields(payload: object, properties: Properties) -> None:
    if not isinstance(payload, dict):
        raise InvalidValue(f"the payload is a mapping of the entry's fields, not {describe(payload)}", _AS_FIELDS)
    if not payload:
        raise InvalidValue("an entry has at least one field: it is the payload", _AS_FIELDS)
    for name, value in payload.items():
        if not isinstance(value, str):
            hint = f'quote it: "{value}"' if isinstance(value, (int, float)) else ""
            raise InvalidValue.of([Diagnostic((name,), f"a field of an entry is text, not {describe(value)}", hint)])
        try:
            properties.check_binary(name, value)
        except InvalidValue as error:
            raise InvalidValue.of([diagnostic.below((name,)) for diagnostic in error.diagnostics]) from None
