"""The mistakes in tests that their models can't find: those need the configuration, or a file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Final

from bridge.config import Config
from bridge.config.cases import Case, CaseFile
from bridge.config.document import Document, Position
from bridge.config.files import base_directory
from bridge.config.loading import Loaded, load_cases
from bridge.config.substitution import Substitution
from bridge.config.wording import near_miss, quoted
from bridge.dry_run.companions import companion
from bridge.dry_run.events import described_event
from bridge.errors import ConfigError, Diagnostic, InvalidValue, KeyPath, LocatedDiagnostic

#: The time of a test that sets none: 2026-01-01T00:00:00Z.
DEFAULT_NOW_MS: Final = 1_767_225_600_000
#: A test, the document that it stands in, and its number there.
PlacedCase = tuple[Case, Document, int]


def check_cases(loaded: Loaded[Config]) -> None:
    """Check the tests in a configuration.

    Raises:
        ConfigError: they have mistakes.
    """
    document = loaded.document

    def folder(index: int) -> Path:
        return base_directory(document.position(("tests", index)).file)

    for mistake in _mistakes(loaded.model.tests, loaded.model, folder):
        document.add(mistake)
    if not document.flawless:
        raise ConfigError(document.diagnostics())


def load_companions(document: Document, config: Config, substitution: Substitution) -> list[Loaded[CaseFile]]:
    """Return the tests beside the files of a configuration.

    Raises:
        ConfigError: some have mistakes.
    """
    companions = []
    mistakes: list[LocatedDiagnostic] = []
    for part in document.parts:
        beside = companion(part.file)
        if beside is None:
            continue
        folder = base_directory(part.file)
        try:
            companions.append(
                load_cases(beside, substitution, lambda cases: [*_mistakes(cases, config, lambda _: folder)])  # noqa: B023
            )
        except ConfigError as error:
            mistakes += error.diagnostics
    if mistakes:
        raise ConfigError(mistakes)
    return companions


def placed_cases(loaded: Loaded[Config], companions: Sequence[Loaded[CaseFile]]) -> list[PlacedCase]:
    """Return all tests of a configuration, those beside its files too."""
    found = [(case, loaded.document, index) for index, case in enumerate(loaded.model.tests)]
    for own in companions:
        found += [(case, own.document, index) for index, case in enumerate(own.model.tests)]
    return found


def repeated_names(cases: Sequence[PlacedCase]) -> Iterator[LocatedDiagnostic]:
    """Yield a note on each test with the name of an earlier one: nobody can tell them apart in the output."""
    seen: dict[str, Position] = {}
    for case, document, index in cases:
        place = document.place(Diagnostic(("tests", index, "name"), ""))
        if (first := seen.get(case.name)) is None:
            seen[case.name] = place
        else:
            there = f"{first.file}:{first.line}:{first.column}"
            yield LocatedDiagnostic(*place, "", f"the test at {there} has the name {quoted(case.name)} too")


def _mistakes(cases: Sequence[Case], config: Config, folder: Callable[[int], Path]) -> Iterator[Diagnostic]:
    """Yield the mistakes in tests that need the configuration, or a file in the folder of a test."""
    routes = {str(route.name): route.source for route in config.routes}
    for index, case in enumerate(cases):
        path: KeyPath = ("tests", index)
        source = config.sources.get(case.event.source)
        if source is None:
            yield _unknown((*path, "event", "from"), "source", case.event.source, config.sources)
            continue
        try:
            described_event(case.event, source, folder(index), DEFAULT_NOW_MS)
        except InvalidValue as error:
            yield from (diagnostic.below((*path, "event")) for diagnostic in error.diagnostics)
        expected: list[tuple[KeyPath, str | None]] = [
            (("expect", number), one.route) for number, one in enumerate(case.expect or [])
        ]
        letters = case.expect_dead_letter
        if isinstance(letters, list):
            expected += [(("expect_dead_letter", number), one.route) for number, one in enumerate(letters)]
        else:
            expected.append((("expect_dead_letter",), letters.route))
        for place, route in expected:
            if route is not None and route not in routes:
                yield _unknown((*path, *place, "route"), "route", route, routes)


def _unknown(path: KeyPath, kind: str, name: str, known: Collection[str]) -> Diagnostic:
    hint = near_miss(name, known) or f"{kind}s: {', '.join(list(known)[:20])}"
    return Diagnostic(path, f"no {kind} is named {quoted(name)}", hint)
