"""Which part of a topic does not fit a pattern, in words."""

from __future__ import annotations

from collections.abc import Sequence

from bridge.topics.index import MANY, ONE, Token
from bridge.topics.pattern import TopicSyntax


def mismatch(syntax: TopicSyntax, pattern: str, topic: str) -> str:
    """Return why `topic` does not fit `pattern`, which it does not."""
    tokens, levels = syntax.tokens(pattern), syntax.levels(topic)
    reached, expected = _furthest(tokens, levels)
    wanted = sorted({token for token in expected if isinstance(token, str)})
    if expected and reached < len(levels) and len(wanted) == len(expected):
        at = (
            f"{syntax.level} {reached + 1} is {levels[reached]!r}"
            if levels[reached]
            else f"{syntax.level} {reached + 1} is empty"
        )
        return f"{at}, the route takes {' or '.join(map(repr, wanted))}"
    if not expected and reached < len(levels):
        return f"the topic goes on after {syntax.level} {reached}, where the route's ends"
    if reached == len(levels) and (wanted or ONE in expected):
        return f"the topic ends after {syntax.level} {reached}, the route takes {' or '.join(map(repr, wanted)) or f'one more {syntax.level}'} next"
    return syntax.strict


def _furthest(tokens: Sequence[Token], levels: Sequence[str]) -> tuple[int, set[Token]]:
    """Return how many levels fit from the beginning, and the tokens that would have to fit the next one."""
    places = _skip(tokens, {0})
    for number, level in enumerate(levels):
        behind = {
            place if tokens[place] is MANY else place + 1
            for place in places
            if place < len(tokens) and tokens[place] in (level, ONE, MANY)
        }
        behind = _skip(tokens, behind)
        if not behind:
            return number, {tokens[place] for place in places if place < len(tokens)}
        places = behind
    return len(levels), {tokens[place] for place in places if place < len(tokens)} - {MANY}


def _skip(tokens: Sequence[Token], places: set[int]) -> set[int]:
    """Add the places behind each MANY, which fits no level as well."""
    reached = set(places)
    for place in sorted(places):
        at = place
        while at < len(tokens) and tokens[at] is MANY:
            at += 1
            reached.add(at)
    return reached
