"""Bodies that no decoder reads as they came: compressed, behind a byte order mark, in another charset, empty.

All of this runs after a normal decode has failed, so a good body pays nothing for it. Two kinds seldom fail on such a
body: `bytes` asks for the encoding first, and `text` looks at the first and the last character.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from bridge.config.source_model import SourceModel
from bridge.errors import BadEvent
from bridge.model.accounting import Repair
from bridge.model.event import Event
from bridge.routing.charset import (
    BOM,
    CHARSETS,
    UTF_16_BOMS,
    codec,
    declared_charset,
    has_control,
    single_byte_text,
    utf_16,
)
from bridge.routing.content_encoding import declared_encoding, decompressed, signature
from bridge.routing.decoding import DECODERS, decoder
from bridge.routing.forms import read_form
from bridge.routing.json_bodies import MAX_LINES
from bridge.routing.lenient_json import as_strict_json
from bridge.routing.refusal import Decode, Refuse, refuse

_BINARY: Final = frozenset({"msgpack", "cbor", "bytes"})
#: What `lenient` reads.
_JSON: Final = frozenset({"json", "json-or-text", "ndjson"})
#: Their payload of an empty body is a text, unless `empty` is set.
_MAY_BE_EMPTY: Final = frozenset({"text", "json-or-text", "bytes"})
#: All that may stand in an empty body.
_WHITE: Final = b" \t\r\n\0"
#: The first byte of most bodies in zlib's format. A short one may be a text by chance.
_ZLIB: Final = "x"
#: A text that begins or ends so is looked at: a byte order mark, NUL (which UTF-16 has too), zlib.
_ODD: Final = f"\ufeff\0{_ZLIB}"
#: Stands for the payload of an event that is dropped.
_DROPPED: Final = object()
_ERRORS: Final = (ValueError, RecursionError, OverflowError)


class DroppedBody(BadEvent):
    """An event without a body, at a source with `empty: drop`: it becomes no dead letter."""

    def __init__(self) -> None:
        super().__init__("decode", "the body is empty, and the source drops such events (empty: drop)")


@dataclass(slots=True, eq=False)
class Repairs:
    """The repairs of one source's bodies, by its settings. Those that were made are added to `counts`."""

    encoding: str = "auto"
    charset: str = "auto"
    lenient: bool = False
    empty: str | None = None
    max_bytes: int = 256 << 10
    counts: dict[Repair, int] = field(default_factory=dict)

    @classmethod
    def of(cls, source: SourceModel) -> Repairs:
        """Return those of a source."""
        return cls(source.content_encoding, source.charset, source.lenient, source.empty, source.max_body)

    def decoder(self, kind: str) -> Decode:
        """Return the decoder for `decode: kind` that repairs bodies."""
        own = {"text": self._text_decoder, "bytes": self._bytes_decoder}
        return decoder(kind, self._refuse, {**DECODERS, **own})

    def _text_decoder(self, _refuse: Refuse) -> Decode:
        may_be_empty = self.empty is None

        def decode_text(event: Event) -> object:
            try:
                text = event.body.decode()
            except UnicodeDecodeError as error:
                return self._repaired("text", event, error)
            # The fastest question: a text with nothing to strip is returned itself.
            if text.strip(_ODD) is text and (text or may_be_empty):
                return text
            return text if self._is_text(event, text) else self._repaired("text", event, None)

        return decode_text

    def _bytes_decoder(self, refuse: Refuse) -> Decode:
        strict = DECODERS["bytes"](refuse)
        if self.encoding == "none" and self.empty is None:
            return strict

        def decode_bytes(event: Event) -> object:
            return strict(event) if event.body and not self._encoding(event) else self._repaired("bytes", event, None)

        return decode_bytes

    def _refuse(self, kind: str, event: Event, error: Exception) -> object:
        if kind == "json-or-text" and not self.lenient:
            try:
                text = event.body.decode()
            except UnicodeDecodeError as failure:
                return self._repaired(kind, event, failure)
            if self._is_text(event, text):
                return text
        return self._repaired(kind, event, error)

    def _is_text(self, event: Event, text: str) -> bool:
        """Tell whether nothing is to be repaired in a text, which is all of the body."""
        if not text or text[0] == "\ufeff" or "\0" in (text[0], text[-1]):
            return False
        if text[0] != _ZLIB:
            return True
        header = int.from_bytes(event.body[:2])
        return header % 31 != 0 or not self._encoding(event)

    def _repaired(self, kind: str, event: Event, error: Exception | None) -> object:
        """Return the payload of a body that has to be repaired first; `error` is the one of its normal decode.

        Raises:
            BadEvent: it can't be read all the same.
        """
        made: list[Repair] = []
        payload = self._read(kind, event, error, made)
        for repair in made:
            self.counts[repair] = self.counts.get(repair, 0) + 1
        if payload is _DROPPED:
            raise DroppedBody
        return payload

    def _read(self, kind: str, event: Event, error: Exception | None, made: list[Repair]) -> object:
        encoding = self._encoding(event) if event.body else ""
        # Raw deflate has no signature: where the source names it, all that is not UTF-8 may be that, but for bytes.
        if not encoding and self.encoding == "deflate" and kind != "bytes" and not _is_utf_8(event.body):
            encoding = "deflate"
        if encoding:
            try:
                return self._read_compressed(kind, event, encoding, made)
            except BadEvent as refusal:
                if refusal.reason == "too-large" or not self._may_be_plain(event.body):
                    raise
                made.clear()
        return self._read_plain(kind, event, error, made)

    def _read_compressed(self, kind: str, event: Event, encoding: str, made: list[Repair]) -> object:
        body = decompressed(event.body, encoding, self.max_bytes)
        made.append("compressed")
        try:
            payload = self._read_plain(kind, with_body(event, body), None, made)
        except BadEvent as refusal:
            raise BadEvent(refusal.reason, f"{refusal.detail} (inside {encoding})") from None
        event.grown = len(body)
        return payload

    def _may_be_plain(self, body: bytes) -> bool:
        """Tell whether a body may be none of the encoding that its source names; an event's own word holds."""
        return self.encoding != "auto" and (signature(body) != self.encoding or _is_utf_8(body))

    def _is_deflate(self, body: bytes) -> bool:
        """Tell whether a body is zlib's format to its end: its signature is too short to tell."""
        try:
            decompressed(body, "deflate", self.max_bytes)
        except BadEvent as refusal:
            return refusal.reason == "too-large"
        return True

    def _check_undeclared(self, body: bytes, made: list[Repair]) -> None:
        """Raise the BadEvent of a body that is compressed, which nobody has said: a charset would make a text of it."""
        encoding = "" if self.encoding == "none" else signature(body)
        if encoding and not _is_utf_8(body) and (encoding != "deflate" or has_control(body) or self._is_deflate(body)):
            hint = "" if "compressed" in made else f": set content_encoding: {encoding}"
            raise BadEvent("decode", f"the body begins as {encoding} does{hint}")

    def _read_plain(self, kind: str, event: Event, error: Exception | None, made: list[Repair]) -> object:
        strict_kind = "json" if kind == "json-or-text" else kind
        strict = decoder(strict_kind)
        if kind != "bytes":
            self._check_undeclared(event.body, made)
        if kind in _BINARY:
            return strict(event) if event.body else self._empty(kind, event, made)
        event, charset = self._in_utf_8(kind, event, error, made)
        body = _without_nuls(event.body.removeprefix(BOM))
        if body != event.body:
            event = with_body(event, body)
            made.append("bom")
        if not (body if kind in _MAY_BE_EMPTY else body.strip(_WHITE)):
            return self._empty(kind, event, made)
        try:
            return refuse(strict_kind, event, error) if error is not None and not made else strict(event)
        except BadEvent:
            read = self._read_otherwise(kind, event, charset, made)
            if read is None:
                raise
            return read[0]

    def _read_otherwise(self, kind: str, event: Event, charset: str, made: list[Repair]) -> tuple[object] | None:
        """Return the payload of a body in UTF-8 that is not strictly of its kind, None if it has none."""
        try:
            if kind == "form" and charset != "utf-8":
                payload: object = read_form(event.body, charset)
                made.append("charset")
                return (payload,)
            if self.lenient and kind in _JSON:
                lines = event.body.split(b"\n", MAX_LINES) if kind == "ndjson" else [event.body]
                body = b"\n".join([as_strict_json(line) for line in lines if line.strip()])
                payload = decoder("ndjson" if kind == "ndjson" else "json")(with_body(event, body))
                made.append("lenient")
                return (payload,)
        except (BadEvent, *_ERRORS):
            pass
        return (event.body.decode(),) if kind == "json-or-text" else None

    def _in_utf_8(self, kind: str, event: Event, cause: Exception | None, made: list[Repair]) -> tuple[Event, str]:
        """Return the event with its body in UTF-8, and the codec of its charset.

        Raises:
            BadEvent: the body is neither UTF-8 nor in the charset that is set, or declared.
        """
        body, name = event.body, self._charset(event)
        if name != "utf-16":
            try:
                body.decode()
            except UnicodeDecodeError as error:
                if not name and body[:2] in UTF_16_BOMS:
                    raise BadEvent("decode", "the body begins as UTF-16 does: set charset: utf-16") from None
                if codec(name) in {"", "utf-8", "ascii"}:
                    refuse(kind, event, cause or error)
            else:
                return event, CHARSETS.get(name, "utf-8")
        if name == "utf-16":
            try:
                text = utf_16(body)
            except UnicodeDecodeError as error:
                if _is_utf_8(body):
                    return event, "utf-8"
                raise BadEvent("decode", f"not text in utf-16: {error.reason}") from None
        else:
            text = single_byte_text(body, name, checked=self.encoding != "none")
            if kind == "form":
                return event, codec(name)  # its escapes are bytes of the charset, too
        made.append("charset")
        return with_body(event, text.encode()), "utf-8"

    def _empty(self, kind: str, event: Event, made: list[Repair]) -> object:
        if self.empty == "as-null":
            made.append("empty")
            return None
        if self.empty == "drop":
            made.append("empty")
            return _DROPPED
        if kind in _MAY_BE_EMPTY:
            if self.empty is None:
                return ""
            raise BadEvent("decode", "the body is empty")
        return refuse(kind, with_body(event, b""), ValueError("the body is empty"))

    def _encoding(self, event: Event) -> str:
        if self.encoding != "auto":
            return self.encoding if signature(event.body) == self.encoding else ""
        try:
            headers, meta = event.details()
        except BadEvent:
            return ""  # nobody knows, and a route that reads them says so
        return declared_encoding(headers, meta)

    def _charset(self, event: Event) -> str:
        if self.charset != "auto":
            return self.charset
        try:
            return declared_charset(event.readable_details()[1].get("content_type"))
        except BadEvent:
            return ""


def _without_nuls(body: bytes) -> bytes:
    """Return a body without the NULs at its end, and without the white space between and behind them."""
    end = len(body.rstrip(_WHITE))
    first = body.find(b"\0", end)
    return body if first < 0 else body[:first]


def _is_utf_8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def with_body(event: Event, body: bytes) -> Event:
    """Return an event with another body, only to be read."""
    return Event(event.source, event.topic, body, event.received_at_ms, raw=event.raw, read=event.read)
