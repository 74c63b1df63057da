"""The result of a dry run: of one event, and of each route of its source."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from bridge.dry_run.conditions import Falsehood
from bridge.errors import BadEvent

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
#: The verdicts of a route that takes the event, so that no `otherwise` route does; in words, with its name.
TAKES: Final[dict[Verdict, str]] = {
    "message": "the route {} fits",
    "dead-letter": "the route {} should have taken the event, which became a dead letter",
    "expired": "the route {} should have taken the event, whose time is up",
    "deduplicated": "the route {} fits, though its message was written before",
}
#: The route fits, whatever becomes of its message.
FITS: Final[frozenset[Verdict]] = frozenset(TAKES)


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
class MadeMessage:
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
    def messages(self) -> list[MadeMessage]:
        """All messages, in the order of the routes."""
        return [MadeMessage(result.route, message) for result in self.routes for message in result.messages]

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
