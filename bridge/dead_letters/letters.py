"""A dead letter as it stands in the stream, and the event that it was made of."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from bridge.config import Config
from bridge.model.event import Event, already_parsed
from bridge.routing.redaction import RedactedEvent
from bridge.sink.dead_letters import DEAD_LETTER_VERSION

#: So many earlier reasons of a letter are kept, the newest.
MAX_EARLIER: Final = 10
_ID: Final = re.compile(r"[0-9]{1,20}-[0-9]{1,20}", re.ASCII)
_json = msgspec.json.Decoder().decode


class Earlier(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a letter was dead before a retry; `at_ms` is when the retry failed, in epoch milliseconds."""

    reason: str
    error: str
    route: str = ""
    at_ms: int = 0


_earlier = msgspec.json.Decoder(list[Earlier]).decode


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """One dead letter.

    `reason` is for machines, `error` a sentence for people; `route` is "" if the event failed before any route.
    `body_size` is that of the whole body, of which `body` is a part if `body_cut`. `redacted` names the fields that were
    removed. `details_error` says why headers and meta are not whole, "" if they are. `retries` counts the retries that have
    failed; `earlier` has the reasons before them, the oldest first. `size` is that of the entry's names and values.
    """

    id: str
    reason: str
    version: int = DEAD_LETTER_VERSION
    error: str = ""
    source: str = ""
    route: str = ""
    topic: str = ""
    topic_cut: bool = False
    received_at_ms: int = 0
    headers: dict[str, Any] = {}
    meta: dict[str, Any] = {}
    details_error: str = ""
    body: bytes = b""
    body_size: int = 0
    body_cut: bool = False
    redacted: Sequence[str] = ()
    retries: int = 0
    earlier: Sequence[Earlier] = ()
    size: int = 0

    @property
    def dead_at_ms(self) -> int:
        """When it was written, in epoch milliseconds: the time in its id."""
        return int(self.id.partition("-")[0])

    def event(self, config: Config) -> Event:
        """Return the event as its source has presented it, with the protocol's defaults; without the fields of `redacted`."""
        source = config.sources.get(self.source)
        defaults = (
            {}
            if source is None
            else {name: each.default for name, each in source.traits.properties(source).meta.items()}
        )
        raw = (dict(self.headers), {**defaults, **self.meta})
        size = self.size_of_event
        skipped = self.body_size - len(self.body)
        event = RedactedEvent if self.redacted else Event
        made = event(self.source, self.topic, self.body, self.received_at_ms, raw=raw, read=already_parsed, size=size)
        if self.body_cut:
            made.skip(max(skipped, 0))
        if isinstance(made, RedactedEvent):
            made.redacted = tuple(self.redacted)
        return made

    @property
    def size_of_event(self) -> int:
        """The bytes of its event: topic, body, headers and properties, nearly as they were received."""
        return len(self.topic) + len(self.body) + len(msgspec.json.encode([self.headers, self.meta]))


def is_letter_id(text: str) -> bool:
    """Tell whether a text has the form of a letter's id, that of an entry of a stream."""
    return _ID.fullmatch(text) is not None


def id_key(letter_id: str) -> tuple[int, int]:
    """Return a key by which ids are compared."""
    milliseconds, _, number = letter_id.partition("-")
    return int(milliseconds), int(number)


def parse_letter(entry_id: bytes, flat: Sequence[bytes]) -> Letter:
    """Return the letter of an entry: its id, and its names and values in turn. Raises nothing: anybody may write one."""
    fields = dict(zip(flat[::2], flat[1::2], strict=False))
    body = fields.get(b"body", b"")
    retried = _texts_of(fields)
    return Letter(
        id=entry_id.decode(),
        version=_number(fields.get(b"version"), DEAD_LETTER_VERSION),
        body=body,
        body_size=max(_number(fields.get(b"body_size"), len(body)), len(body)),
        body_cut=fields.get(b"body_cut", b"0") != b"0",
        topic_cut=b"topic_cut" in fields,
        received_at_ms=_number(fields.get(b"received_at"), 0),
        headers=_mapping(fields.get(b"headers")),
        meta=_mapping(fields.get(b"meta")),
        redacted=_names(fields.get(b"redacted")),
        retries=_number(fields.get(b"retries"), 0),
        earlier=_reasons(fields.get(b"earlier")),
        size=sum(map(len, flat)),
        **retried,
    )


def _texts_of(fields: dict[bytes, bytes]) -> dict[str, str]:
    names = ("reason", "error", "source", "route", "topic", "details_error")
    return {name: fields.get(name.encode(), b"").decode("utf-8", "backslashreplace") for name in names}


def _number(value: bytes | None, fallback: int) -> int:
    return int(value) if value is not None and value.isdigit() and len(value) < 19 else fallback


def _mapping(value: bytes | None) -> dict[str, Any]:
    try:
        decoded = _json(value or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return decoded if isinstance(decoded, dict) else {}


def _names(value: bytes | None) -> tuple[str, ...]:
    try:
        return tuple(msgspec.json.decode(value or b"[]", type=list[str]))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ("payload",) if value else ()


def _reasons(value: bytes | None) -> tuple[Earlier, ...]:
    try:
        return tuple(_earlier(value or b"[]"))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ()
