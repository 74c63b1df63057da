"""A dry run: one event through the routes of its source, by the code that a running bridge has, and without any broker."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal

import msgspec

from bridge.config import Config, SourceConfig
from bridge.dry_run.conditions import Condition, Falsehood
from bridge.errors import BadEvent
from bridge.model.batch import Batch
from bridge.model.event import Event
from bridge.model.message import MessageIds, check_growth
from bridge.routing import router
from bridge.routing.compiler import compile_part, compile_routes
from bridge.routing.expressions import RUNTIME, Expression
from bridge.routing.routes import ROUTE_ERRORS, Route
from bridge.topics.mismatch import mismatch

#: What a route makes of an event: a message, a dead letter, or nothing, since its topic or its `when` does not fit.
Verdict = Literal["message", "dead-letter", "topic", "when"]
_SUFFIXES: Final = [b"%03x" % number for number in reversed(range(1, 4096))]


@dataclass(frozen=True, slots=True)
class RouteResult:
    """What one route makes of the event. `why` explains each verdict but "message"."""

    route: str
    verdict: Verdict
    why: str = ""
    message: dict[str, Any] | None = None
    dead_letter: BadEvent | None = None
    #: The parts of `when` that are false.
    falsehoods: list[Falsehood] = field(default_factory=list)
    #: Whether `when` was true; None where it was not asked, or where there is none.
    condition: bool | None = None
    captures: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """What becomes of one event.

    `routes` are those whose topics fit. `dead_letter` is that of an event which reaches no route. `not_brought` says why the source does not bring its topic;
    then nothing becomes of it. `unmatched` says that no route's topic fits.
    """

    routes: list[RouteResult]
    dead_letter: BadEvent | None = None
    not_brought: str = ""
    unmatched: bool = False
    #: Explains the routes whose topics do not fit: there may be thousands, and seldom are they asked for.
    _others: Callable[[], list[RouteResult]] = list

    def explained(self) -> list[RouteResult]:
        """Return what each route of the source makes of the event, first those whose topics fit."""
        return [*self.routes, *self._others()]

    @property
    def messages(self) -> list[RouteResult]:
        """The routes that make a message."""
        return [result for result in self.routes if result.message is not None]

    @property
    def dead_letters(self) -> list[tuple[BadEvent, str | None]]:
        """Each dead letter, with the name of its route."""
        own = [(result.dead_letter, result.route) for result in self.routes if result.dead_letter is not None]
        return [(self.dead_letter, None), *own] if self.dead_letter is not None else [*own]


class _FixedIds(MessageIds):
    """Ids that are the same in each run, so that two outputs can be compared."""

    __slots__ = ()

    def renew(self) -> None:
        """See MessageIds."""
        self.redis_id_prefix = b"00000000-0000-4000-8000-000000000"
        self.message_id_prefix = b'},"message_id":"00000000-0000-4000-9000-000000000'
        self.suffixes += _SUFFIXES


class DryRun:
    """Runs events through the routes of a configuration, whose routes have no mistakes.

    The messages' ids are the same in each run, unless they are to be `unique`.
    """

    def __init__(self, config: Config, *, unique: bool = False) -> None:
        self._config = config
        self._ids = MessageIds if unique else _FixedIds
        self._now_ms = 0
        self._functions = {**RUNTIME, "_now": lambda: self._now_ms}
        self._tables = compile_routes(config, functions=self._functions)[0]
        self._routers = {name: router.make(config.sources[name], table) for name, table in self._tables.items()}
        self._topics = {
            name: [route.topic for route in config.routes if route.source == name] for name in config.sources
        }

    def run(self, event: Event, now_ms: int) -> Result:
        """Return what becomes of `event` if it is routed at `now_ms`, milliseconds since 1970."""
        self._now_ms = now_ms
        source, table = self._config.sources[event.source], self._tables[event.source]
        not_brought = source.traits.why_not_brought(source, self._topics[event.source], event.topic)
        others = partial(self._without_topic, source, event)
        if not_brought:
            return Result([], not_brought=not_brought, _others=others)
        matches = table.matches(event.topic)
        if not matches:
            return Result([], self._letter(event), unmatched=True, _others=others)
        try:
            payload = self._routers[event.source].payload(event)
        except BadEvent as error:
            return Result([], error, _others=others)
        ids = self._ids(now_ms)
        routes = [self._route(route, captures, event, payload, ids) for route, captures in matches]
        return Result(routes, _others=others)

    def _letter(self, event: Event) -> BadEvent | None:
        """Return the dead letter of an event that reaches no route."""
        batch = Batch([event])
        self._routers[event.source].route(batch)
        return next((BadEvent(letter.reason, letter.detail) for _, letter in batch.dead_letters), None)

    def _without_topic(self, source: SourceConfig, event: Event) -> list[RouteResult]:
        return [
            RouteResult(route.name, "topic", _why_no_topic(route, source, event.topic))
            for route in self._tables[event.source].routes
            if route.pattern is not None and route.pattern.match(event.topic) is None
        ]

    def _route(
        self, route: Route, captures: tuple[str, ...], event: Event, payload: object, ids: MessageIds
    ) -> RouteResult:
        named = dict(zip(route.pattern.captures if route.pattern else (), captures, strict=True))
        when = route.when
        try:
            message = route.run(event, payload, captures, ids)
            if message is not None:
                check_growth(len(message[1]), event.size)
                body = msgspec.json.decode(message[1])
                condition = None if when is None else True
                return RouteResult(route.name, "message", message=body, condition=condition, captures=named)
        except ROUTE_ERRORS as error:
            letter = route.dead_letter_reason(error)
            if letter is not None:
                condition = None if when is None or letter.detail.startswith("when: ") else True
                return RouteResult(
                    route.name, "dead-letter", letter.detail, dead_letter=letter, condition=condition, captures=named
                )
        assert when is not None  # noqa: S101 - a route without a condition makes a message or a dead letter
        falsehoods = self._condition(route, when, event, payload, captures).falsehoods()
        why = f"when: {'; and '.join(map(str, falsehoods))}"
        return RouteResult(route.name, "when", why, falsehoods=falsehoods, condition=False, captures=named)

    def _condition(
        self, route: Route, when: Expression, event: Event, payload: object, captures: tuple[str, ...]
    ) -> Condition:
        def evaluate(part: ast.expr) -> Any:
            return compile_part(route, when, part, self._functions)(event, payload, captures, None)

        return Condition(when, route.filename, evaluate)


def _why_no_topic(route: Route, source: SourceConfig, topic: str) -> str:
    assert route.pattern is not None  # noqa: S101 - a route without a topic takes every one
    text = route.pattern.text
    return f"topic: {topic!r} does not fit {text}: {mismatch(source.traits.topics, text, topic)}"
