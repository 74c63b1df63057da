"""The wording of messages: how they name kinds of values, quote a value, and propose another word."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

import yaml

from bridge.errors import KeyPath

_MAX_QUOTED: Final = 80
_MAX_QUOTED_BITS: Final = 256
_MAX_KEY: Final = 60
_MAX_LISTED: Final = 10
#: Matching takes quadratic time, and a word of this length is not a slip of the finger.
_MAX_MISSPELT: Final = 80
#: So many known words are compared for the hints of one file, at some 10 us each: the mistakes behind it get none.
_MAX_COMPARED: Final = 5_000

_left: ContextVar[list[int] | None] = ContextVar("left", default=None)

_KINDS: Final[dict[type, str]] = {
    type(None): "null",
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "a mapping",
    bytes: "bytes",
}


def describe(value: object) -> str:
    """Return the kind of a value in plain words, without showing the value: `text`, `a list`, `null` ..."""
    words = _KINDS.get(type(value))
    return words or next((words for kind, words in _KINDS.items() if isinstance(value, kind)), "something else")


def quoted(value: object) -> str:
    """Return a value as a message may show it: on one line of at most 80 characters, without control characters."""
    if isinstance(value, str):
        text = repr(value[:_MAX_QUOTED])
        return text if len(text) <= _MAX_QUOTED else f"{text[: _MAX_QUOTED - 2]}…{text[0]}"
    if isinstance(value, int) and value.bit_length() > _MAX_QUOTED_BITS:
        return "a huge number"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value) if isinstance(value, (int, float)) else describe(value)


@contextmanager
def bounded_hints() -> Iterator[None]:
    """Bound the time that `near_miss` takes in all, for a file with any number of mistakes."""
    token = _left.set([_MAX_COMPARED])
    try:
        yield
    finally:
        _left.reset(token)


def near_miss(word: str, known: Iterable[str], cutoff: float = 0.7) -> str:
    """Return `did you mean 'x'?` for the nearest known word, or "" if none is near, or `bounded_hints` allows no more.

    `cutoff` is the least similarity, from 0 to 1.
    """
    left = _left.get()
    if left is not None:
        if left[0] <= 0:
            return ""
        known = list(known)
        left[0] -= len(known)
        if left[0] < 0:
            return ""
    near = nearest(word, known, cutoff)
    return f"did you mean '{near}'?" if near else ""


#: So many similar words are compared by their letters.
_MAX_NEAR: Final = 3
#: Shorter words have the same letters by chance.
_MIN_SWAPPED: Final = 3


def nearest(word: str, known: Iterable[str], cutoff: float) -> str:
    """Return the nearest known word, or ""."""
    if len(word) > _MAX_MISSPELT:
        return ""
    possible = [one for one in known if _may_be_near(word, one, cutoff)]
    near = difflib.get_close_matches(word, possible, _MAX_NEAR, cutoff) if possible else []
    # Of equally similar words, the one with the same letters: two of them have changed places. In a short word, such as
    # `ulr`, that makes a difference that is too large for the measure.
    letters = sorted(word)
    same = (one for one in near or possible if len(one) >= _MIN_SWAPPED and sorted(one) == letters)
    return next(same, near[0] if near else "")


def _may_be_near(word: str, known: str, cutoff: float) -> bool:
    """Whether the words have enough characters in common, as `SequenceMatcher.quick_ratio` asks, in a tenth of its time."""
    least = cutoff * (len(word) + len(known)) / 2
    if min(len(word), len(known)) < least or len([char for char in word if char in known]) < least:
        return False
    return sum(min(word.count(char), known.count(char)) for char in set(known)) >= least


def listed(words: Iterable[object], conjunction: str = "or") -> str:
    """Return `a, b or c`."""
    *first, last = map(str, words)
    return f"{', '.join(first)} {conjunction} {last}" if first else last


def flow(value: Any) -> str:
    """Return a list or a mapping as YAML on one line: `{queue: [a, b]}`."""
    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=math.inf)
    return text.strip()


def first_names(names: Sequence[str]) -> str:
    """Return `a, b, c`; of many names the first ten, and the number of the others."""
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return f"{', '.join(names[:_MAX_LISTED])}{more}"


def spell_path(path: KeyPath) -> str:
    """Return a path as people write it: `routes[0].kwargs.unit`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif step and len(step) <= _MAX_KEY and all(char.isalnum() or char in "_-$" for char in step):
            text += f".{step}" if text else step
        else:
            text += f"[{quoted(step)}]"
    return text
