"""The limits of the JSON in a message: a Dramatiq worker could not read more."""

from __future__ import annotations

from typing import Final

#: The most digits of a whole number. Python neither prints nor reads longer ones.
MAX_DIGITS: Final = 4300


def is_encodable(text: str) -> bool:
    """Tell whether UTF-8 can hold `text`: it has no surrogate, which is half of a character."""
    return not any("\ud800" <= char <= "\udfff" for char in text)
