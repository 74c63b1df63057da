"""Keeps fields of events out of dead letters, taps and pages: `dead_letters.redact`.

A field is removed, and not masked: a route that reads it fails, and takes no mask for a value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, cast

from bridge.config import Config
from bridge.errors import BadEvent
from bridge.model.batch import DeadLetter
from bridge.model.event import Event, already_parsed
from bridge.observe.masking import MASK, masked
from bridge.routing import decoding
from bridge.routing.body_reader import ReadBody, Reader, readers
from bridge.routing.repair import with_body

#: In characters: a shorter value is masked only where it stands as a word.
_MIN_TEXT: Final = 4
#: In characters: a longer value may have been cut, so its beginning counts.
_BEGINNING: Final = 8
#: An expression of the file, in an error.
_EXPRESSION: Final = re.compile(r"(`[^`]*`)")
#: One, or a text that an error quotes.
_QUOTED: Final = re.compile(r"""`[^`]*`|(?<!\w)'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""")
#: So many removed values are masked in an error, which quotes one of them at most.
_MAX_VALUES: Final = 1000
#: Of a source that nobody knows.
_BY_DEFAULT: Final = (Reader("json"),)
#: No secrets, and words of many errors.
_WORDS: Final = frozenset({"", "True", "False", "None", "true", "false", "null"})


class RedactedEvent(Event, eq=False, gc=False):
    """An event without the fields that `redacted` names; `payload` alone stands for the whole body."""

    redacted: tuple[str, ...] = ()
    #: The texts of the values that were removed, as an error may quote them.
    removed: frozenset[str] = frozenset()
    #: The Redaction that has made it.
    by: object = None


class Redaction:
    """Removes the fields at `paths` from events; `readers` are all ways in which a source and its routes read a body."""

    def __init__(self, paths: Sequence[str] = (), readers: Mapping[str, Sequence[Reader]] | None = None) -> None:
        parts = [path.split(".") for path in paths]
        self._payload = [path[1:] for path in parts if path[0] == "payload"]
        self._headers = [path[1:] for path in parts if path[0] == "headers"]
        self._meta = [path[1:] for path in parts if path[0] == "meta"]
        self._readers = readers or {}
        #: Whether there is anything to remove.
        self.is_on = bool(parts)

    @classmethod
    def of(cls, config: Config) -> Redaction:
        """Return that of a configuration."""
        return cls(config.dead_letters.redact, {name: readers(config, name) for name in config.sources})

    def event(self, event: Event) -> Event:
        """Return a copy without the fields, a RedactedEvent; or the event itself, if it has none of them.

        A body that can't be decoded is left out whole where fields of the payload are to be removed.
        """
        before: tuple[str, ...] = ()
        if isinstance(event, RedactedEvent):
            before = event.redacted
        if not self.is_on or (isinstance(event, RedactedEvent) and event.by is self):
            return event
        values: list[object] = []
        body, redacted = self._body(event, values)
        try:
            headers, meta = event.details()
        except BadEvent:
            raw, read = event.raw, event.read  # nobody can read them
        else:
            kept_headers, of_headers = _without(headers, self._headers, values, str.lower)
            kept_meta, of_meta = _without(meta, self._meta, values)
            redacted += [f"headers.{name}" for name in of_headers] + [f"meta.{name}" for name in of_meta]
            raw, read = (kept_headers, kept_meta), already_parsed
        if not redacted and body is event.body:
            return event
        # A body that was left out, or that was not kept whole, is as large as it was; one that is encoded anew has its own size.
        is_whole = body is not event.body and "payload" not in redacted
        skipped = event.skipped if is_whole else event.body_size - len(body)
        changed: dict[str, Any] = {"body": body, "raw": raw, "read": read, "skipped": skipped, "by": self}
        changed |= {"redacted": tuple(dict.fromkeys([*before, *redacted])), "removed": frozenset(_texts(values))}
        return RedactedEvent(**{name: getattr(event, name) for name in Event.__struct_fields__} | changed)

    def hiding(self, event: Event) -> Callable[[str], str]:
        """Return a function that returns a text about the event without the values of the fields, for a log."""
        made = self.event(event)
        if not isinstance(made, RedactedEvent):
            return str
        return partial(_without_values, values=made.removed)

    def letter(self, letter: DeadLetter) -> DeadLetter:
        """Return a dead letter whose event has none of the fields, and whose `detail` quotes none of their values."""
        event = self.event(letter.event)
        if event is letter.event:
            return letter
        return replace(letter, event=event, detail=_without_values(letter.detail, cast("RedactedEvent", event).removed))

    def _body(self, event: Event, values: list[object]) -> tuple[bytes, list[str]]:
        """Return the body without the fields, and the paths that were removed; append their values."""
        if not self._payload or not event.body:
            return event.body, []
        if event.defect or event.skipped:
            return b"", ["payload"]
        body, removed, is_read = event.body, list[str](), False
        for reader in self._readers.get(event.source, _BY_DEFAULT):
            try:
                read = reader.read(with_body(event, body))
            except BadEvent:
                continue  # another route may read it otherwise
            is_read = True
            body, found = self._without_fields(read, values)
            removed += found
            if "payload" in found:
                return b"", ["payload"]
        return (body, removed) if is_read else (b"", ["payload"])

    def _without_fields(self, read: ReadBody, values: list[object]) -> tuple[bytes, list[str]]:
        kind, payload, body = read.kind, read.payload, read.body
        if [] in self._payload:
            values.append(payload)
            return b"", ["payload"]
        if read.is_text:
            # A route may read it by json(); of a text that is nearly JSON nobody can remove a field.
            text = str(payload).encode()
            try:
                kind, payload = "json", decoding.decoder("json")(Event("", "", text, 0))
            except BadEvent:
                return (b"", ["payload"]) if self._may_hide(text, "text") else (body, [])
        if not isinstance(payload, (dict, list)):
            return body, []
        removed = [f"payload.{name}" for path in self._payload for name in _remove(payload, path, values, str)]
        if not removed and not read.is_repaired and not self._may_hide(body, kind):
            return body, []
        try:
            return decoding.ENCODERS[kind](payload), removed
        except TypeError:  # a form without fields
            return b"", ["payload"]

    def _may_hide(self, body: bytes, kind: str) -> bool:
        """Tell whether a body may have a field that its payload has not: of two fields with one name the last one counts."""
        # A name can be written with escapes in JSON, and in pieces in CBOR.
        names = [path[-1].encode() for path in self._payload if path]
        escape = b"\\u" if kind == "text" else b"\\"
        return kind == "cbor" or escape in body or any(name in body for name in names)


def _without(
    fields: Mapping[Any, Any], paths: list[list[str]], values: list[object], fold: Callable[[str], str] = str
) -> tuple[Mapping[Any, Any], list[str]]:
    if not paths:
        return fields, []
    if [] in paths:
        values += fields.values()
        return {}, [*map(str, fields)]
    kept = cast("dict[Any, Any]", _copied(fields))
    return kept, [name for path in paths for name in _remove(kept, path, values, fold)]


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value


def _remove(node: Any, path: list[str], values: list[object], fold: Callable[[str], str]) -> list[str]:
    """Remove the field at `path` below `node`, of each element of a list, and return the paths as they are written there.

    A name may have dots itself: `headers.x.y` is the field `x.y` too.
    """
    if isinstance(node, list):
        return [found for item in node for found in _remove(item, path, values, fold)]
    if not isinstance(node, dict):
        return []
    removed: list[str] = []
    for count in range(1, len(path) + 1):
        wanted = fold(".".join(path[:count]))
        for name in [name for name in node if isinstance(name, str) and fold(name) == wanted]:
            if count == len(path):
                values.append(node.pop(name))
                removed.append(name)
            else:
                deeper = _remove(node[name], path[count:], values, str)
                removed += [f"{name}.{found}" for found in deeper]
    return list(dict.fromkeys(removed))


def _texts(values: Sequence[object]) -> Iterator[str]:
    """Yield the texts of values, and of those inside them, up to _MAX_VALUES."""
    left, count = list(values), 0
    while left and count < _MAX_VALUES:
        value = left.pop()
        count += 1
        if isinstance(value, Mapping):
            left += [*value, *value.values()]
        elif isinstance(value, list):
            left += value
        elif (text := str(value)) not in _WORDS:
            yield text


def _without_values(detail: str, values: frozenset[str]) -> str:
    """Return an error without the values that it quotes, whole or cut, and without all texts that may be made of them.

    A quoted text stays only if it stands in the expression, which is the file's: a name of a field, mostly.
    """
    expressions = "".join(found for found in _QUOTED.findall(detail) if found[0] == "`")

    def hidden(match: re.Match[str]) -> str:
        return match[0] if match[0][0] == "`" or match[0][1:-1] in expressions else MASK

    return "".join(
        part if part[:1] == "`" else _without_unquoted(part, values)
        for part in _EXPRESSION.split(_QUOTED.sub(hidden, detail))
    )


def _without_unquoted(text: str, values: frozenset[str]) -> str:
    """Return numbers, and words of ours, without values; most are sorted out at once: there may be a thousand of them."""
    found = [value for value in values if value[:_BEGINNING] in text]
    for short in (each for each in found if len(each) < _MIN_TEXT and each[-1].isdigit()):
        text = re.sub(rf"(?<![\w.\[]){re.escape(short)}(?!\w)", MASK, text)
    return masked(text, found)


#: Removes nothing.
NO_REDACTION: Final = Redaction()
