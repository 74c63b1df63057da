"""Routes at work: an event becomes a message, and the table of a source finds the routes of a topic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from bridge.config import message_options as options
from bridge.errors import BadEvent
from bridge.model.message import MessageIds, Template, check_arguments, encode_dynamic_options
from bridge.routing import expressions
from bridge.routing.deduplication import Deduplication
from bridge.routing.expressions import EXPRESSION_ERRORS, Expression
from bridge.topics.pattern import Pattern, remember

#: What a route can raise.
ROUTE_ERRORS: Final = (BadEvent, *EXPRESSION_ERRORS)
_LONGEST_DELAY_MS: Final = 10 * 365 * 86_400_000


@dataclass(slots=True, eq=False)
class Route:
    """One compiled route.

    `run` takes an event, its payload, the captures and a stamp. It returns the redis_message_id and the body of what
    becomes of the event, or None where `when` does not fit; for what it raises, out of ROUTE_ERRORS, see `dead_letter_reason`.
    `source_map` gives, by line of `run`, where in the route an expression stands.
    """

    name: str
    queue: str
    pattern: Pattern | None
    run: Callable[..., tuple[bytes, bytes] | None]
    filename: str
    source_map: dict[int, tuple[str, Expression]]

    def dead_letter_reason(self, error: Exception) -> BadEvent | None:
        """Return why `run`, which raised `error`, made no message; None if its `when` does not fit."""
        if isinstance(error, BadEvent):
            return error
        fault = expressions.fault(error, self.filename)
        place, expression = self.source_map.get(fault.line, ("", None))
        if fault.missing and place == "when":
            return None
        part = expression.text.encode()[fault.text_start : fault.text_end].decode() if expression else ""
        at = f" in `{part}`" if part else ""
        return BadEvent("missing-field" if fault.missing else "wrong-type", f"{place}: {fault.problem}{at}")


def message_builder(
    template: Template, static_delay_ms: int | None, *, dynamic_delay: bool
) -> Callable[[object, object, MessageIds, dict[str, object], object], tuple[bytes, bytes]]:
    """Return what makes a message of what an event gave for args, kwargs, options and delay; it raises BadEvent."""

    def message(
        args: object, kwargs: object, stamp: MessageIds, options_: dict[str, object], delay: object
    ) -> tuple[bytes, bytes]:
        check_arguments(args, kwargs)
        eta_ms = None
        if dynamic_delay:
            eta_ms = stamp.now_ms + _check_delay(delay)
        elif static_delay_ms is not None:
            eta_ms = stamp.now_ms + static_delay_ms
        return template.fill(args, kwargs, stamp, encode_dynamic_options(_check_options(options_), eta_ms))

    return message


def _check_delay(delay: object) -> int:
    if type(delay) not in (int, float) or not 0 <= delay <= _LONGEST_DELAY_MS:  # type: ignore[operator]
        raise BadEvent("option", f"delay takes milliseconds from 0 to ten years, not {str(delay)[:80]!r}")
    return int(delay)  # type: ignore[call-overload, no-any-return]


def _check_options(values: dict[str, object]) -> dict[str, object]:
    """Return options that came from an event as they are written; one that would damage a worker is a BadEvent."""
    checked = {}
    for name, value in values.items():
        try:
            checked[name] = options.check_option(name, value, literal=False)
        except ValueError as error:
            raise BadEvent("option", f"options.{name}: {error}") from None
    return checked


#: The routes that fit a topic, each with what its captures have caught.
Matches = tuple[tuple[Route, tuple[str, ...]], ...]


@dataclass(slots=True, eq=False)
class RouteTable:
    """The routes of one source, found by topic; `known` are the matches of topics that were looked up.

    `deduplication` gives the source's events their deduplication keys, where that is configured.
    """

    routes: Sequence[Route]
    deduplication: Deduplication | None = None
    known: dict[str, Matches] = field(default_factory=dict)

    def matches(self, topic: str) -> Matches:
        """Return every route whose topic fits, with its captures; remembered, so that 100 routes cost what one does."""
        found = self.known.get(topic)
        if found is None:
            matches = []
            for route in self.routes:
                captures = () if route.pattern is None else route.pattern.match(topic)
                if captures is not None:
                    matches.append((route, captures))
            found = tuple(matches)
            remember(self.known, topic, found)
        return found
