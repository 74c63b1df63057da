"""Headers and meta of an AMQP message, made from its properties only when a route asks for them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from pamqp.commands import Basic
from pamqp.header import ContentHeader

from bridge.errors import BadEvent
from bridge.model.event import Details
from bridge.routing.decoding import to_json_types

_EMPTY: Final[dict[str, object]] = {}


def parse_properties(header: bytes) -> Basic.Properties:
    """Return the properties of a content header: class (2) | weight (2) | body size (8) | flags | values.

    Raises:
        BadEvent: pamqp can't decode a property (text that is not UTF-8, a timestamp in nanoseconds, ...).
    """
    content = ContentHeader()
    try:
        content.unmarshal(header)
    except Exception as error:  # noqa: BLE001 - pamqp raises struct.error, ValueError, OverflowError, ...
        raise BadEvent("decode", f"a property can't be read: {error}"[:300]) from None
    return content.properties


def details(properties: Basic.Properties, exchange: str, redelivered: bool) -> Details:  # noqa: FBT001 - AMQP's flag
    """Return headers in JSON's types, and meta: `timestamp` in epoch milliseconds, `expires_in` in seconds."""
    return _headers(properties.headers) if properties.headers else _EMPTY, {
        "message_id": properties.message_id,
        "correlation_id": properties.correlation_id,
        "reply_to": properties.reply_to,
        "content_type": properties.content_type,
        "timestamp": _milliseconds(properties.timestamp),
        "expires_in": _seconds(properties.expiration),
        "exchange": exchange,
        "redelivered": redelivered,
    }


def _headers(raw: dict[str, Any]) -> dict[str, object]:
    """Return the headers in JSON's types, binary as base64; if one can't be converted, only text, integers and booleans."""
    try:
        return to_json_types(raw)  # type: ignore[return-value]
    except (ValueError, UnicodeEncodeError):
        return {key: value for key, value in raw.items() if isinstance(value, (str, int, bool))}


def _milliseconds(timestamp: datetime | None) -> int | None:
    return int(timestamp.timestamp() * 1000) if timestamp else None


def _seconds(expiration: str | None) -> float | None:
    # isascii: "²" is a digit too, but int() refuses it.
    return int(expiration) / 1000 if expiration and expiration.isascii() and expiration.isdigit() else None
