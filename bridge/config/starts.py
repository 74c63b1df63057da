"""`start`: where a source that is read for the first time begins in its stream, in the same words for every kind of stream."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, WithJsonSchema

from bridge.config.substitution import coerced
from bridge.config.times import EPOCH, TIME_EXAMPLE, iso_time, milliseconds
from bridge.config.wording import describe
from bridge.errors import InvalidValue

_MAX_OFFSET: Final = 2**63 - 1
_MAX_ID_PART: Final = 2**64 - 1
_ENTRY_ID = re.compile(r"([0-9]{1,20})(?:-([0-9]{1,20}))?", re.ASCII)
_LOOKS_LIKE_A_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


def _word_or_time(value: object, number: str) -> str | datetime | None:
    """Return "beginning", "new" or a time with its zone; None for any other text.

    Raises:
        InvalidValue: it is a time without a zone, or one that does not exist.
    """
    if not isinstance(value, str):
        raise InvalidValue(f"takes beginning, new, {number} or a time, not {describe(value)}")
    if value in {"beginning", "new"}:
        return str(value)
    if not _LOOKS_LIKE_A_TIME.match(value):
        return None
    time = iso_time(value)
    if time.tzinfo is None:
        raise InvalidValue("takes a time with its zone", f"as in {TIME_EXAMPLE}")
    if time < EPOCH:
        raise InvalidValue("takes a time after 1970")
    return time


def _offset_start(value: object) -> object:
    value = coerced(value)
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 20:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value <= _MAX_OFFSET:
            raise InvalidValue(f"takes an offset from 0 to {_MAX_OFFSET}")
        return value
    start = _word_or_time(value, "an offset")
    if start is None:
        raise InvalidValue("takes beginning, new, an offset or a time", f"as in new, 1500 or {TIME_EXAMPLE}")
    return start


def _entry_start(value: object) -> object:
    value = coerced(value)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    start = _word_or_time(value, "an entry's id")
    if start is not None:
        return start
    match = _ENTRY_ID.fullmatch(str(value))
    if match is None or any(int(part or 0) > _MAX_ID_PART for part in match.groups()):
        hint = f"as in new, 1764223200000-0 or {TIME_EXAMPLE}"
        raise InvalidValue("takes beginning, new, an entry's id or a time", hint)
    return f"{int(match[1])}-{int(match[2] or 0)}"


def _schema(number: dict[str, Any]) -> WithJsonSchema:
    time = {"type": "string", "format": "date-time"}
    return WithJsonSchema(
        {"anyOf": [{"enum": ["beginning", "new"]}, number, time, {"type": "string", "pattern": r"^\$\{"}]}
    )


#: Where a RabbitMQ stream is read from: a word, an offset (the first one is read), or a time.
OffsetStart = Annotated[
    Literal["beginning", "new"] | int | datetime,
    BeforeValidator(_offset_start),
    _schema({"type": ["string", "integer"], "pattern": "^[0-9]{1,19}$", "minimum": 0, "maximum": _MAX_OFFSET}),
]
#: Where a Redis stream is read from: a word, an entry's id as `milliseconds-number` (the first one is read), or a time.
EntryStart = Annotated[
    str | datetime,
    BeforeValidator(_entry_start),
    _schema({"type": ["string", "integer"], "pattern": r"^[0-9]+(-[0-9]+)?$", "minimum": 0}),
]


def entry_before(start: str | datetime) -> bytes | None:
    """Return the id behind which a group begins to read at `start`; None for "new"."""
    if start == "new":
        return None
    if start == "beginning":
        return b"0-0"
    if isinstance(start, datetime):
        # A server makes ids of its clock, in whole milliseconds.
        first, number = milliseconds(start), 0
    else:
        first, number = map(int, start.split("-"))
    if number:
        return b"%d-%d" % (first, number - 1)
    return b"%d-%d" % (first - 1, _MAX_ID_PART) if first else b"0-0"
