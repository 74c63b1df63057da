"""`check CONFIG...`: prints every mistake of each file, or a summary of it; connects to nothing."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from bridge.commands.manifests import manifest_actors
from bridge.commands.notes import Note, notes, routes_by_source
from bridge.commands.paint import Paint
from bridge.config import Config, tls
from bridge.config.document import Document
from bridge.config.loading import load_with_places
from bridge.config.manifest import Actor
from bridge.config.substitution import Substitution
from bridge.config.units import spell_size
from bridge.dry_run.suite import case_mistakes
from bridge.errors import ConfigError, Diagnostic, LocatedDiagnostic
from bridge.manifest.application import import_application
from bridge.routing.compiler import check_routes
from bridge.sources.promise import promise

_STANDARD_INPUT: Final = "/dev/stdin"


@dataclass(slots=True)
class _Report:
    """What `check` has found in one file."""

    file: str
    mistakes: list[LocatedDiagnostic] = field(default_factory=list)
    notes: list[LocatedDiagnostic] = field(default_factory=list)
    unset: list[str] = field(default_factory=list)
    config: Config | None = None


def main(arguments: argparse.Namespace) -> int:
    """Print, of each file, the sources with their routes, the guarantees and the notes.

    Raises:
        ConfigError: a file has mistakes; it holds all of them.
        UsageError: the manifest can't be read.
    """
    actors = _actors(arguments)
    reports = [_check(path, actors, allow_unset=arguments.allow_unset) for path in arguments.config]
    mistakes = [mistake for report in reports for mistake in report.mistakes]
    if arguments.json:
        print(json.dumps([_json(report) for report in reports], indent=2))
        return 78 if mistakes else 0
    for report in reports:
        if report.config is not None:
            _print(report, report.config, Paint(arguments.color))
    if mistakes:
        raise ConfigError(mistakes)
    return 0


def _actors(arguments: argparse.Namespace) -> Mapping[str, Actor] | None:
    if arguments.actors:
        return import_application(arguments.actors).actors
    return manifest_actors(arguments.manifest)


def _check(path: str, actors: Mapping[str, Actor] | None, *, allow_unset: bool) -> _Report:
    file = _STANDARD_INPUT if path == "-" else path
    report = _Report(path)

    def check(loaded: Config) -> list[Diagnostic]:
        found = check_routes(loaded if actors is None else loaded.with_actors(actors))
        if not allow_unset:
            found += tls.mistakes(loaded)
        return found or list(case_mistakes(loaded.tests, loaded, Path(file).parent))

    try:
        loaded = load_with_places(file, Substitution(os.environ, allow_unset=allow_unset), check)
    except ConfigError as error:
        report.mistakes += error.diagnostics
        return report
    report.unset += dict.fromkeys(loaded.unset)
    report.config = loaded.model if actors is None else loaded.model.with_actors(actors)
    report.notes += [_located(loaded.document, note) for note in notes(report.config)]
    return report


def _located(document: Document, note: Note) -> LocatedDiagnostic:
    path = note.path
    while path and path not in document.values:
        path = path[:-1]
    line, column = document.position(path, at_key=note.at_key)
    return LocatedDiagnostic(document.file, line, column, "", note.text)


def _json(report: _Report) -> dict[str, Any]:
    return {
        "file": report.file,
        "ok": not report.mistakes,
        "mistakes": [asdict(mistake) for mistake in report.mistakes],
        "notes": [asdict(note) for note in report.notes],
        "unset": report.unset,
    }


def _print(report: _Report, loaded: Config, paint: Paint) -> None:
    routes = routes_by_source(loaded)
    print(f"{report.file}: {paint('ok', 'green')}")
    print(f"  dramatiq  {loaded.dramatiq.redacted_url}, namespace {loaded.dramatiq.namespace}")
    for name, source in loaded.sources.items():
        print(f"  {paint(name, 'bold')}  {source.type} {source.redacted_url}")
        for route in routes.get(name, ()):
            topic = f"{route.topic} " if route.topic else ""
            print(f"    {route.name}: {topic}-> {route.actor} (queue {route.queue})")
        promised = promise(loaded, source)
        print(f"    guarantee: {_plain(promised.guarantee)}")
        print(f"      duplicates: {_plain(promised.duplicates)}")
        print(f"      if: {_plain(promised.condition)}")
        print(f"      order: {_plain(promised.order)}")
    if loaded.spool is not None:
        print(f"  spool  {loaded.spool.directory}, at most {spell_size(loaded.spool.max_size)}")
    for name in report.unset:
        print(f"  {paint('note', 'yellow')}: ${{{name}}} has no value here; a placeholder stands for it")
    for note in report.notes:
        print(f"  {note.file}:{note.line}:{note.column}: {paint('note', 'yellow')}: {note.message}")


def _plain(markdown: str) -> str:
    return markdown.replace("`", "")
