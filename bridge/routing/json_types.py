"""Values of Python's types that JSON does not have, in JSON's own: of AMQP headers, and of msgpack with timestamps."""

from __future__ import annotations

import base64
import math
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final, NoReturn

import cbor2
import msgspec

from bridge.routing.body_check import MAX_DEPTH

#: The types that need no conversion.
_PLAIN: Final = frozenset((str, int, bool, type(None)))
#: Values of CBOR and msgpack, as their specifications call them.
_REFUSED: Final[dict[type, str]] = {
    type(cbor2.undefined): "undefined value",
    cbor2.CBORSimpleValue: "simple value",
    msgspec.msgpack.Ext: "extension type",
}
_LEAST_KEY: Final = -(2**64)
_TOO_LARGE_KEY: Final = 2**64


def time_text(time: datetime) -> str:
    """Return `time.isoformat()`; in UTC it takes a sixth of the time."""
    if time.tzinfo is not UTC:
        return time.isoformat()
    text: str = msgspec.to_builtins(time)
    return text[:-1] + "+00:00"  # msgspec writes a Z, and `datetime.fromisoformat` reads none before Python 3.11


def to_json_types(value: Any) -> Any:
    """Return `value` in JSON's own types: bytes become base64 text, dates ISO 8601 text. Lists and mappings are changed in place.

    `value` comes from a decoder that lets no lone surrogate pass.

    Raises:
        ValueError: a number that is not finite, nesting deeper than MAX_DEPTH, a key that is neither text nor an integer,
            a type that JSON does not have.
    """
    # Layer by layer, without a call for each value: 250,000 of them fit into 256 KiB.
    plain, root = _PLAIN, [value]
    layer: list[Any] = [root]
    for _ in range(MAX_DEPTH + 1):
        deeper: list[Any] = []
        for node in layer:
            if type(node) is dict:
                places: Any = _with_text_keys(node).items()
            else:
                places = enumerate(node)
            for place, item in places:
                kind = type(item)
                if kind in plain:
                    continue
                if kind is tuple:
                    item = node[place] = list(item)  # noqa: PLW2901 - the list stands for it
                    deeper.append(item)
                elif kind is list or kind is dict:
                    deeper.append(item)
                else:
                    node[place] = _scalar_to_json(item)
        if not deeper:
            return root[0]
        layer = deeper
    raise ValueError(f"nested more than {MAX_DEPTH} deep")


def _with_text_keys(node: dict[Any, Any]) -> dict[Any, Any]:
    """Make every key of `node` text, and return it."""
    for key in node:
        if type(key) is not str:
            changed = {_key_to_json(key): item for key, item in node.items()}
            node.clear()
            node.update(changed)
            break
    return node


def _scalar_to_json(value: object) -> object:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is not a number that JSON has")
        return value
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, datetime):
        return time_text(value)
    if isinstance(value, date):
        return value.isoformat()
    if not isinstance(value, Decimal):
        refuse_type(value)
    return str(value)


def refuse_type(value: object) -> NoReturn:
    """Raise the ValueError of a value whose type JSON does not have: an encoder's `enc_hook`."""
    raise ValueError(f"JSON has no {_REFUSED.get(type(value), 'value for it')}")


def _key_to_json(key: object) -> str:
    if isinstance(key, str):
        return key
    if type(key) is int and _LEAST_KEY <= key < _TOO_LARGE_KEY:
        return str(key)
    raise ValueError("a key is neither text nor an integer of 64 bits")
