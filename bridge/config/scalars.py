"""The values of unquoted YAML scalars: YAML 1.2's core schema, and mistakes where YAML 1.1 would read another value."""

from __future__ import annotations

import math
import re
from typing import Final

from bridge.errors import InvalidValue
from bridge.model.json_limits import MAX_DIGITS

_CONSTANTS: Final[dict[str, bool | None]] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_OLD_BOOLEANS: Final = frozenset(
    form for word in ("yes", "no", "on", "off") for form in (word, word.capitalize(), word.upper())
)
_DECIMAL = re.compile(r"[-+]?[0-9]+", re.ASCII)
_RADIX = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_OCTAL = re.compile(r"[-+]?0[0-9]+", re.ASCII)
_SEXAGESIMAL = re.compile(r"[-+]?[0-9]+(:[0-5]?[0-9])+(\.[0-9]*)?", re.ASCII)
_UNDERSCORES = re.compile(r"[-+]?[0-9]+(_+[0-9]*)+(\.[0-9_]*)?|0x[0-9a-fA-F]*_[0-9a-fA-F_]*", re.ASCII)


def resolve(text: str) -> str | int | float | bool | None:
    """Return the value of an unquoted scalar.

    Raises InvalidValue where YAML 1.1 and 1.2 differ in a way that surprises. Its message never quotes the text, which
    may be a password.
    """
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text in _OLD_BOOLEANS:
        raise InvalidValue("unquoted yes, no, on and off are booleans in some YAML", "quote it, or write true or false")
    # Every number of YAML begins with one of these; most values end here.
    if text[0] not in "+-.0123456789":
        return text
    return _number(text)


def _number(text: str) -> str | int | float:
    if _OCTAL.fullmatch(text):
        raise InvalidValue(
            "a number that begins with 0 is octal in some YAML", "quote it if it is text, or leave out the zero"
        )
    if _SEXAGESIMAL.fullmatch(text):
        raise InvalidValue("unquoted digits with colons are a number to base 60 in some YAML", "quote it")
    if _UNDERSCORES.fullmatch(text):
        raise InvalidValue(
            "digits with underscores are a number in some YAML", "quote it if it is text, or leave out the underscores"
        )
    if _NOT_FINITE.fullmatch(text):
        raise InvalidValue("infinity and not-a-number cannot be written in JSON", "quote it if it is text")
    if _DECIMAL.fullmatch(text) or _RADIX.fullmatch(text):
        # A hexadecimal number of n digits has at most 2n decimal digits, so this bound serves both.
        if len(text) > MAX_DIGITS // 2:
            raise InvalidValue("this number is too long", "quote it if it is text")
        return int(text, 0) if text[:2] in {"0o", "0x"} else int(text)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if not math.isfinite(number):
            raise InvalidValue("this number is too large", "quote it if it is text")
        return number
    return text
