"""What an unquoted YAML scalar means: YAML 1.2's core schema, and own words for what YAML 1.1 would make of it."""

from __future__ import annotations

import math
import re
from typing import Final

from bridge.config.diagnostics import WrongValue

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

#: A worker cannot decode a longer integer: that is Python's own limit.
MAX_DIGITS: Final = 4_300


def resolve(text: str) -> str | int | float | bool | None:
    """Return what an unquoted scalar stands for.

    Raises WrongValue where YAML 1.1 and 1.2 differ in a way that surprises; its words never quote
    the text, which may be a password.
    """
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text in _OLD_BOOLEANS:
        raise WrongValue("unquoted yes, no, on and off are booleans in some YAML", "quote it, or write true or false")
    # Whatever YAML takes for a number begins with one of these; most values end here.
    if text[0] not in "+-.0123456789":
        return text
    return _number(text)


def _number(text: str) -> str | int | float:
    if _OCTAL.fullmatch(text):
        raise WrongValue(
            "a number that begins with 0 is octal in some YAML", "quote it if it is text, or leave out the zero"
        )
    if _SEXAGESIMAL.fullmatch(text):
        raise WrongValue("unquoted digits with colons are a number to base 60 in some YAML", "quote it")
    if _UNDERSCORES.fullmatch(text):
        raise WrongValue(
            "digits with underscores are a number in some YAML", "quote it if it is text, or leave out the underscores"
        )
    if _NOT_FINITE.fullmatch(text):
        raise WrongValue("infinity and not-a-number cannot be written in JSON", "quote it if it is text")
    if _DECIMAL.fullmatch(text) or _RADIX.fullmatch(text):
        # Hexadecimal digits say less than decimal ones, so this bound is enough for both.
        if len(text) > MAX_DIGITS // 2:
            raise WrongValue("this number is too long", "quote it if it is text")
        return int(text, 0) if text[:2] in {"0o", "0x"} else int(text)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if not math.isfinite(number):
            raise WrongValue("this number is too large", "quote it if it is text")
        return number
    return text
