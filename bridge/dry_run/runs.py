"""A dry run: one event through the routes of its source, by the code that a running bridge has, and without any broker."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal

import msgspec

from bridge.config import Config, SourceConfig
from bridge.dry_run.conditions import Condition, Falsehood
from bridge.dry_run.gates import Remembered, gates_json, pass_gates
from bridge.errors import BadEvent
from bridge.model.batch import Batch
from bridge.model.event import Event
from bridge.model.message import Message, MessageIds
from bridge.routing import router
from bridge.routing.compiler import compile_routes
from bridge.routing.expressions import RUNTIME, Expression, lookups
from bridge.routing.functions import compile_part
from bridge.routing.gates import EXPIRED
from bridge.routing.payloads import payload_of
from bridge.routing.repair import DroppedBody
from bridge.routing.routes import ROUTE_ERRORS, Route
from bridge.topics.mismatch import mismatch

#: The outcome of an event at a route: "message" (one or several), "dead-letter", or why there is neither: the topic
#: does not fit; `when` is false; another route fits (of an `otherwise` route); the list of `foreach` is empty; the time
#: of the event is up; all messages are left out for their keys; the source does not bring the topic; the payload can't
#: be read.
Verdict = Literal[
    "message",
    "dead-letter",
    "topic",
    "when",
    "otherwise",
    "foreach",
    "expired",
    "deduplicated",
    "not-brought",
    "no-payload",
]
#: The route fits; an `otherwise` route then does not.
FITS: Final[frozenset[Verdict]] = frozenset({"message", "dead-letter", "expired", "deduplicated"})
_NOT_BROUGHT: Final[tuple[Verdict, str]] = "not-brought", "the source does not bring this one"
_NO_PAYLOAD: Final[tuple[Verdict, str]] = "no-payload", "the event has no payload that can be read"
_INVALID: Final[tuple[Verdict, str]] = "no-payload", "the payload does not fit the schema of the source"
_DROPPED: Final[tuple[Verdict, str]] = "no-payload", "the body is empty, and the source drops such events (empty: drop)"
_TOO_LONG: Final[tuple[Verdict, str]] = "topic", "this one is too long to be matched"


@dataclass(frozen=True, slots=True)
class RouteResult:
    """The outcome of one route."""

    route: str
    verdict: Verdict
    #: In their order; empty unless the verdict is "message".
    messages: list[dict[str, Any]] = field(default_factory=list)
    #: Of each message, as `route --json` shows them.
    gates: list[dict[str, Any]] = field(default_factory=list)
    #: How many messages are not written, since their keys are remembered.
    deduplicated: int = 0
    dead_letter: BadEvent | None = None
    #: Whether `when` was true; None where there is none, where it was not asked, and where it missed a field.
    condition: bool | None = None
    captures: dict[str, str] = field(default_factory=dict)
    # Explanations take far longer than the run, and of a test that passes nobody asks for them.
    _falsehoods: Callable[[], list[Falsehood]] = list
    _why: Callable[[], str] = str

    @property
    def falsehoods(self) -> list[Falsehood]:
        """The parts of `when` that are false."""
        return self._falsehoods()

    @property
    def why(self) -> str:
        """The explanation of each verdict but "message"."""
        if self.dead_letter is not None:
            return self.dead_letter.detail
        return f"when: {'; and '.join(map(str, self.falsehoods))}" if self.verdict == "when" else self._why()


@dataclass(frozen=True, slots=True)
class Made:
    """A message, and the route that makes it."""

    route: str
    message: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of one event.

    `routes` are the routes whose topics fit. `dead_letter` is set if the event fails before any route. If the source does not
    bring the topic, `not_brought` says why, and all else is empty. `unmatched` says that no route's topic fits.
    """

    routes: list[RouteResult]
    dead_letter: BadEvent | None = None
    not_brought: str = ""
    unmatched: bool = False
    #: Explains the other routes: there may be thousands, and seldom are they asked for.
    _others: Callable[[], Iterable[RouteResult]] = list

    def explained(self) -> list[RouteResult]:
        """Return the outcome of each route of the source, first of those whose topics fit."""
        return [*self.routes, *self._others()]

    def others(self) -> Iterable[RouteResult]:
        """Return the outcomes of the routes that are not in `routes`, each made when it is asked for."""
        return self._others()

    @property
    def messages(self) -> list[Made]:
        """All messages, in the order of the routes."""
        return [Made(result.route, message) for result in self.routes for message in result.messages]

    @property
    def counts(self) -> dict[str, int]:
        """How many messages were left out for their keys, and for how many routes the event's time was up."""
        expired = sum(result.verdict == "expired" for result in self.routes)
        return {"deduplicated": sum(result.deduplicated for result in self.routes), "expired": expired}

    @property
    def dead_letters(self) -> list[tuple[BadEvent, str | None]]:
        """Each dead letter, with the name of its route."""
        own: list[tuple[BadEvent, str | None]] = [
            (result.dead_letter, result.route) for result in self.routes if result.dead_letter is not None
        ]
        return own if self.dead_letter is None else [(self.dead_letter, None), *own]


