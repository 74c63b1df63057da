"""The tags of CBOR that are supported; all others are refused.

cbor2 knows some thirty tags. Of these a regular expression, a set, a fraction and a reference to another part of the body
cost seconds or gigabytes from a body of a few hundred bytes (observed).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, NoReturn

from bridge.model.json_limits import MAX_DIGITS
from bridge.routing.json_types import time_text

_MAX: Final[int] = 10**MAX_DIGITS
_TOO_LONG: Final = f"an integer of more than {MAX_DIGITS} digits"
_MAX_BYTES: Final = (_MAX.bit_length() + 7) // 8

#: Returns the meaning of a tagged value; the second argument is true if it is to be a key.
Decode = Callable[[Any, bool], Any]


def _time(value: Any) -> str:
    return time_text(datetime.fromisoformat(value))


def _epoch(value: Any) -> str:
    return time_text(datetime.fromtimestamp(value, UTC))


def _integer(value: Any) -> int:
    number = int.from_bytes(value) if len(value) <= _MAX_BYTES else _MAX
    if number >= _MAX:
        raise ValueError(_TOO_LONG)
    return number


def _negative(value: Any) -> int:
    number = -1 - _integer(value)
    if number == -_MAX:
        raise ValueError(_TOO_LONG)
    return number


def _decimal(value: Any) -> str:
    exponent, digits = value
    if not (type(exponent) is type(digits) is int and abs(exponent) < MAX_DIGITS):
        raise ValueError(f"a decimal fraction is two integers, with an exponent of less than {MAX_DIGITS}")
    return str(Decimal(f"{digits}e{exponent}"))


def _not_as_key(decode: Callable[[Any], object]) -> Decode:
    def decoded(value: Any, is_key: bool) -> object:  # noqa: FBT001 - cbor2 calls it
        if is_key:
            raise ValueError("a key has a tag")
        return decode(value)

    return decoded


class _Tags(dict[int, Decode]):
    def __missing__(self, tag: int) -> Decode:
        if tag in SUPPORTED_TAGS:
            raise KeyError(tag)  # then cbor2 decodes it

        def refuse(_value: object, _is_key: object) -> NoReturn:
            raise ValueError(f"the tag {tag} is not supported")

        return refuse


#: For cbor2: how tags are decoded that it would decode to other values (RFC 8949).
CBOR_TAGS: Final = _Tags(
    {tag: _not_as_key(decode) for tag, decode in {0: _time, 1: _epoch, 2: _integer, 3: _negative, 4: _decimal}.items()}
)
#: Also days since 1970 and dates (RFC 8943), and the tag of CBOR itself.
SUPPORTED_TAGS: Final = (*CBOR_TAGS, 100, 1004, 55799)
