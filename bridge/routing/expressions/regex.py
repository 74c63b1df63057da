"""Regular expressions: compiled when the configuration is read, in linear time and with a bound on the work."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

import re2

from bridge.routing.expressions.values import refuse

#: The largest compiled regex: a larger one could not even be tried on a KiB.
_MAX_SIZE: Final = 4096
#: The most steps (size x bytes of text) that one search may need. RE2 is linear, but where its automaton does not
#: fit its cache it walks the whole program for each byte: 5 to 7.5 ns a step, so a search takes 7.5 ms at most (measured).
_MAX_STEPS: Final = 1_000_000
#: The automaton of a regex of this size always fits: one step per byte, of 5 ns. From a size of 20 on it may not
#: (`(a|b)*a(a|b){13}c`: 30 ns a byte, with {14} 130).
_MAX_SMALL: Final = 16


class Regex(NamedTuple):
    """A compiled regex, the largest text in bytes that it is tried on, and the steps that a search can need per byte."""

    search: Callable[[bytes], object]
    max_bytes: int
    steps: int


@lru_cache(maxsize=4096)
def compile_regex(pattern: str) -> Regex:
    """Compile a linear-time regex. Raises ValueError with the reason if it is wrong or too large."""
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True  # `matches` needs no groups, and they would cost a second pass.
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        raise ValueError(reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)) from None
    size: int = max(compiled.programsize, compiled.reverseprogramsize, 1)
    if size > _MAX_SIZE:
        raise ValueError("it is too large: use fewer or smaller repetitions")
    steps = 1 if size <= _MAX_SMALL else size
    return Regex(compiled.search, _MAX_STEPS // steps, steps)


def matches(text: object, pattern: str) -> bool:
    """`matches(text, "regex")`: whether the regex is found anywhere in the text."""
    if type(text) is not str:
        refuse("matches()", "text", text)
    regex = compile_regex(pattern)
    data = text.encode()
    if len(data) > regex.max_bytes:
        raise ValueError(f"matches(): the text is longer than the {regex.max_bytes} bytes that this regex is tried on")
    return regex.search(data) is not None
