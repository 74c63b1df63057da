"""Topic patterns: the wildcards of the source's protocol, plus `{name}`, which captures one level as text.

This file holds the part that all protocols share; each protocol's syntax has a file of its own.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import re2

from bridge.errors import InvalidValue
from bridge.topics.index import Token

#: `{name}` in a pattern.
CAPTURE: Final = re.compile(r"\{([^{}]*)\}")
_NAME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9_]*\Z")
_OPTIONS: Final = re2.Options()
_OPTIONS.log_errors = False  # to stderr, past our logs


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled pattern; `captures` are the names in the order of `match`'s result."""

    text: str
    captures: tuple[str, ...]
    _regex: Any
    _fits_empty: bool = True

    def match(self, topic: str) -> tuple[str, ...] | None:
        """Return the text of each capture, in order, or None where the topic does not fit."""
        if not topic and not self._fits_empty:
            return None
        match = self._regex.fullmatch(topic.encode())
        return tuple([capture.decode() for capture in match.groups()]) if match else None


class TopicSyntax(Protocol):
    """The wildcards of one protocol; `tokens` and `levels` are for a `PatternIndex`.

    `level` is the protocol's word for a level. `strict` says where a pattern takes less than its tokens do.
    """

    @property
    def level(self) -> str: ...  # noqa: D102

    @property
    def wildcards(self) -> Sequence[str]: ...  # noqa: D102

    @property
    def strict(self) -> str: ...  # noqa: D102

    def compile(self, text: str) -> Pattern:
        """Compile a route's topic.

        Raises:
            InvalidValue: the text is no pattern; it says why, and at which character.
        """
        ...

    def tokens(self, text: str) -> Sequence[Token]:
        """Return the tokens of a pattern that `compile` takes. They fit every topic that the pattern fits."""
        ...

    def check_topic(self, topic: str) -> None:
        """Raise InvalidValue for a topic that no event of the protocol has."""
        ...

    def levels(self, topic: str) -> Sequence[str]:
        """Split a topic into the levels that tokens stand for."""
        ...


def compile_regex(text: str, captures: tuple[str, ...], regex: str, *, fits_empty: bool = True) -> Pattern:
    """Return the pattern `text`, which a protocol has translated to `regex`, with a group for each capture.

    Raises:
        InvalidValue: the pattern is too long.
    """
    try:
        # re2 matches in linear time: no topic, however odd, can make a pattern slow.
        # Of bytes, which are UTF-8 to it all the same: the library takes twice as long for text (observed).
        return Pattern(text, captures, re2.compile(regex.encode(), _OPTIONS), fits_empty)
    except re2.error:
        raise InvalidValue("this topic is too long") from None


def capture_names(text: str) -> tuple[str, ...]:
    """Return the names of the captures in `text`.

    Raises:
        InvalidValue: the text is empty, a name cannot be used, or a brace stands alone.
    """
    if not text:
        raise InvalidValue("an empty topic fits nothing", "leave `topic` out to take every event of the source")
    names: list[str] = []
    for capture in CAPTURE.finditer(text):
        name = capture[1]
        if not _NAME.match(name):
            raise InvalidValue(
                f"{{{name}}} is not a name", "write letters, digits and _, such as {plant}", capture.start()
            )
        if keyword.iskeyword(name):
            raise InvalidValue(f"{{{name}}} is a word of the language", "give it another name", capture.start())
        if name in names:
            raise InvalidValue(f"{{{name}}} stands twice", "give each capture a name of its own", capture.start())
        names.append(name)
    rest = CAPTURE.sub(lambda capture: "x" * len(capture[0]), text)
    for brace in "{}":
        if brace in rest:
            raise InvalidValue(f"a single {brace}", "a capture is written {name}", rest.index(brace))
    return tuple(names)


def split_levels(text: str, separator: str, many: str, one: str) -> list[str]:
    """Split into levels; `many` and `one` are the wildcards for any number of levels and for one.

    Raises:
        InvalidValue: a wildcard or a capture is only a part of its level.
    """
    levels = text.split(separator)
    offset = 0
    for level in levels:
        for wildcard in (many, one):
            if wildcard in level and level != wildcard:
                raise InvalidValue(
                    f"{wildcard} must stand alone between two {separator!r}",
                    f"as in a{separator}{one}{separator}b",
                    offset + level.index(wildcard),
                )
        if "{" in level and not CAPTURE.fullmatch(level):
            raise InvalidValue(
                "a capture takes a whole level", f"as in a{separator}{{name}}{separator}b", offset + level.index("{")
            )
        offset += len(level) + 1
    return levels
