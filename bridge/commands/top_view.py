"""The contents of `top`: the newest looks, the order and the filter of the rows, and the keys that change them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from bridge.commands.admin_client import Status
from bridge.commands.arguments import SORTS
from bridge.commands.condition import Condition, condition, plain
from bridge.commands.layout import spell_span
from bridge.commands.rates import Look, Rate, Rates, rates
from bridge.errors import BridgeError
from bridge.model.accounting import Counts, RouteCounts
from bridge.model.state import QueueState, RouteState, SourceState

_ESCAPE: Final = "\x1b"
_BACKSPACE: Final = frozenset("\x7f\b")
_ENTER: Final = frozenset("\r\n")
_MAX_FILTER: Final = 60


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A source; `rate` is None until two looks have its counts."""

    name: str
    source: SourceState
    condition: Condition
    rate: Rate[Counts] | None


@dataclass(frozen=True, slots=True)
class RouteRow:
    """A route; `rate` is None until two looks have its counts."""

    name: str
    route: RouteState
    counts: RouteCounts
    rate: Rate[RouteCounts] | None


class View:
    """The state of the display. Times are seconds of the monotonic clock."""

    def __init__(self, sort: str, text: str) -> None:
        self.sort = sort
        self.filter = text
        #: Whether keys are the filter's text.
        self.is_typing = False
        self.is_paused = False
        #: Whether `q` was pressed.
        self.ended = False
        self._looks: tuple[Look | None, Look | None] = (None, None)
        self._shown: tuple[Look | None, Look | None] = (None, None)
        self._failure = ""
        self._failed_at = 0.0
        self._began_anew = False

    def take(self, answer: Look | BridgeError) -> None:
        """Take the newest look, or the cause for which there is none."""
        if isinstance(answer, BridgeError):
            if not self._failure:
                self._failed_at = time.monotonic()
            self._failure = str(answer)
            return
        newest = self._looks[1]
        if newest is not None and newest.status.started_at != answer.status.started_at:
            self._began_anew = True
        self._failure = ""
        self._looks = (newest, answer)
        if not self.is_paused:
            self._shown = self._looks

    def press(self, key: str) -> None:
        """Obey a key: a character, or one of a terminal's control characters."""
        if self.is_typing:
            self._type(key)
        elif key == "q":
            self.ended = True
        elif key == "s":
            self.sort = SORTS[(SORTS.index(self.sort) + 1) % len(SORTS)]
        elif key == "/":
            self.is_typing = True
        elif key == "p":
            self.is_paused = not self.is_paused
            if not self.is_paused:
                self._shown = self._looks
        elif key == _ESCAPE:
            self.filter = ""

    @property
    def status(self) -> Status | None:
        """The status that is shown, None before the first."""
        newest = self._shown[1]
        return None if newest is None else newest.status

    @property
    def failure(self) -> str:
        """The words for a bridge that does not answer now; "" if it does."""
        if not self._failure:
            return ""
        since = spell_span(time.monotonic() - self._failed_at)
        return f"no answer for {since}, the numbers are old: {plain(self._failure)}"

    @property
    def note(self) -> str:
        """The words on a bridge that has started anew, in which all counts begin at 0; "" if it has not."""
        if not self._began_anew or self.status is None:
            return ""
        return (
            f"the bridge has started anew {spell_span(time.time() - self.status.started_at)} ago: its counts began at 0"
        )

    def sources(self) -> list[SourceRow]:
        """Return the sources that the filter lets through, in their order."""
        status = self.status
        if status is None:
            return []
        known = self._rates().sources
        rows = [
            SourceRow(name, source, condition(status, name), known.get(name))
            for name, source in status.sources.items()
            if self._fits(name)
        ]
        return sorted(rows, key=lambda row: self._place(row.name, row.rate))

    def routes(self) -> list[RouteRow]:
        """Return the routes that the filter lets through by their own name or their source's, in their order."""
        status = self.status
        if status is None:
            return []
        known = self._rates().routes
        rows = [
            RouteRow(name, route, status.counts_of_route(name), known.get(name))
            for name, route in status.routes.items()
            if self._fits(name) or self._fits(route.source)
        ]
        return sorted(rows, key=lambda row: self._place(row.name, row.rate))

    def queues(self) -> Iterator[tuple[str, QueueState]]:
        """Yield the queues that the filter lets through."""
        status = self.status
        if status is not None:
            yield from ((name, queue) for name, queue in sorted(status.queues.items()) if self._fits(name))

    def _rates(self) -> Rates:
        before, after = self._shown
        return Rates({}, {}) if before is None or after is None else rates(before, after)

    def _fits(self, name: str) -> bool:
        return self.filter.lower() in name.lower()

    def _place(self, name: str, rate: Rate[Counts] | Rate[RouteCounts] | None) -> tuple[float, str]:
        """Return the key of a row: the greatest rate first, and by the alphabet among equals."""
        if self.sort == "name" or rate is None:
            return (0.0, name)
        return (-sorted_by(rate, self.sort), name)

    def _type(self, key: str) -> None:
        if key in _ENTER:
            self.is_typing = False
        elif key == _ESCAPE:
            self.is_typing, self.filter = False, ""
        elif key in _BACKSPACE:
            self.filter = self.filter[:-1]
        elif key.isprintable() and len(self.filter) < _MAX_FILTER:
            self.filter += key


def sorted_by(rate: Rate[Counts] | Rate[RouteCounts], sort: str) -> float:
    """Return the rate that a column of `top` shows."""
    if sort == "events":
        return rate.came
    if sort == "enqueued":
        return rate["enqueued" if isinstance(rate.after, Counts) else "matched"]
    return rate[{"filtered": "filtered", "dead": "dead_lettered"}[sort]]
