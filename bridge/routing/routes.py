"""Compiled routes: a route turns an event into messages; a route table finds the routes of a topic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from sys import getsizeof
from typing import Any, Final

from bridge.errors import BadEvent, DeadLetterReason
from bridge.model.event import Event
from bridge.model.message import Message, MessageIds, check_sizes
from bridge.observe.masking import masked
from bridge.routing import expressions
from bridge.routing.deduplication import Deduplication
from bridge.routing.expressions import EXPRESSION_ERRORS, Expression
from bridge.routing.expressions.purse import TOO_MANY_STEPS
from bridge.routing.foreach import element_of
from bridge.routing.repair import DroppedBody
from bridge.routing.tracing import Tracing
from bridge.routing.validation import Check
from bridge.topics.index import PatternIndex
from bridge.topics.memory import TopicMemory
from bridge.topics.pattern import Pattern, TopicSyntax

#: All errors that `Route.run` may raise.
ROUTE_ERRORS: Final = (BadEvent, *EXPRESSION_ERRORS)


@dataclass(slots=True, eq=False)
class Route:
    """One compiled route.

    `run` takes an event, its payload, the captures' values and the batch's MessageIds. It returns None if `when` is
    false. Otherwise `run` of a plain route, as most are, returns the redis_message_id and body of one message for
    `queue`; `run` of any other route returns a list of `Message`, or EXPIRED (see `gates.py`). It raises one of
    ROUTE_ERRORS; `dead_letter_reason` explains which.

    `source_map` maps a line of `run` to the place of an expression in the route, and to that expression. `otherwise`
    says that the route is not plain, and that the router runs it only if no route of the source without it fits the
    event. `secrets` are texts that no reason shows. `decode` is the kind of the payload that it reads, "" for the
    source's own. `remedy` is what to do where its loops take too many steps.
    """

    name: str
    queue: str
    pattern: Pattern | None
    run: Callable[..., Any]
    filename: str
    source_map: dict[int, tuple[str, Expression]]
    is_plain: bool = True
    otherwise: bool = False
    secrets: frozenset[str] = frozenset()
    decode: str = ""
    remedy: str = ""

    @property
    def capture_names(self) -> tuple[str, ...]:
        """The names of the topic's captures."""
        return self.pattern.captures if self.pattern is not None else ()

    @property
    def when(self) -> Expression | None:
        """The condition, None without one."""
        return next((expression for place, expression in self.source_map.values() if place == "when"), None)

    def messages(
        self, event: Event, payload: object, captures: tuple[str, ...], ids: MessageIds
    ) -> list[Message] | None:
        """Return the messages that `run` makes, also of a plain route; None if `when` is false.

        Raises:
            BadEvent: a message is too large for its event, or all together are; and any of ROUTE_ERRORS, as `run`.
        """
        made = self.run(event, payload, captures, ids)
        if made is None:
            return None
        messages = [Message(self.queue, *made)] if self.is_plain else made
        check_sizes(messages, event.size + event.grown)
        return messages

    def dead_letter_reason(self, error: Exception) -> BadEvent | None:
        """Return the reason for a dead letter after `run` raised `error`.

        It is None where the event needs none: `when` misses a field, or the source drops an empty body. It has no
        traceback: one that a caller keeps in a variable would keep his frame alive, and the batch in it.
        """
        if isinstance(error, DroppedBody):
            return None
        element = "" if self.is_plain else element_of(error, self.filename)
        if isinstance(error, BadEvent):
            return BadEvent(error.reason, element + masked(error.detail, self.secrets), error.place)
        failure = expressions.explain_failure(error, self.filename)
        place, expression = self.source_map.get(failure.line, ("", None))
        if failure.missing and place == "when":
            return None
        part = expressions.part_of(expression.text, failure.text_start, failure.text_end) if expression else ""
        texts = {line: each.text for line, (_, each) in self.source_map.items()}
        at = f"{f' in `{part}`' if part else ''}{failure.spell_elements(texts)}"
        if failure.cause == TOO_MANY_STEPS:
            at += f"; {self.remedy}"
        reason: DeadLetterReason = "missing-field" if failure.missing else "wrong-type"
        detail = element + masked(f"{place}{': ' if place else ''}{failure.cause}{at}", self.secrets)
        return BadEvent("too-large" if failure.too_large else reason, detail, place)


#: The routes that fit a topic, each with the values of its captures.
Matches = tuple[tuple[Route, tuple[str, ...]], ...]
#: Longer topics, in characters, are not matched: each pattern that may fit walks through all of it, and there are thousands.
MAX_TOPIC: Final = 1024
#: A match's two tuples, in bytes.
_MATCH_BYTES: Final = 128


@dataclass(slots=True, eq=False)
class RouteTable:
    """The routes of one source, in the order of the file, found by topic.

    `syntax` is that of their patterns. `known` caches the matches of the topics that were looked up.
    `deduplication` gives the source's events their deduplication keys, where that is configured. `tracing` has their traces,
    where the routes write them into messages. `check` refuses payloads by the source's schema.
    """

    routes: Sequence[Route]
    syntax: TopicSyntax
    deduplication: Deduplication | None = None
    tracing: Tracing | None = None
    check: Check | None = None
    known: TopicMemory[str, Matches] = field(default_factory=TopicMemory)
    #: The positions in `routes`: of those that take every topic, and of the others by their patterns.
    _unconditional: list[int] = field(init=False, default_factory=list)
    _index: PatternIndex[int] = field(init=False, default_factory=PatternIndex)

    def __post_init__(self) -> None:
        """Index the patterns."""
        for position, route in enumerate(self.routes):
            if route.pattern is None:
                self._unconditional.append(position)
            else:
                self._index.add(self.syntax.tokens(route.pattern.text), position)

    def matches(self, topic: str) -> Matches:
        """Return every route that fits `topic`, with its captures; cached, so that 100 routes cost as much as one."""
        matches = self.known.get(topic)
        return self._look_up(topic) if matches is None else matches

    def _look_up(self, topic: str) -> Matches:
        if len(topic) > MAX_TOPIC and len(self._unconditional) < len(self.routes):
            return ()
        fitting = []
        size = 0
        positions = sorted(self._unconditional + self._index.find(self.syntax.levels(topic)))
        positions.sort(key=lambda position: self.routes[position].otherwise)  # these run last
        for position in positions:
            route = self.routes[position]
            captures = () if route.pattern is None else route.pattern.match(topic)
            if captures is not None:
                fitting.append((route, captures))
                size += _MATCH_BYTES + sum(map(getsizeof, captures))
        matches = tuple(fitting)
        self.known.remember(topic, matches, size)
        return matches
