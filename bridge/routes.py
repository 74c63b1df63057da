"""Routes at work: an event becomes a message, and the table of a source finds the routes of a topic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from bridge import expressions, options
from bridge.errors import BadEvent
from bridge.event import Event
from bridge.expressions import Expression
from bridge.message import Message, Template, unique_ids
from bridge.topics import Pattern

Result = tuple[object, object, dict[str, object], object]

#: What an expression can raise; anything else is a bug of ours and ends the process loudly.
EXPRESSION_ERRORS: Final = (LookupError, TypeError, ValueError, ArithmeticError, RecursionError, MemoryError)
#: Topics whose matches are remembered, per source; one more and the table begins anew.
CACHED_TOPICS: Final = 8192
_LONGEST_CACHED: Final = 256
_LONGEST_DELAY_MS: Final = 10 * 365 * 86_400_000


@dataclass(slots=True, eq=False)
class Route:
    """One compiled route; `places` gives, by line of `run`, where in the route an expression stands."""

    name: str
    actor: str
    queue: str
    pattern: Pattern | None
    template: Template
    run: Callable[..., Result | None]
    filename: str
    places: dict[int, tuple[str, Expression]]
    static_delay_ms: int | None
    dynamic_delay: bool

    def eta(self, delay: object, now_ms: int) -> int | None:
        """Return the epoch milliseconds at which the message is due, or None for at once.

        Raises:
            BadEvent: the delay came from the event and is no sensible number of milliseconds.
        """
        if self.static_delay_ms is not None:
            return now_ms + self.static_delay_ms
        if not self.dynamic_delay:
            return None
        if type(delay) not in (int, float) or not 0 <= delay <= _LONGEST_DELAY_MS:  # type: ignore[operator]
            raise BadEvent("option", f"delay takes milliseconds from 0 to ten years, not {str(delay)[:80]!r}")
        return now_ms + int(delay)  # type: ignore[call-overload, no-any-return]

    def explain(self, error: Exception) -> tuple[bool, BadEvent]:
        """Return whether `error` means that `when` does not fit, and the BadEvent that it is otherwise."""
        fault = expressions.fault(error, self.filename)
        place, expression = self.places.get(fault.line, ("", None))
        if fault.missing and place == "when":
            return True, BadEvent("missing-field", "")
        part = expression.text.encode()[fault.text_start : fault.text_end].decode() if expression else ""
        at = f" in `{part}`" if part else ""
        return False, BadEvent("missing-field" if fault.missing else "wrong-type", f"{place}: {fault.problem}{at}")


def fire(route: Route, captures: tuple[str, ...], event: Event, payload: object, now_ms: int) -> Message | None:
    """Return the message that `route` makes of `event`, or None where its `when` does not fit.

    Raises:
        BadEvent: the event can never become this message.
    """
    try:
        result = route.run(
            payload, event.topic, event.headers, event.meta, event.source, event.received_at_ms, *captures
        )
    except EXPRESSION_ERRORS as error:
        does_not_fit, bad = route.explain(error)
        if does_not_fit:
            return None
        raise bad from None
    if result is None:
        return None
    args, kwargs, options_, delay = result
    if options_:
        options_ = _check_options(options_)
    redis_id, message_id = unique_ids(2)
    eta_ms = route.eta(delay, now_ms)
    return route.template.fill(args, kwargs, options=options_, eta_ms=eta_ms, now_ms=now_ms, ids=(redis_id, message_id))


def _check_options(values: dict[str, object]) -> dict[str, object]:
    """Return options that came from an event as they are written; one that would damage a worker is a BadEvent."""
    checked = {}
    for name, value in values.items():
        try:
            checked[name] = options.check_option(name, value, literal=False)
        except ValueError as error:
            raise BadEvent("option", f"options.{name}: {error}") from None
    return checked


@dataclass(slots=True, eq=False)
class RouteTable:
    """The routes of one source, found by topic."""

    routes: Sequence[Route]
    _found: dict[str, tuple[tuple[Route, tuple[str, ...]], ...]] = field(default_factory=dict)

    def matches(self, topic: str) -> tuple[tuple[Route, tuple[str, ...]], ...]:
        """Return every route whose topic fits, with its captures; remembered, so that 100 routes cost what one does."""
        found = self._found.get(topic)
        if found is None:
            matches = []
            for route in self.routes:
                captures = () if route.pattern is None else route.pattern.match(topic)
                if captures is not None:
                    matches.append((route, captures))
            found = tuple(matches)
            if len(topic) <= _LONGEST_CACHED:
                if len(self._found) >= CACHED_TOPICS:
                    self._found.clear()
                self._found[topic] = found
        return found
