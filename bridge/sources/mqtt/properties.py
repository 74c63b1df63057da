"""The properties of MQTT messages: headers and meta of an event, read from its `raw` only when a route asks for them.

An event's `raw` is the first byte of its packet, then the properties with their length (MQTT 5), or 0 if there are none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bridge.errors import BadEvent
from bridge.model.event import Details

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


# Identifiers of the properties that a message may have. `_FIXED_BYTES` gives the size of a value; `_PREFIXED_FIELDS` the
# number of fields, each behind its size in two bytes.
_EXPIRY, _CONTENT_TYPE, _RESPONSE_TOPIC, _CORRELATION, _SUBSCRIPTION, _USER = 2, 3, 8, 9, 11, 38
_FIXED_BYTES: Final = {1: 1, _EXPIRY: 4, 35: 2}
_PREFIXED_FIELDS: Final = {_CONTENT_TYPE: 1, _RESPONSE_TOPIC: 1, _CORRELATION: 1, _USER: 2}


def details(raw: bytes) -> Details:
    """Return the headers and the meta of an event that has this `raw`.

    Raises:
        BadEvent: MQTT 5 doesn't allow a property or its value.
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
        for identifier, fields in _properties(raw):
            if identifier == _SUBSCRIPTION:
                ids.append(variable_int(fields[0], 0)[0])
    except ValueError:
        pass  # `details` raises it as a BadEvent
    return ids


def _add_properties(raw: bytes, headers: dict[str, object], meta: dict[str, object]) -> None:
    values: dict[int, bytes] = {}
    try:
        for identifier, fields in _properties(raw):
            if identifier == _USER:
                headers[fields[0].decode()] = fields[1].decode()
            elif identifier in values and identifier != _SUBSCRIPTION:
                raise ValueError(f"property {identifier} stands twice")
            else:
                values[identifier] = fields[0]
        for name, identifier in (("reply_to", _RESPONSE_TOPIC), ("content_type", _CONTENT_TYPE)):
            meta[name] = values[identifier].decode() if identifier in values else None
    except ValueError as error:
        raise BadEvent("decode", f"a property can't be read: {error}"[:300]) from None
    correlation = values.get(_CORRELATION)
    meta["correlation_id"] = correlation.decode("utf-8", "backslashreplace") if correlation is not None else None
    meta["expires_in"] = int.from_bytes(values[_EXPIRY]) if _EXPIRY in values else None


def _properties(raw: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """Yield each property's identifier and the fields of its value: two for a user property, else one.

    Raises:
        ValueError: MQTT knows no such property, or it is cut off.
    """
    _, at = variable_int(raw, 1)
    while at < len(raw):
        identifier = raw[at]
        fields = []
        at += 1
        for _ in range(_PREFIXED_FIELDS.get(identifier, 1)):
            if identifier in _PREFIXED_FIELDS:
                size = int.from_bytes(raw[at : at + 2])
                at += 2
            elif identifier == _SUBSCRIPTION:
                size = variable_int(raw, at)[1] - at
            elif identifier in _FIXED_BYTES:
                size = _FIXED_BYTES[identifier]
            else:
                raise ValueError(f"{identifier} is no property of a message")
            if at + size > len(raw):
                raise ValueError(f"property {identifier} is cut off")
            fields.append(raw[at : at + size])
            at += size
        yield identifier, fields
