"""Events of the entries of Redis Streams, and their sizes, by which the next reply is kept small."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Container, Mapping, Sequence
from functools import partial
from typing import Any, Final, cast

import msgspec

from bridge.config import RedisStream
from bridge.model.event import (
    KEPT_BODY_BYTES,
    Details,
    Event,
    OnceByKey,
    OnceByXack,
    PartlyRead,
    UnreadableDetails,
    WriteOnce,
)
from bridge.routing.trace_headers import OF_A_TRACE
from bridge.sources.oversized import ROOM_BYTES
from bridge.sources.redis_stream.group import Group
from bridge.sources.redis_stream.positions import SEEN_MS

#: What Python's own objects for an entry, and for each name and value of it, take besides their bytes.
_ENTRY_BYTES: Final = 100
_FIELD_BYTES: Final = 48

_NOT_UTF_8: Final = "a field is not UTF-8, and not listed in `binary`"

_encode = msgspec.json.Encoder().encode


class EntryReader:
    """Makes events of entries; `mean_bytes` is how large an entry is expected to be, by the last ones."""

    def __init__(self, name: str, config: RedisStream, group: Group, *, in_sink: bool) -> None:
        # The size of an entry is known only after the reply: the first reads assume the worst, the next ones the mean.
        self.mean_bytes = float(config.max_body)
        self._name = name
        self._group = group
        self._in_sink = in_sink
        self._field_name = config.field
        self._field = None if config.field is None else config.field.encode()
        self._max_body = config.max_body
        self._max_entry_bytes = config.max_body + ROOM_BYTES
        self._write_once = {stream: self._condition(stream, config.group) for stream in config.streams}
        self._binary = frozenset(map(str.encode, config.binary))
        # Not a method: then an event would refer to the reader, which refers to the session (see `Event`).
        self._read_details = partial(details, self._field, self._binary)

    def events(self, stream: str, entries: Sequence[tuple[bytes, Any]], *, redelivered: bool = False) -> list[Event]:
        """Return the events of `entries` of a reply: [id, [name, value, ...]], or [id, null] for one that was trimmed."""
        now_ms = time.time_ns() // 1_000_000
        name, read, once, field = self._name, self._read_details, self._write_once[stream], self._field
        events = []
        for entry in entries:
            entry_id, fields = entry
            if fields and fields[0] == field and len(fields) == 2:
                body, defect, size = fields[1], "", _ENTRY_BYTES + len(fields[1])
            elif fields:
                entry_size = sum(map(len, fields))
                size = _ENTRY_BYTES + _FIELD_BYTES * len(fields) + entry_size
                if field is not None:
                    body, defect = self._body(fields)  # a part of the entry: it takes no more memory
                elif entry_size > self._max_entry_bytes:
                    body, defect = b"\n".join([part[:KEPT_BODY_BYTES] for part in fields]), ""
                else:
                    body, defect = self._body(fields)
                    size += len(body)
            else:
                continue
            events.append(
                Event(name, stream, body, now_ms, entry_id, entry, read, once, entry_id, defect, redelivered, size)
            )
        if events:
            size = sum([event.size for event in events])
            self.mean_bytes = max(1.0, size / len(events), self.mean_bytes / 4)
            if size > self._max_entry_bytes:
                for event in events:
                    if event.size > self._max_entry_bytes:
                        self._shorten(event)
        return events

    def _shorten(self, event: Event) -> None:
        """Keep only the beginning of an entry that is too large; Redis gives no part of it alone.

        Its names and values together have more than `max_body` + 1 MiB, or the JSON that is made of them has.
        """
        entry_id, flat = cast("tuple[bytes, list[bytes]]", event.raw)
        entry_size = sum(map(len, flat))
        if max(entry_size, len(event.body)) <= self._max_entry_bytes:
            return  # the rest of `size` is Python's own objects
        # No JSON is made of an entry that is too large.
        size = entry_size if self._field is None and entry_size > self._max_entry_bytes else len(event.body)
        if size > self._max_body:
            event.body = event.body[:KEPT_BODY_BYTES]
            event.skip(size - len(event.body))
        else:
            event.defect = f"the entry has {entry_size} bytes, and its body only {size} of them"
        event.raw = (entry_id, [])
        event.size = _ENTRY_BYTES + len(event.body)

    def _body(self, flat: list[bytes]) -> tuple[bytes, str]:
        fields = _fields(flat)
        if self._field is not None:
            body = fields.get(self._field)
            return (b"", f"the entry has no field {self._field_name!r}") if body is None else (body, "")
        try:
            return _encode(_texts(fields, self._binary)), ""
        except UnicodeDecodeError as error:
            return b"\n".join(flat), f"{_NOT_UTF_8}: {error}"

    def _condition(self, stream: str, group: str) -> WriteOnce:
        log_name = self._group.log(stream)
        if self._in_sink:
            # Without the source's name, which may differ among the consumers of a group.
            return OnceByXack(stream, group, f":{stream}:{group}:", SEEN_MS, log_name)
        return OnceByKey(f"{self._name}:{stream}:", SEEN_MS, log_name)


def _fields(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    """Return the fields of an entry: of a name that stands twice the last one, and of a trace both."""
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    if 2 * len(fields) < len(flat):
        for name in map(str.encode, OF_A_TRACE):
            values = [value for key, value in zip(flat[::2], flat[1::2], strict=True) if key == name]
            if len(values) > 1:
                fields[name] = b",".join(values)
    return fields


def _texts(fields: Mapping[bytes, bytes], binary: Container[bytes]) -> dict[str, str]:
    """Return fields as text: those that are `binary` in base64. Raises UnicodeDecodeError if another is not UTF-8."""
    return {
        key.decode(): b64encode(value).decode("ascii") if key in binary else value.decode()
        for key, value in fields.items()
    }


def details(field: bytes | None, binary: Container[bytes], entry: tuple[bytes, list[bytes]]) -> Details:
    """Return the fields of an entry, without the body, as headers, and its id as meta.

    Raises:
        UnreadableDetails: a field is not UTF-8.
    """
    entry_id, flat = entry
    fields = {} if field is None else _fields(flat)
    try:
        headers = _texts({key: value for key, value in fields.items() if key != field}, binary)
    except UnicodeDecodeError as error:
        cause, lost = f"{_NOT_UTF_8}: {error}", set[str]()
        readable: dict[str, str] = {}
        for key, value in fields.items():
            if key != field:
                try:
                    readable |= _texts({key: value}, binary)
                except UnicodeDecodeError:
                    lost.add(key.decode("utf-8", "backslashreplace"))
        raise UnreadableDetails(cause, (PartlyRead(readable, cause, lost), {"entry_id": entry_id.decode()})) from None
    return headers, {"entry_id": entry_id.decode()}
