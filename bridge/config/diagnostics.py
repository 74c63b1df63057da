"""A wrong value, in plain words, before it has a place in the file."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

Loc = tuple[str | int, ...]


class WrongValue(ValueError):
    """A value that cannot be used: what is wrong, what would be right, and where below the value it is."""

    def __init__(self, problem: str, hint: str = "", at: Loc = (), *, at_key: bool = False) -> None:
        super().__init__(f"{problem}; {hint}" if hint else problem)
        self.problem = problem
        self.hint = hint
        self.at = at
        self.at_key = at_key


class WrongValues(ValueError):
    """Several wrong values inside one value."""

    def __init__(self, every: list[WrongValue]) -> None:
        super().__init__("; ".join(map(str, every)))
        self.every = every


@dataclass(frozen=True, slots=True)
class Finding:
    """One mistake at a path of the file.

    `offset` counts characters inside the scalar there; `at_key` points to the key instead of to its value.
    """

    loc: Loc
    problem: str
    hint: str = ""
    offset: int | None = None
    at_key: bool = False


class Refused:
    """Stands for a value that the YAML layer has refused, so that nothing else complains about it."""


REFUSED = Refused()


_KINDS: Final[tuple[tuple[type | tuple[type, ...], str], ...]] = (
    (type(None), "nothing"),
    (bool, "true or false"),
    ((int, float), "a number"),
    (str, "text"),
    (list, "a list"),
    (dict, "a mapping"),
)


def describe(value: object) -> str:
    """Say what kind of value this is, without showing it."""
    return next((words for kind, words in _KINDS if isinstance(value, kind)), "something else")


def near_miss(word: str, known: Iterable[str], cutoff: float = 0.7) -> str:
    """Return `did you mean 'x'?` for the nearest known word, otherwise an empty text."""
    # Matching takes quadratic time: a word of this length is not a slip of the finger.
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff) if len(word) <= 80 else []
    return f"did you mean '{found[0]}'?" if found else ""


def listed(words: Iterable[object]) -> str:
    """Return `a, b or c`."""
    *first, last = map(str, words)
    return f"{', '.join(first)} or {last}" if first else last


def quoted(text: str) -> str:
    """Return a word of the file in quotes, cropped, with nothing that a terminal would obey."""
    shown = "".join(char if char.isprintable() else "?" for char in text[:60])
    return f"'{shown}…'" if len(text) > 60 else f"'{shown}'"


def where(loc: Loc) -> str:
    """Return a path as people write it: `routes[0].kwargs.unit`."""
    text = ""
    for step in loc:
        if isinstance(step, int):
            text += f"[{step}]"
        elif step and len(step) <= 60 and all(char.isalnum() or char in "_-$" for char in step):
            text += f".{step}" if text else step
        else:
            text += f"[{quoted(step)}]"
    return text
