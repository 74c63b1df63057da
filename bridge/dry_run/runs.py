"""A dry run: one event through the routes of its source, by the code that a running bridge has, and without any broker."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import msgspec

from bridge.config import Config, SourceConfig
from bridge.dry_run.conditions import Condition
from bridge.dry_run.gates import Remembered, gates_json, pass_gates
from bridge.dry_run.results import TAKES, Result, RouteResult, Verdict
from bridge.errors import BadEvent
from bridge.model.batch import Batch
from bridge.model.event import Event
from bridge.model.message import Message, MessageIds
from bridge.routing import router
from bridge.routing.compiler import compile_routes
from bridge.routing.expressions import RUNTIME, Expression, lookups
from bridge.routing.gates import EXPIRED
from bridge.routing.payloads import payload_of
from bridge.routing.repair import DroppedBody
from bridge.routing.route_function import compile_value
from bridge.routing.routes import ROUTE_ERRORS, Route
from bridge.topics.mismatch import mismatch

_NOT_BROUGHT: Final[tuple[Verdict, str]] = "not-brought", "the source does not bring this one"
_NO_PAYLOAD: Final[tuple[Verdict, str]] = "no-payload", "the event has no payload that can be read"
_INVALID: Final[tuple[Verdict, str]] = "no-payload", "the payload does not fit the schema of the source"
_DROPPED: Final[tuple[Verdict, str]] = "no-payload", "the body is empty, and the source drops such events (empty: drop)"
_TOO_LONG: Final[tuple[Verdict, str]] = "topic", "this one is too long to be matched"


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
        taken = ""
        for route, captures in matches:
            if route.otherwise and taken:
                why = partial(str, f"otherwise: {taken}")
                routes.append(RouteResult(route.name, "otherwise", captures=_named(route, captures), _why=why))
                continue
            result = self._route(route, captures, event, payload, ids)
            routes.append(result)
            if not (route.otherwise or taken) and result.verdict in TAKES:
                taken = TAKES[result.verdict].format(route.name)
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
        if part is when.node and route.name in self._conditions:
            return self._conditions[route.name]
        run = compile_value(when, route.filename, self._functions, captures=route.capture_names, part=part)
        if part is when.node:
            self._conditions[route.name] = run
        return run


def _named(route: Route, captures: tuple[str, ...]) -> dict[str, str]:
    return dict(zip(route.capture_names, captures, strict=True))


def _why_no_topic(route: Route, source: SourceConfig, topic: str) -> str:
    assert route.pattern is not None  # noqa: S101 - a route without a topic takes every one
    text = route.pattern.text
    return f"topic: {topic!r} does not fit {text}: {mismatch(source.traits.topics, text, topic)}"
