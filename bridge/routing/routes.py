"""Compiled routes: a route turns an event into a message; a route table finds the routes of a topic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from sys import getsizeof
from typing import Any, Final

from bridge.config import message_options
from bridge.errors import BadEvent
from bridge.manifest.binding import Binding
from bridge.model.event import Event
from bridge.model.message import (
    CLOSING_QUOTE,
    Message,
    MessageIds,
    Template,
    check_arguments,
    check_sizes,
    encode_dynamic_options,
)
from bridge.routing import expressions
from bridge.routing.deduplication import Deduplication
from bridge.routing.expressions import EXPRESSION_ERRORS, Expression
from bridge.routing.repair import DroppedBody
from bridge.routing.tracing import Tracing
from bridge.topics.index import PatternIndex
from bridge.topics.memory import TopicMemory
from bridge.topics.pattern import Pattern, TopicSyntax

#: All errors that `Route.run` may raise.
ROUTE_ERRORS: Final = (BadEvent, *EXPRESSION_ERRORS)
_MAX_DELAY_MS: Final = 10 * 365 * 86_400_000


@dataclass(slots=True, eq=False)
class Route:
    """One compiled route.

    `run` takes an event, its payload, the captures' values and the batch's MessageIds, and returns None if `when` is false.
    That of a plain route, as nearly all are, returns the redis_message_id and body of the one message for `queue`; that of
    another a list of `Message`: it can make several, or choose their queue. It raises one of ROUTE_ERRORS;
    `dead_letter_reason` explains which. `source_map` maps a line of `run` to the expression compiled there and to its place
    in the route. `decode` is the kind of its payload, "" if that is the source's. An `otherwise` route, which is not plain, fits only where no other route of the source has: `run` does not
    ask that.
    """

    name: str
    queue: str
    pattern: Pattern | None
    run: Callable[..., Any]
    filename: str
    source_map: dict[int, tuple[str, Expression]]
    is_plain: bool = True
    otherwise: bool = False
    decode: str = ""

    @property
    def when(self) -> Expression | None:
        """The condition, None without one."""
        return next((expression for place, expression in self.source_map.values() if place == "when"), None)

    def messages(
        self, event: Event, payload: object, captures: tuple[str, ...], ids: MessageIds
    ) -> list[Message] | None:
        """Return what `run` makes, in one form; None if `when` is false.

        Raises:
            BadEvent: a message is too large for its event. And those of ROUTE_ERRORS that `run` raises.
        """
        made = self.run(event, payload, captures, ids)
        if made is None:
            return None
        messages = [Message(self.queue, *made)] if self.is_plain else made
        check_sizes(messages, event.size + event.grown)
        return messages

    def dead_letter_reason(self, error: Exception) -> BadEvent | None:
        """Return the reason for a dead letter after `run` raised `error`; None if that is no error.

        It is none that `when` misses a field, or that the source drops an empty body.

        It has no traceback: one that a caller keeps in a variable would keep his frame alive, and the batch in it.
        """
        if isinstance(error, DroppedBody):
            return None
        if isinstance(error, BadEvent):
            return BadEvent(error.reason, error.detail)
        failure = expressions.explain_failure(error, self.filename)
        place, expression = self.source_map.get(failure.line, ("", None))
        if failure.missing and place == "when":
            return None
        part = expression.text.encode()[failure.text_start : failure.text_end].decode() if expression else ""
        at = f" in `{part}`" if part else ""
        return BadEvent("missing-field" if failure.missing else "wrong-type", f"{place}: {failure.cause}{at}", place)


def message_builder(
    template: Template, static_delay_ms: int | None, *, dynamic_delay: bool, binding: Binding | None = None
) -> Callable[..., tuple[bytes, bytes]]:
    """Return a function that checks an event's values and builds the message.

    Its parameters are args, kwargs, ids, options and delay, as the route's expressions returned them, and the options of a
    trace, as `Tracing.writer` makes them. It returns
    redis_message_id and body, and raises BadEvent for a value that a Dramatiq worker could not use; with `binding`, also
    for arguments that the actor does not take.
    """
    check = check_arguments if binding is None else partial(_check_call, binding)

    def build(  # noqa: PLR0917 - the compiled route calls it, in this order
        args: object,
        kwargs: object,
        ids: MessageIds,
        options: dict[str, object],
        delay: object,
        trace: bytes = CLOSING_QUOTE,
    ) -> tuple[bytes, bytes]:
        check(args, kwargs)
        eta_ms = None
        if dynamic_delay:
            eta_ms = ids.now_ms + _check_delay(delay)
        elif static_delay_ms is not None:
            eta_ms = ids.now_ms + static_delay_ms
        return template.fill(args, kwargs, ids, encode_dynamic_options(_check_options(options), eta_ms, trace))

    return build


def _check_call(binding: Binding, args: object, kwargs: object) -> None:
    check_arguments(args, kwargs)
    misfit = next(binding.misfits(len(args), kwargs), None)  # type: ignore[arg-type] # a list and a mapping, as checked
    if misfit is not None:
        raise BadEvent("arguments", str(misfit))


def _check_delay(delay: object) -> int:
    if type(delay) not in (int, float) or not 0 <= delay <= _MAX_DELAY_MS:  # type: ignore[operator]
        raise BadEvent("option", f"delay takes milliseconds from 0 to ten years, not {str(delay)[:80]!r}")
    return int(delay)  # type: ignore[call-overload, no-any-return]


def _check_options(values: dict[str, object]) -> dict[str, object]:
    """Return an event's options in the form in which they are written to Redis.

    Raises:
        BadEvent: an option would make a Dramatiq worker lose the message.
    """
    checked = {}
    for name, value in values.items():
        try:
            checked[name] = message_options.check_option(name, value, literal=False)
        except ValueError as error:
            raise BadEvent("option", f"options.{name}: {error}") from None
    return checked


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
    where the routes write them into messages.
    """

    routes: Sequence[Route]
    syntax: TopicSyntax
    deduplication: Deduplication | None = None
    tracing: Tracing | None = None
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
        positions.sort(key=lambda position: self.routes[position].otherwise)  # they are asked last
        for position in positions:
            route = self.routes[position]
            captures = () if route.pattern is None else route.pattern.match(topic)
            if captures is not None:
                fitting.append((route, captures))
                size += _MATCH_BYTES + sum(map(getsizeof, captures))
        matches = tuple(fitting)
        self.known.remember(topic, matches, size)
        return matches
