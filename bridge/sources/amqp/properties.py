"""Headers and meta of an AMQP message, made from its properties only when a route asks for them."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import Any, Final

from pamqp.commands import Basic

from bridge.model.event import Details, PartlyRead, UnreadableDetails
from bridge.routing.json_types import to_json_types
from bridge.sources.amqp.field_table import read_properties
from bridge.sources.amqp.salvage import salvage

#: The names of properties that have another one in `meta`.
_META_NAMES: Final = {"message_type": "type", "expiration": "expires_in"}
_EMPTY: Final[dict[str, object]] = {}


def readable_details(header: bytes, exchange: str, redelivered: bool) -> Details:  # noqa: FBT001 - AMQP's flag
    """Return what `details` returns of the properties of a content header.

    Raises:
        UnreadableDetails: some can't be read.
    """
    try:
        properties = read_properties(header)
    except (ValueError, RecursionError) as error:
        cause = f"a property can't be read: {error}"[:300]
    else:
        return details(properties, exchange, redelivered)
    properties, unreadable, lost_headers = salvage(header)
    headers, meta = details(properties, exchange, redelivered)
    names = {_META_NAMES.get(name, name) for name in unreadable}
    raise UnreadableDetails(
        cause,
        (
            PartlyRead(headers, cause, lost_headers) if "headers" in unreadable else headers,
            PartlyRead({name: value for name, value in meta.items() if name not in names}, cause, names),
        ),
    ) from None


def details(properties: Basic.Properties, exchange: str, redelivered: bool) -> Details:  # noqa: FBT001 - AMQP's flag
    """Return headers in JSON's types, and meta: `timestamp` in epoch milliseconds, `expires_in` in seconds."""
    return _headers(properties.headers) if properties.headers else _EMPTY, {
        "message_id": properties.message_id,
        "correlation_id": properties.correlation_id,
        "reply_to": properties.reply_to,
        "content_type": properties.content_type,
        "content_encoding": properties.content_encoding,
        "type": properties.message_type,
        "app_id": properties.app_id,
        "user_id": properties.user_id,
        "priority": properties.priority,
        "timestamp": _milliseconds(properties.timestamp),
        "expires_in": _seconds(properties.expiration),
        "exchange": exchange,
        "redelivered": redelivered,
    }


def _headers(raw: dict[str, Any]) -> dict[str, object]:
    """Return the headers in JSON's types, binary as base64, without those that can't be converted (NaN, nested too deeply)."""
    try:
        return to_json_types(dict(raw))  # type: ignore[no-any-return]
    except ValueError:
        pass
    headers: dict[str, object] = {}
    for key, value in raw.items():
        with suppress(ValueError):
            headers |= to_json_types({key: value})
    return headers


def _milliseconds(timestamp: datetime | None) -> int | None:
    return int(timestamp.timestamp() * 1000) if timestamp else None


def _seconds(expiration: str | None) -> float | None:
    # isascii: "²" is a digit too, but int() refuses it.
    return int(expiration) / 1000 if expiration and expiration.isascii() and expiration.isdigit() else None
