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


def no_json(value: object) -> NoReturn:
    """Raise the TypeError of a value that is none of JSON's: an encoder's `enc_hook`.

    `describe` asks for the value's type, and so reads a redacted field (see `RedactedValue`); the encoder does not.
    """
    refuse("JSON", "JSON's values", value)


def too_long(name: str) -> NoReturn:
    """Raise the ValueError of a text that is too long, or would be."""
    raise ValueError(f"{name}: the text would be longer than {MAX_TEXT} characters")


def bounded(name: str, text: str) -> str:
    """Return the text of the function `name`. Raises ValueError if it has more than MAX_TEXT characters."""
    if len(text) > MAX_TEXT:
        too_long(name)
    return text


def bytes_of(name: str, value: object) -> bytes:
    """Return bytes as they are, and a text in UTF-8. Raises TypeError for anything else."""
    if type(value) is bytes:
        return value
    if type(value) is not str:
        refuse(name, "text or bytes", value)
    return value.encode()
