"""What every value of an expression has: a word for its kind, a short way to show it, and bounds on its size.

The functions of this package take values that a stranger may have sent. So each checks its types in words that a
user understands, and what could grow faster than its input is bounded before it is built.
"""

from __future__ import annotations

from typing import Any, Final, NoReturn

#: The longest text, in characters, that an expression makes.
MAX_TEXT: Final = 2**20
#: The largest whole number, either way, that arithmetic takes and gives.
MAX_INT: Final = 2**256
#: The most digits of a whole number in a text: Python's own bound, kept even where the environment lifts it.
MAX_DIGITS: Final = 4300
_MAX_QUOTE: Final = 80

NUMBERS: Final = frozenset({int, float})
_KINDS: Final = {
    type(None): "null",
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "a mapping",
    bytes: "bytes",
}


def kind(value: object) -> str:
    """Return the plain word for a value's type: "a text", "a list", "null" ..."""
    return _KINDS.get(type(value)) or type(value).__name__


def quote(value: Any) -> str:
    """Return `value` as an error may show it: at most 80 characters of it, on one line."""
    what = type(value)
    if what is str:
        text = repr(value[:_MAX_QUOTE])
    elif what is int and abs(value) > MAX_INT:
        return "a huge number"
    elif what in NUMBERS or what is bool or value is None:
        text = repr(value)
    else:
        return kind(value)
    return text if len(text) <= _MAX_QUOTE else text[: _MAX_QUOTE - 1] + "…"


def refuse(name: str, takes: str, value: object) -> NoReturn:
    """Raise the TypeError of a value that the function or operator `name` doesn't take."""
    raise TypeError(f"{name} takes {takes}, not {kind(value)}")


def key(value: object) -> str:
    """Return `value`, which must be able to be a key of a mapping."""
    if type(value) is not str:
        raise TypeError(f"a key of a mapping is a text, not {kind(value)}")
    return value
