"""The tags of CBOR that are supported; `binary_formats` refuses all others.

cbor2 knows some thirty tags. Of these a regular expression, a set, a fraction and a reference to another part of the body
cost seconds or gigabytes from a body of a few hundred bytes (observed).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from bridge.model.json_limits import MAX_DIGITS
from bridge.routing.json_types import time_text

_MAX: Final[int] = 10**MAX_DIGITS
_MAX_BYTES: Final = (_MAX.bit_length() + 7) // 8

#: Returns the meaning of a tagged value; the second argument, whether it is to be a key, makes no difference to these.
Decode = Callable[[Any, bool], Any]


def _time(value: Any, _is_key: object) -> str:
    return time_text(datetime.fromisoformat(value))


def _epoch(value: Any, _is_key: object) -> str:
    return time_text(datetime.fromtimestamp(value, UTC))


def _integer(value: Any, _is_key: object) -> int:
    number = int.from_bytes(value) if len(value) <= _MAX_BYTES else _MAX
    if number >= _MAX:
        raise ValueError(f"an integer of more than {MAX_DIGITS} digits")
    return number


def _negative(value: Any, is_key: object) -> int:
    number = -1 - _integer(value, is_key)
    if number == -_MAX:
        raise ValueError(f"an integer of more than {MAX_DIGITS} digits")
    return number


def _decimal(value: Any, _is_key: object) -> str:
    exponent, digits = value
    if not (type(exponent) is type(digits) is int and abs(exponent) < MAX_DIGITS):
        raise ValueError(f"a decimal fraction is two integers, with an exponent of less than {MAX_DIGITS}")
    return str(Decimal(f"{digits}e{exponent}"))


#: How those tags are decoded that cbor2 would decode to other values: RFC 8949.
DECODERS: Final[dict[int, Decode]] = {0: _time, 1: _epoch, 2: _integer, 3: _negative, 4: _decimal}
#: The tags that are supported: also days since 1970 and dates (RFC 8943), and the tag of CBOR itself.
CBOR_TAGS: Final = (*DECODERS, 100, 1004, 55799)
