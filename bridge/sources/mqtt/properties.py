"""The properties of MQTT messages: headers and meta of an event, read from its `raw` only when a route asks for them.

An event's `raw` is the first byte of its packet, then the properties with their length (MQTT 5), or 0 if there are none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from bridge.model.event import Details, PartlyRead, UnreadableDetails
from bridge.routing.trace_headers import combined

#: Flags in the first byte of a message; its QoS is in the bits between them.
DUP, RETAIN = 8, 1


def variable_int(data: bytes, at: int) -> tuple[int, int]:
    """Return the Variable Byte Integer at `at` and its end; the end is beyond `data` if bytes of it are missing."""
    number = 0
    for place, byte in enumerate(data[at : at + 4]):
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return number, at + place + 1
    if len(data) - at >= 4:
        raise ValueError("a length of more than four bytes")
    return number, len(data) + 1


# Identifiers of the properties that a message may have. `_FIXED_BYTES` gives the size of a value; those of
# `_PREFIXED_FIELDS` stand behind their size in two bytes; of a user property, both name and value.
_EXPIRY, _CONTENT_TYPE, _RESPONSE_TOPIC, _CORRELATION, _SUBSCRIPTION, _USER = 2, 3, 8, 9, 11, 38
_TEXTS: Final = {_RESPONSE_TOPIC: "reply_to", _CONTENT_TYPE: "content_type"}
_IN_META: Final = {**_TEXTS, _CORRELATION: "correlation_id", _EXPIRY: "expires_in"}
_FIXED_BYTES: Final = {1: 1, _EXPIRY: 4, 35: 2}
_PREFIXED_FIELDS: Final = frozenset((_CONTENT_TYPE, _RESPONSE_TOPIC, _CORRELATION, _USER))
#: More bytes than the start of a property takes, without its value.
_LONGEST_START: Final = 8


def details(raw: bytes) -> Details:
    """Return the headers and the meta of an event that has this `raw`.

    Raises:
        UnreadableDetails: MQTT 5 doesn't allow a property or its value.
    """
    headers: dict[str, object] = {}
    meta: dict[str, object] = {
        "qos": raw[0] >> 1 & 3,
        "retain": bool(raw[0] & RETAIN),
        "redelivered": bool(raw[0] & DUP),
    }
    if len(raw) > 2:
        _add_properties(raw, headers, meta)
    return headers, meta


def subscription_ids(raw: bytes) -> list[int]:
    """Return the identifiers of the subscriptions that brought an event, up to the first unreadable property."""
    ids = []
    try:
        for identifier, value, _ in _properties(raw):
            if identifier == _SUBSCRIPTION:
                ids.append(variable_int(value, 0)[0])
    except ValueError:
        pass  # `details` raises it as a BadEvent
    return ids


def _add_properties(raw: bytes, headers: dict[str, object], meta: dict[str, object]) -> None:
    values: dict[int, bytes] = {}
    try:
        for identifier, value, second in _properties(raw):
            if identifier == _USER:
                name, text = value.decode(), second.decode()
                headers[name] = combined(name, headers[name], text) if name in headers else text
            elif identifier in values and identifier != _SUBSCRIPTION:
                raise ValueError(f"property {identifier} stands twice")
            else:
                values[identifier] = value
        for identifier, name in _TEXTS.items():
            meta[name] = values[identifier].decode() if identifier in values else None
    except ValueError as error:
        cause = f"a property can't be read: {error}"[:300]
        raise UnreadableDetails(cause, _salvaged(raw, meta, cause)) from None
    _add_others(values, meta)


def _add_others(values: Mapping[int, bytes], meta: dict[str, object]) -> None:
    correlation = values.get(_CORRELATION)
    meta["correlation_id"] = correlation.decode("utf-8", "backslashreplace") if correlation is not None else None
    meta["expires_in"] = int.from_bytes(values[_EXPIRY]) if _EXPIRY in values else None


def _salvaged(raw: bytes, meta: dict[str, object], cause: str) -> Details:
    """Return the headers and the meta of which some can't be read; `meta` has what is no property."""
    headers: dict[str, object] = {}
    values: dict[int, bytes] = {}
    lost_headers, lost, is_whole = set[str](), set[int](), True
    try:
        for identifier, value, second in _properties(raw):
            if identifier == _USER:
                name = value.decode("utf-8", "backslashreplace")
                if _is_text(value) and _is_text(second):
                    text = second.decode()
                    headers[name] = combined(name, headers[name], text) if name in headers else text
                else:
                    lost_headers.add(name)
            elif (identifier in values and identifier != _SUBSCRIPTION) or (
                identifier in _TEXTS and not _is_text(value)
            ):
                lost.add(identifier)
            else:
                values[identifier] = value
    except ValueError:
        is_whole = False
    _add_others(values, meta)
    for identifier, name in _TEXTS.items():
        meta[name] = values[identifier].decode() if identifier in values else None
    unread = lost if is_whole else {*lost, *(each for each in _IN_META if each not in values)}
    for name in (_IN_META[identifier] for identifier in unread if identifier in _IN_META):
        meta.pop(name)
    kept = {name: text for name, text in headers.items() if name not in lost_headers}
    of_headers = PartlyRead(kept, cause, lost_headers if is_whole else None) if lost_headers or not is_whole else kept
    return of_headers, PartlyRead(meta, cause, {_IN_META[each] for each in unread if each in _IN_META})


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _properties(raw: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield each property's identifier and its value; of a user property name and value, else the third is empty.

    Raises:
        ValueError: MQTT knows no such property, or it is cut off.
    """
    _, at = variable_int(raw, 1)
    # With some bytes behind the end, a start that is cut off needs no check. 50,000 properties fit into 256 KiB: these
    # steps are few on purpose.
    end, raw = len(raw), raw + bytes(_LONGEST_START)
    while at < end:
        identifier = raw[at]
        value_at = at + 1
        if identifier in _PREFIXED_FIELDS:
            value_at = at + 3
            stop = value_at + (raw[at + 1] << 8 | raw[at + 2])
        elif identifier == _SUBSCRIPTION:
            stop = at + 2 if raw[at + 1] < 0x80 else variable_int(raw, value_at)[1]
        elif identifier in _FIXED_BYTES:
            stop = value_at + _FIXED_BYTES[identifier]
        else:
            raise ValueError(f"{identifier} is no property of a message")
        value, second = raw[value_at:stop], b""
        if identifier == _USER and stop < end:
            value_at = stop + 2
            stop = value_at + (raw[stop] << 8 | raw[stop + 1])
            second = raw[value_at:stop]
        elif identifier == _USER:
            stop = end + 1
        if stop > end:
            raise ValueError(f"property {identifier} is cut off")
        at = stop
        yield identifier, value, second
