"""`lenient: true`: JSON with numbers that JSON does not have, which become null. Nothing else is forgiven."""

from __future__ import annotations

import json
import math
from typing import Final

import msgspec

from bridge.model.json_limits import MAX_DIGITS


def _float(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _int(text: str) -> int | None:
    return int(text) if len(text.lstrip("-")) <= MAX_DIGITS else None


#: Python's own decoder is as strict as msgspec but for NaN, Infinity and -Infinity, and for lone surrogates, which are
#: refused when its value is written again.
_decode: Final = json.JSONDecoder(parse_constant=lambda _: None, parse_float=_float, parse_int=_int).decode


def as_strict_json(body: bytes) -> bytes:
    """Return a JSON body with null instead of NaN, Infinity, -Infinity, and of numbers that no float, or no int, holds.

    Raises:
        ValueError: the body is no JSON for another reason too.
        RecursionError: it is nested too deeply.
    """
    return msgspec.json.encode(_decode(body.decode()))