class _FixedIds(MessageIds):
    """Ids that are the same in each run, so that two outputs can be compared."""

    __slots__ = ()

    def _random(self) -> bytes:
        return bytes(16) + bytes([1] * 16)


class DryRun:
    """Runs events through the routes of a configuration, whose routes have no mistakes.

    The messages' ids are the same in each run, unless they are to be `unique`.
    """

    def __init__(self, config: Config, *, unique: bool = False) -> None:
        self._config = config
        self._ids = MessageIds if unique else _FixedIds
        self._now_ms = 0
        self._remembered: Remembered = set()
        #: The conditions of the routes as functions, made when one is not true for the first time.
        self._conditions: dict[str, Callable[..., Any]] = {}
        self._functions = {**RUNTIME, **lookups(config.rows), "_now": lambda: self._now_ms}
        self._tables = compile_routes(config, functions=self._functions, traced=False)[0]
        self._routers = {name: router.make(config.sources[name], table) for name, table in self._tables.items()}
        self._topics = {
            name: [route.topic for route in config.routes if route.source == name] for name in config.sources
        }

    def run(self, event: Event, now_ms: int, remembered: Remembered | None = None) -> Result:
        """Return the outcome of `event` if it is routed at `now_ms`, milliseconds since 1970.

        Messages whose keys are `remembered` are left out, and the others' keys are added; without it, only the event's
        own messages can be duplicates of each other.
        """
        self._now_ms = now_ms
        self._remembered = set() if remembered is None else remembered
        source, table = self._config.sources[event.source], self._tables[event.source]
        not_brought = source.traits.why_not_brought(source, self._topics[event.source], event.topic)
        if not_brought:
            return Result([], not_brought=not_brought, _others=partial(self._others, source, event, _NOT_BROUGHT))
        matches = table.matches(event.topic)
        if not matches:
            return Result(
                [], self._letter(event), unmatched=True, _others=partial(self._others, source, event, _TOO_LONG)
            )
        try:
            payload = self._routers[event.source].payload(event)
        except DroppedBody:
            return Result([], _others=partial(self._others, source, event, _DROPPED))
        except BadEvent as error:
            fitting = _INVALID if error.reason == "invalid" else _NO_PAYLOAD
            return Result([], error, _others=partial(self._others, source, event, fitting))
        ids = self._ids(now_ms)
        routes: list[RouteResult] = []
        for route, captures in matches:
            taken = next((one.route for one in routes if one.verdict in FITS), None) if route.otherwise else None
            if taken is None:
                routes.append(self._route(route, captures, event, payload, ids))
            else:
                why = partial(str, f"otherwise: the route {taken} fits")
                routes.append(RouteResult(route.name, "otherwise", captures=_named(route, captures), _why=why))
        return Result(routes, _others=partial(self._others, source, event, None))

    def _letter(self, event: Event) -> BadEvent | None:
        """Return the dead letter of an event that reaches no route."""
        batch = Batch([event])
        self._routers[event.source].route(batch)
        return next((BadEvent(letter.reason, letter.detail) for _, letter in batch.dead_letters), None)

    def _others(self, source: SourceConfig, event: Event, fitting: tuple[Verdict, str] | None) -> Iterator[RouteResult]:
        """Yield the routes whose topics do not fit; and, before them, the others with the verdict `fitting`."""
        routes = self._tables[event.source].routes
        fits = {route.name: route.pattern is None or route.pattern.match(event.topic) is not None for route in routes}
        if fitting is not None:
            verdict, why = fitting
            for route in routes:
                if fits[route.name]:
                    takes = "its topic fits" if route.pattern is not None else "it takes every topic"
                    yield RouteResult(route.name, verdict, _why=partial(str, f"{takes}, but {why}"))
        for route in routes:
            if not fits[route.name]:
                yield RouteResult(route.name, "topic", _why=partial(_why_no_topic, route, source, event.topic))

    def _route(
        self, route: Route, captures: tuple[str, ...], event: Event, given: object, ids: MessageIds
    ) -> RouteResult:
        named = _named(route, captures)
        when = route.when
        try:
            payload = payload_of(route.decode, given)
        except DroppedBody as error:
            return RouteResult(route.name, "no-payload", captures=named, _why=partial(str, error.detail))
        except BadEvent as error:
            return RouteResult(route.name, "dead-letter", dead_letter=error, captures=named)
        try:
            made = route.messages(event, given, captures, ids)
            if made is not None:
                condition = None if when is None else True
                if made is EXPIRED:
                    why = partial(str, "expires: the event's time is up")
                    return RouteResult(route.name, "expired", condition=condition, captures=named, _why=why)
                if not made:
                    why = partial(str, "foreach: the list is empty")
                    return RouteResult(route.name, "foreach", condition=condition, captures=named, _why=why)
                return self._passed(route, made, named)
        except ROUTE_ERRORS as error:
            letter = route.dead_letter_reason(error)
            if letter is not None:
                condition = None if when is None or letter.place in {"when", "validate"} else True
                return RouteResult(route.name, "dead-letter", dead_letter=letter, condition=condition, captures=named)
        assert when is not None  # noqa: S101 - a route without a condition makes a list, or a dead letter
        asked = self._condition(route, when, event, payload, captures)
        is_false = None if asked.is_incomplete() else False
        return RouteResult(route.name, "when", condition=is_false, captures=named, _falsehoods=asked.falsehoods)

    def _passed(self, route: Route, made: list[Message], named: dict[str, str]) -> RouteResult:
        passed = pass_gates(made, self._remembered)
        return RouteResult(
            route.name,
            "message" if passed else "deduplicated",
            [msgspec.json.decode(message.body) for message in passed],
            [gates_json(message.gate) for message in passed],
            len(made) - len(passed),
            condition=None if route.when is None else True,
            captures=named,
            _why=partial(str, "deduplicate: a message with its key was written before"),
        )

    def _condition(
        self, route: Route, when: Expression, event: Event, payload: object, captures: tuple[str, ...]
    ) -> Condition:
        now_ms = self._now_ms

        def evaluate(part: ast.expr) -> Any:
            self._now_ms = now_ms  # another event may have been run since
            return self._part(route, when, part)(event, payload, captures, None)

        return Condition(when, route.filename, evaluate)

    def _part(self, route: Route, when: Expression, part: ast.expr) -> Callable[..., Any]:
        if part is not when.node:
            return compile_part(route, when, part, self._functions)
        if route.name not in self._conditions:
            self._conditions[route.name] = compile_part(route, when, part, self._functions)
        return self._conditions[route.name]


def _named(route: Route, captures: tuple[str, ...]) -> dict[str, str]:
    return dict(zip(route.pattern.captures if route.pattern else (), captures, strict=True))


def _why_no_topic(route: Route, source: SourceConfig, topic: str) -> str:
    assert route.pattern is not None  # noqa: S101 - a route without a topic takes every one
    text = route.pattern.text
    return f"topic: {topic!r} does not fit {text}: {mismatch(source.traits.topics, text, topic)}"
