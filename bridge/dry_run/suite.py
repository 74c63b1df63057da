"""The tests of one configuration: those in the file, and those of NAME_test.yaml beside NAME.yaml."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from bridge.config.cases import Case, ExpectedDeadLetter
from bridge.config.document import Document
from bridge.config.files import base_directory
from bridge.config.loading import load_with_places
from bridge.config.substitution import Substitution
from bridge.dry_run.case_checks import DEFAULT_NOW_MS, check_cases, load_companions, placed_cases, repeated_names
from bridge.dry_run.comparison import compare, message_fields
from bridge.dry_run.coverage import Coverage
from bridge.dry_run.events import described_event
from bridge.dry_run.masking import Masking
from bridge.dry_run.matching import matching
from bridge.dry_run.results import Result, RouteResult
from bridge.dry_run.runs import DryRun
from bridge.dry_run.wording import cut, shown
from bridge.model.event import Event
from bridge.routing.compiler import check_routes

#: So many routes are explained of those that do not fit, and that no expectation names.
_MAX_OTHERS: Final = 10
#: Of a route that makes several messages, so many are shown.
_MAX_MESSAGES: Final = 20


@dataclass(frozen=True, slots=True)
class CaseResult:
    """The result of one test, which has passed if there are no `differences`."""

    name: str
    file: str
    line: int
    seconds: float
    #: One line for each difference.
    differences: list[str] = field(default_factory=list)
    #: The event, then one line for each route.
    context: list[str] = field(default_factory=list)
    #: Why the event reaches no route: the source does not bring it, or no topic fits.
    not_brought: str = ""


class Suite:
    """Loads the tests of the configuration at `path`, and runs them.

    Raises:
        ConfigError: either file has mistakes.
    """

    def __init__(self, path: str) -> None:
        substitution = Substitution(os.environ, allow_unset=True)
        loaded = load_with_places(path, substitution, check_routes)
        check_cases(loaded)
        self.config = loaded.model
        self.coverage = Coverage.of(self.config)
        self._places = {
            str(route.name): loaded.document.position(("routes", index))
            for index, route in enumerate(self.config.routes)
        }
        self._dry_run = DryRun(self.config)
        companions = load_companions(loaded.document, self.config, substitution)
        self._cases = placed_cases(loaded, companions)
        self._masking = Masking([loaded.document, *(own.document for own in companions)])
        #: On tests of one name.
        self.notes = [replace(note, message=self._masking.text(note.message)) for note in repeated_names(self._cases)]
        self.unset: Sequence[str] = list(dict.fromkeys(substitution.unset))

    def names(self) -> list[str]:
        """Return the tests' names."""
        return [case.name for case, _, _ in self._cases]

    def run(self, selected: Sequence[int]) -> Iterator[CaseResult]:
        """Run the tests with these numbers."""
        for number in selected:
            case, document, index = self._cases[number]
            yield self._run(case, document, index)

    def _run(self, case: Case, document: Document, index: int) -> CaseResult:
        started = time.perf_counter()
        place = document.position(("tests", index))
        differences, context, not_brought = self._judged(case, base_directory(place.file))
        seconds = time.perf_counter() - started
        differences, context = ([self._masking.text(each) for each in lines] for lines in (differences, context))
        return CaseResult(
            self._masking.text(case.name), place.file, place.line, seconds, differences, context, not_brought
        )

    def _judged(self, case: Case, directory: Path) -> tuple[list[str], list[str], str]:
        now_ms = DEFAULT_NOW_MS if case.now is None else case.now
        event = described_event(case.event, self.config.sources[case.event.source], directory, now_ms)
        result = self._dry_run.run(event, now_ms)
        self.coverage.add(result)
        differences = [*self._differences(case, result, now_ms)]
        why_not = result.not_brought or ("no route's topic fits" if result.unmatched else "")
        return differences, [*self._context(case, event, result)] if differences else [], why_not

    def _differences(self, case: Case, result: Result, now_ms: int) -> Iterator[str]:
        made = [message_fields(one, now_ms) for one in result.messages]
        yield from compare(case.expect or [], made, self.config.actor_queues, self._masking.text)
        yield from _count_differences(case, result)
        letters = result.dead_letters
        met = matching(
            case.dead_letters, letters, lambda expected, letter: _meets(expected, letter[0].reason, letter[1])
        )
        for number, expected in enumerate(case.dead_letters):
            if number not in met:
                of = f" of the route {expected.route}" if expected.route else ""
                yield f"missing: a dead letter{of} with the reason {expected.reason}"
        for number, (letter, route) in enumerate(letters):
            if number not in met.values():
                yield f"not expected: a dead letter{f' of the route {route}' if route else ''}: {letter}"

    def _context(self, case: Case, event: Event, result: Result) -> Iterator[str]:
        topic = f" {event.topic}" if event.topic else ""
        yield f"event: from {event.source}{topic}: {cut(event.body.decode(errors='replace'))}"
        given: dict[str, object] = {"headers": case.event.headers, "meta": case.event.meta}
        given |= {"received_at": case.event.received_at, "now": case.now}
        yield from (f"{name}: {shown(value)}" for name, value in given.items() if value not in (None, {}))
        if result.not_brought:
            yield result.not_brought
        if result.dead_letter is not None:
            yield f"dead letter: {result.dead_letter}"
        expected = {one.route for one in case.expect or []} | {one.route for one in case.dead_letters}
        others = 0
        for one in result.explained():
            if not one.messages and one.dead_letter is None and one.route not in expected:
                others += 1
                if others > _MAX_OTHERS:
                    continue
            place = self._places[one.route]
            yield from (f"{place.file}:{place.line}: route {one.route}{outcome}" for outcome in _outcomes(one))
        if others > _MAX_OTHERS:
            yield f"{others - _MAX_OTHERS} more routes do not fit; `dramatiq-bridge route` explains each"


def _count_differences(case: Case, result: Result) -> Iterator[str]:
    for name, expected in case.expect_counts.items():
        if result.counts[name] != expected:
            yield f"expect_counts: expected {expected} {name}, there are {result.counts[name]}"


def _outcomes(one: RouteResult) -> Iterator[str]:
    for message in one.messages[:_MAX_MESSAGES]:
        call = f"args {shown(message['args'])}, kwargs {shown(message['kwargs'])}"
        yield f": makes {message['actor_name']}, {call}"
    if len(one.messages) > _MAX_MESSAGES:
        yield f": makes {len(one.messages) - _MAX_MESSAGES} more messages"
    if one.messages and one.deduplicated:
        yield f": {one.deduplicated} more are not written, since messages with their keys were written before"
    if not one.messages:
        yield f": dead letter: {one.dead_letter}" if one.dead_letter is not None else f": {one.why}"


def _meets(expected: ExpectedDeadLetter, reason: str, route: str | None) -> bool:
    return expected.reason == reason and expected.route in (None, route)
