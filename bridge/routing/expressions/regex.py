"""Regular expressions: compiled when the configuration is read, in linear time and with a bound on the work."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, NamedTuple

import re2

from bridge.routing.expressions.values import refuse

#: The largest compiled regex: a larger one could not even be tried on a KiB.
_MAX_SIZE: Final = 4096
#: The most steps (size x bytes of text) that one search may need. RE2 is linear, but where its automaton does not fit
#: its cache it walks the whole program for each byte: 5 to 7.5 ns a step, so a search takes 7.5 ms at most (measured).
#: The groups of a match are looked for in a second walk.
_MAX_STEPS: Final = 1_000_000
#: The automaton of a regex of this size always fits: one step per byte, of 5 ns. From a size of 20 on it may not
#: (`(a|b)*a(a|b){13}c`: 30 ns a byte, with {14} 130).
_MAX_SMALL: Final = 16


class Regex(NamedTuple):
    """A compiled regex, the largest text in bytes that it is tried on, and the steps that a search can need per byte."""

    search: Callable[[bytes], Any]
    max_bytes: int
    steps: int
    groups: int


@lru_cache(maxsize=4096)
def compile_regex(pattern: str) -> Regex:
    """Compile a linear-time regex for `matches`. Raises ValueError with the reason if it is wrong or too large."""
    return _compile(pattern, groups=False)


@lru_cache(maxsize=4096)
def compile_capture(pattern: str) -> Regex:
    """Compile a regex for `capture`, with its groups. Raises ValueError with the reason if it is wrong or too large."""
    compiled = _compile(pattern, groups=True)
    return compiled if compiled.groups else compile_regex(pattern)


def _compile(pattern: str, *, groups: bool) -> Regex:
    options = re2.Options()
    options.log_errors = False
    options.never_capture = not groups  # Groups that nobody reads would cost a second pass.
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        raise ValueError(reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)) from None
    size: int = max(compiled.programsize, compiled.reverseprogramsize, 1)
    if size > _MAX_SIZE:
        raise ValueError("it is too large: use fewer or smaller repetitions")
    has_groups = groups and compiled.groups > 0
    steps = 2 * size if has_groups else 1 if size <= _MAX_SMALL else size
    return Regex(compiled.search, _MAX_STEPS // steps, steps, compiled.groups)


def check(pattern: str) -> None:
    """Check the regex of `matches`. Raises ValueError."""
    _check(pattern, compile_regex)


def check_capture(pattern: str) -> None:
    """Check the regex of `capture`. Raises ValueError."""
    _check(pattern, compile_capture)


def _check(pattern: str, compile_it: Callable[[str], Regex]) -> None:
    try:
        compile_it(pattern)
    except ValueError as error:
        raise ValueError(f"not a usable regex: {error}") from error


def _search(name: str, text: object, regex: Regex) -> Any:
    if type(text) is not str:
        refuse(name, "text", text)
    data = text.encode()
    if len(data) > regex.max_bytes:
        raise ValueError(f"{name}: the text is longer than the {regex.max_bytes} bytes that this regex is tried on")
    return regex.search(data)


def matches(text: object, pattern: str) -> bool:
    """`matches(text, "regex")`: whether the regex is found anywhere in the text."""
    return _search("matches()", text, compile_regex(pattern)) is not None


def capture(text: object, pattern: str) -> object:
    """`capture(text, "regex")`: the first match; of a regex with groups, their texts, alone or as a list."""
    regex = compile_capture(pattern)
    match = _search("capture()", text, regex)
    if match is None:
        return None
    if not regex.groups:
        return match.group().decode(errors="replace")
    parts = [None if part is None else part.decode(errors="replace") for part in match.groups()]
    return parts if len(parts) > 1 else parts[0]
