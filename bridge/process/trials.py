"""Dry runs of events by the routes of one source of a running bridge, with answers of a bounded size."""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from pydantic import ValidationError

from bridge.config import Config
from bridge.config.cases import EventCase
from bridge.config.route_model import Route
from bridge.dry_run.as_test import as_test
from bridge.dry_run.events import described_event
from bridge.dry_run.results import FITS, Result, RouteResult
from bridge.dry_run.runs import DryRun
from bridge.errors import BadEvent, InvalidValue
from bridge.model.event import Event
from bridge.model.workshop import Trial, Tried, TriedRoute, WorkshopError
from bridge.observe.masking import MASK

#: So many routes are listed; others are counted.
_MAX_ROUTES: Final = 200
#: Of a route that makes several messages, so many are shown.
_MAX_OF_ROUTE: Final = 50
#: So many bytes of messages are shown, and of one explanation so many characters.
_MAX_MESSAGES: Final = 1 << 20
_MAX_WHY: Final = 2_000
#: YAML is slow: of larger events and messages no test is made.
_MAX_TESTED: Final = 64 << 10
#: The parts of a message that may hold a substituted value, by the fields of its route.
_PARTS: Final = ("args", "kwargs", "options")
_FIRST: Final = ("actor_name", "queue_name", "args", "kwargs", "options")


class TrialRun:
    """Runs events through the routes of `source`, compiled once."""

    def __init__(self, config: Config, source: str) -> None:
        self._config = config
        self._source = source
        self._own = config.model_copy(update={"routes": [route for route in config.routes if route.source == source]})
        self._routes = {str(route.name): route for route in self._own.routes}
        self._dry_run = DryRun(self._own)

    def serves(self, config: Config, source: str) -> bool:
        """Whether this has the routes of the source in this configuration."""
        return config is self._config and source == self._source

    def run(self, trial: Trial) -> Tried:
        """Return the outcome of an event.

        Raises:
            WorkshopError: the source brings no such event.
        """
        now_ms = time.time_ns() // 1_000_000
        event = self._event(trial, now_ms)
        result = self._dry_run.run(event, now_ms)
        tried = self._tried(result)
        size = len(event.body) + sum(len(text) for each in tried.routes for text in each.messages)
        if size > _MAX_TESTED or tried.left_out or any(each.unshown for each in tried.routes):
            tried.no_test = "a test of this event and its messages would be too large for the page"
            return tried
        try:
            tried.test = as_test(self._own, event, f"an event of {trial.source}")
        except InvalidValue as error:
            tried.no_test = str(error)
        return tried

    def _event(self, trial: Trial, now_ms: int) -> Event:
        given: dict[str, Any] = {"from": trial.source, "topic": trial.topic, "headers": trial.headers}
        given |= {"meta": trial.meta, "received_at": now_ms}
        given |= {name: value for name in ("payload", "body") if (value := getattr(trial, name)) is not msgspec.UNSET}
        try:
            case = EventCase.model_validate(given, by_alias=True, by_name=False)
            return described_event(case, self._own.sources[trial.source], Path(), now_ms)
        except InvalidValue as error:
            raise WorkshopError(_words(error), is_mistake=True) from None
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise WorkshopError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}", is_mistake=True) from None

    def _tried(self, result: Result) -> Tried:
        found = result.explained()
        # Those that fit come first.
        found.sort(key=lambda one: one.verdict not in FITS)
        room = _MAX_MESSAGES
        routes = []
        for one in islice(found, _MAX_ROUTES):
            route, room = self._route(one, room)
            routes.append(route)
        outcome: Literal["fits", "none", "dead-letter"] = "fits" if result.messages else "none"
        tried = Tried("dead-letter" if result.dead_letters else outcome, routes)
        tried.left_out = len(found) - len(routes)
        if result.dead_letter is not None:
            tried.dead_letter, tried.why = result.dead_letter.reason, result.dead_letter.detail[:_MAX_WHY]
        else:
            tried.why = result.not_brought[:_MAX_WHY]
        return tried

    def _route(self, one: RouteResult, room: int) -> tuple[TriedRoute, int]:
        """Return the outcome of a route, without substituted values; and the bytes that are left for other messages."""
        route = self._routes[one.route]
        tried = TriedRoute(one.route, one.verdict, one.verdict in FITS)
        if one.messages:
            tried.queues = list(dict.fromkeys(message["queue_name"] for message in one.messages))
            for message in one.messages[:_MAX_OF_ROUTE]:
                shown = msgspec.json.encode(_masked(message, route))
                if len(shown) > room:
                    break
                tried.messages.append(shown.decode())
                room -= len(shown)
            tried.unshown = len(one.messages) - len(tried.messages)
            if tried.unshown:
                tried.why = f"{tried.unshown} of its {len(one.messages)} messages are not shown"
            return tried, room
        if one.dead_letter is not None:
            tried.dead_letter = one.dead_letter.reason
        tried.why = self._why(one, route)[:_MAX_WHY]
        return tried, room

    def _why(self, one: RouteResult, route: Route) -> str:
        if one.verdict == "when" and "when" in route.hidden:
            return f"when: `{self._config.origin.masked_conditions.get(one.route, MASK)}` is false"
        letter: BadEvent | None = one.dead_letter
        if letter is not None and route.hidden:
            return f"{letter.place or 'the route'}: its error may show a value of ${{...}}, and is not shown"
        return one.why


def _masked(message: dict[str, Any], route: Route) -> dict[str, Any]:
    """Return a message with its call first, and without substituted values."""
    ordered = {key: message[key] for key in (*_FIRST, *message) if key in message}
    return {key: MASK if key in _PARTS and key in route.hidden else value for key, value in ordered.items()}


def _words(error: InvalidValue) -> str:
    first = error.diagnostics[0]
    place = ".".join(map(str, first.path))
    return f"{place}: {first}" if place else str(first)
