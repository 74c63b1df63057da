"""`lenient: true`: JSON with numbers that JSON does not have, which become null. Nothing else is forgiven.

Python, JavaScript's libraries and ArduinoJson write NaN and Infinity. C's printf, and so Tasmota and many a sensor's firmware, writes
nan, -nan, inf and -inf.
"""

from __future__ import annotations

import json
import math
import re
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
#: A text of JSON, which is left alone, or a number of C that is none. It never fails on a quote, so it takes linear time.
_OF_C: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|-?\b(?:nan|inf)\b', re.DOTALL)


def as_strict_json(body: bytes) -> bytes:
    """Return a JSON body with null instead of NaN, nan, Infinity, inf, and of numbers that no float, or no int, holds.

    Raises:
        ValueError: the body is no JSON for another reason too.
        RecursionError: it is nested too deeply.
    """
    text = _OF_C.sub(lambda found: found[0] if found[0][0] == '"' else "null", body.decode())
    return msgspec.json.encode(_decode(text))
