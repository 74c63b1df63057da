"""The globs of Redis's PSUBSCRIBE: `*`, `?`, `[abc]`, `[^a]`, `[a-z]`, and a backslash for the character itself."""

from __future__ import annotations

import re
from typing import Final

import re2

from bridge.errors import InvalidValue
from bridge.topics.index import MANY, ONE, Token
from bridge.topics.pattern import Pattern, capture_names, compile_regex

#: The pieces of a glob: a capture, an escaped character, a class, or one character.
_PIECE: Final = re.compile(r"\{[^{}]*\}|\\.|\[\^?(?:\\.|[^\]\\])*\]|.", re.DOTALL)
#: One character of a class, or a range of them.
_CLASS_PART: Final = re.compile(r"(\\.|.)(?:-(\\.|.))?", re.DOTALL)


class RedisTopics:
    """See `TopicSyntax`; a capture takes a run of characters without `:`, `.` and `/`."""

    level: Final = "character"
    wildcards: Final = ("*", "?", "[abc]")
    strict: Final = "a capture takes one or more characters, and none of : . /"

    @staticmethod
    def compile(text: str) -> Pattern:
        """See `TopicSyntax`."""
        # Braces that are escaped or stand in [ ] are characters as any other.
        return compile_regex(text, capture_names(_PIECE.sub(_masked, text)), _regex(text))

    @staticmethod
    def tokens(text: str) -> list[Token]:
        """See `TopicSyntax`; a level is one character."""
        return [_token(piece[0]) for piece in _PIECE.finditer(text)]

    @staticmethod
    def check_topic(topic: str) -> None:
        """See `TopicSyntax`; a channel and a key hold any text."""

    @staticmethod
    def levels(topic: str) -> str:
        """See `TopicSyntax`."""
        return topic


def can_overlap(first: str, second: str) -> bool:
    """Tell whether a channel can fit both globs; a class counts as any character."""
    left, right = RedisTopics.tokens(first), RedisTopics.tokens(second)
    waiting, seen = [(0, 0)], {(0, 0)}
    while waiting:
        at, other = waiting.pop()
        if (at, other) == (len(left), len(right)):
            return True
        one, two = left[at : at + 1], right[other : other + 1]
        steps = []
        if one == [MANY]:
            steps += [(at + 1, other), (at, other + bool(two))]
        if two == [MANY]:
            steps += [(at, other + 1), (at + bool(one), other)]
        if one and two and (ONE in {*one, *two} or one == two):
            steps.append((at + 1, other + 1))
        waiting += {*steps} - seen
        seen.update(steps)
    return False


def _token(piece: str) -> Token:
    if piece == "*" or piece.startswith("{"):
        return MANY
    return ONE if piece == "?" or piece.startswith("[") else piece[-1]


def _masked(piece: re.Match[str]) -> str:
    return piece[0] if len(piece[0]) == 1 or piece[0].startswith("{") else "x" * len(piece[0])


def _regex(text: str) -> str:
    regex = []
    for match in _PIECE.finditer(text):
        piece = match[0]
        if piece == "*":
            regex.append(r".*")
        elif piece == "?":
            regex.append(r".")
        elif piece == "[":
            raise InvalidValue("this [ is never closed", "write \\[ where it is meant literally", match.start())
        elif piece.startswith("{"):
            regex.append(r"([^:./]+)")
        elif piece.startswith("["):
            regex.append(_class(piece, match.start()))
        else:
            regex.append(re2.escape(piece[-1]))
    return "(?s)" + "".join(regex)


def _class(piece: str, offset: int) -> str:
    """Return `[...]` in re2's syntax: to Redis nothing in it is special but a leading ^, ranges and the backslash."""
    negated = piece.startswith("[^")
    inside = piece[2 if negated else 1 : -1]
    ranges = [[ord(end[-1]) for end in part if end] for part in _CLASS_PART.findall(inside)]
    if not ranges:
        raise InvalidValue(f"{piece} holds nothing", "write \\[ where it is meant literally", offset)
    # Redis takes [z-a] as [a-z].
    spelled = "".join(rf"\x{{{min(ends):x}}}-\x{{{max(ends):x}}}" for ends in ranges)
    return f"[{'^' if negated else ''}{spelled}]"
