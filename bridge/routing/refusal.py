"""A body that a decoder refuses: a BadEvent, in words for people."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bridge.errors import BadEvent
from bridge.model.event import Event

Decode = Callable[[Event], object]
#: Takes the kind, an event whose body the decoder of that kind does not read, and the error. It returns the payload all
#: the same, or raises BadEvent("decode", ...).
Refuse = Callable[[str, Event, Exception], object]

#: The first characters of values in JSON; "" is part of every text.
_BEGINS_JSON: Final = '{["-0123456789tfn'
_NAMES: Final = {
    "json": "JSON",
    "ndjson": "JSON by lines",
    "form": "a form",
    "msgpack": "msgpack",
    "cbor": "CBOR",
}


def refuse(kind: str, event: Event, error: Exception) -> object:
    """Raise the BadEvent of a body that no decoder of `kind` reads; of json-or-text, return the text."""
    body, cause = event.body, str(error)
    if kind == "json-or-text":
        try:
            return body.decode()
        except UnicodeDecodeError as failure:
            raise BadEvent("decode", f"neither JSON nor UTF-8 text: {failure}"[:300]) from None
    if kind == "text":
        raise BadEvent("decode", f"not UTF-8 text: {cause}"[:300]) from None
    if kind == "json":
        cause = f"{cause.removeprefix('JSON is malformed: ')}{_text_hint(body)}"
    elif kind == "cbor":
        cause = _cause_in_cbor(error.__cause__ or error)
    if isinstance(error, RecursionError):
        cause = "nested too deeply"
    cause = cause if body.strip() else "the body is empty"
    raise BadEvent("decode", f"not {_NAMES[kind]}: {cause}"[:300]) from None


def _cause_in_cbor(error: BaseException) -> str:
    """Return the cause without the words of Python, in which cbor2 reads a tag's value."""
    if isinstance(error, TypeError):
        return "a tag has a value of another kind"
    return str(error).replace("Invalid isoformat string", "not a time in ISO 8601")


def _text_hint(body: bytes) -> str:
    """Return a hint where the body seems to be text that was never meant as JSON."""
    try:
        begins = body.decode().lstrip()[:1]
    except UnicodeDecodeError:
        return ""
    return "" if begins in _BEGINS_JSON or not begins.isprintable() else "; for plain text, set decode: text"
