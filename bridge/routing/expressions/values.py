"""The bounds on the values of an expression, and the errors for values of the wrong kind.

The functions of this package take values that a stranger may have sent. So each checks its types in words that a user
understands, and bounds every result that could grow faster than its input before it builds the result.
"""

from __future__ import annotations

from typing import Final, NoReturn

from bridge.config.wording import describe

#: The longest text, in characters, that an expression makes.
MAX_TEXT: Final = 2**20
#: The largest whole number, either way, that arithmetic takes and gives.
MAX_INT: Final = 2**256

NUMBERS: Final = frozenset({int, float})


def refuse(name: str, takes: str, value: object) -> NoReturn:
    """Raise the TypeError of a value that the function or operator `name` doesn't take."""
    raise TypeError(f"{name} takes {takes}, not {describe(value)}")


def key(value: object) -> str:
    """Return `value` as a key of a mapping. Raises TypeError unless it is text."""
    if type(value) is not str:
        raise TypeError(f"a key of a mapping is text, not {describe(value)}")
    return value
