"""The limits of the JSON in a message: a Dramatiq worker could not read more."""

from __future__ import annotations

import re
from itertools import islice
from typing import Any, Final

import re2

#: The most digits of a whole number. Python neither prints nor reads longer ones.
MAX_DIGITS: Final = 4300


def is_encodable(text: str) -> bool:
    """Tell whether UTF-8 can hold `text`: it has no surrogate, which is half of a character."""
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)


#: So many numbers with an exponent of three digits may stand in one JSON text. msgspec 0.22.0 takes up to 10 us for each
#: beyond 1e290 or below 1e-307 (observed): 256 KiB of them cost 0.4 s.
MAX_LONG_EXPONENTS: Final = 3_000
#: A shorter text has no room for so many.
EXPONENTS_FROM_BYTES: Final = MAX_LONG_EXPONENTS * len("1e300,")
_LONG_EXPONENT: Final = rb"[\[:,\s]-?\d[\d.]*[eE][-+]?\d{3}"
#: Finds the first seven times as fast as the other, but takes longer for the next ones.
_first_long_exponent: Any = re2.compile(_LONG_EXPONENT)
_long_exponents = re.compile(_LONG_EXPONENT)


def check_exponents(text: bytes, most: int = MAX_LONG_EXPONENTS) -> None:
    """Check that a JSON text has at `most` so many numbers with an exponent of three digits.

    Raises:
        ValueError: it has more.
    """
    # Most texts have too few e.
    if (
        len(text) > most * len("1e300,")
        and text.count(b"e") + text.count(b"E") > most
        and _first_long_exponent.search(text)
        and next(islice(_long_exponents.finditer(text), most, None), None)
    ):
        raise ValueError(f"more than {most} numbers with an exponent of three digits")


def nests_deeper(value: object, most: int) -> bool:
    """Tell whether lists and mappings stand more than `most` deep in one another; layer by layer, without recursion."""
    layer: list[Any] = [value] if type(value) is dict or type(value) is list else []
    for _ in range(most):
        layer = [
            child
            for node in layer
            for child in (node.values() if type(node) is dict else node)
            if type(child) is dict or type(child) is list
        ]
        if not layer:
            return False
    return True
