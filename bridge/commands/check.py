"""`check CONFIG...`: prints every mistake of each file, or a summary of it; connects to nothing but with `--connect`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from bridge.commands.looks import SINK, Looks, look
from bridge.commands.manifests import given_manifest
from bridge.commands.notes import notes, routes_by_source
from bridge.commands.paint import Paint
from bridge.commands.path_notes import path_notes
from bridge.commands.targets import spell_targets
from bridge.config import Config, tls
from bridge.config.defaults import unused
from bridge.config.files import STANDARD_INPUT
from bridge.config.loading import load_with_places
from bridge.config.manifest import Manifest
from bridge.config.substitution import Substitution
from bridge.config.units import spell_size
from bridge.dry_run.case_checks import check_cases, load_companions, placed_cases, repeated_names
from bridge.dry_run.companions import configurations
from bridge.dry_run.masking import Masking
from bridge.errors import ConfigError, Diagnostic, LocatedDiagnostic
from bridge.manifest.application import import_application
from bridge.model.findings import counted
from bridge.observe.log_fields import escape
from bridge.routing.compiler import check_routes
from bridge.sources.promise import promise


@dataclass(slots=True)
class _Report:
    """What `check` has found in one file."""

    file: str
    mistakes: list[LocatedDiagnostic] = field(default_factory=list)
    notes: list[LocatedDiagnostic] = field(default_factory=list)
    unset: list[str] = field(default_factory=list)
    config: Config | None = None
    looks: Looks | None = None

    @property
    def problems(self) -> int:
        """How many problems the looks have found."""
        return 0 if self.looks is None else self.looks.problems


def main(arguments: argparse.Namespace) -> int:
    """Print, of each file, the sources with their routes, the guarantees and the notes.

    Raises:
        ConfigError: a file has mistakes; it holds all of them.
        UsageError: the manifest can't be read.
    """
    manifest = import_application(arguments.actors) if arguments.actors else given_manifest(arguments.manifest)
    files = configurations([STANDARD_INPUT if path == "-" else path for path in arguments.config])
    reports = [_check(file, manifest, allow_unset=arguments.allow_unset, connect=arguments.connect) for file in files]
    mistakes = [mistake for report in reports for mistake in report.mistakes]
    if arguments.json:
        print(json.dumps([_json(report) for report in reports], indent=2))
        return 78 if mistakes else int(any(report.problems for report in reports))
    for report in reports:
        if report.config is not None:
            _print(report, report.config, Paint(arguments.color))
    problems = sum(report.problems for report in reports)
    if problems:
        sys.stdout.flush()  # the count comes last
        print(f"dramatiq-bridge: {counted(problems, 'problem')} at Redis and the brokers", file=sys.stderr)
    if mistakes:
        raise ConfigError(mistakes)
    return int(problems > 0)


def _check(file: str, manifest: Manifest | None, *, allow_unset: bool, connect: bool) -> _Report:
    report = _Report(file)
    substitution = Substitution(os.environ, allow_unset=allow_unset)

    def check(loaded: Config) -> list[Diagnostic]:
        found = check_routes(loaded, None if manifest is None else manifest.actors)
        if not allow_unset:
            found += tls.mistakes(loaded)
        return found

    try:
        loaded = load_with_places(file, substitution, check)
        check_cases(loaded)
        companions = load_companions(loaded.document, loaded.model, substitution)
    except ConfigError as error:
        report.mistakes += error.diagnostics
        return report
    report.unset += dict.fromkeys(substitution.unset)
    report.config = loaded.model
    masking = Masking([loaded.document, *(own.document for own in companions)])
    unused_settings = unused(loaded.document, {source.type for source in loaded.model.sources.values()})
    found = (*unused_settings, *path_notes(report.config, loaded.document))
    for note in (*found, *notes(report.config, manifest, loaded.document.path_in_file)):
        report.notes.append(LocatedDiagnostic(*loaded.document.place(note), "", masking.text(note.message)))
    for repeated in repeated_names(placed_cases(loaded, companions)):
        report.notes.append(replace(repeated, message=masking.text(repeated.message)))
    if connect:
        report.looks = look(loaded.document, loaded.model)
    return report


def _json(report: _Report) -> dict[str, Any]:
    return {
        "file": report.file,
        "ok": not report.mistakes and not report.problems,
        "mistakes": [asdict(mistake) for mistake in report.mistakes],
        "notes": [asdict(note) for note in report.notes],
        "unset": report.unset,
        **({} if report.looks is None else {"connect": report.looks.as_json()}),
    }


def _print(report: _Report, loaded: Config, paint: Paint) -> None:
    routes = routes_by_source(loaded)
    state = (
        f"no mistake, {paint(counted(report.problems, 'problem'), 'red')}" if report.problems else paint("ok", "green")
    )
    print(f"{escape(report.file)}: {state}")
    print(f"  dramatiq  {loaded.dramatiq.redacted_url}, namespace {loaded.dramatiq.namespace}")
    _print_looks(report.looks, SINK, paint)
    for name, source in loaded.sources.items():
        print(f"  {paint(name, 'bold')}  {source.type} {source.redacted_url}")
        for route in routes.get(name, ()):
            topic = f"{route.topic} " if route.topic else ""
            rest = "otherwise " if route.otherwise else ""
            target = spell_targets(route.targets, [(step.queue, step.actor) for step in route.then])
            print(escape(f"    {route.name}: {topic}{rest}-> {target}"))
        promised = promise(loaded, source)
        print(f"    guarantee: {_plain(promised.guarantee)}")
        print(f"      duplicates: {_plain(promised.duplicates)}")
        print(f"      if: {_plain(promised.condition)}")
        print(f"      order: {_plain(promised.order)}")
        _print_looks(report.looks, name, paint)
    if loaded.spool is not None:
        print(escape(f"  spool  {loaded.spool.directory}, at most {spell_size(loaded.spool.max_size)}"))
    for name in report.unset:
        print(f"  {paint('note', 'yellow')}: ${{{name}}} has no value here; a placeholder stands for it")
    for note in report.notes:
        place = escape(f"{note.file}:{note.line}:{note.column}")
        print(f"  {place}: {paint('note', 'yellow')}: {escape(note.message)}")


def _print_looks(looks: Looks | None, name: str, paint: Paint) -> None:
    for line in looks.lines(name, paint) if looks is not None else ():
        print(f"    {line}")


def _plain(markdown: str) -> str:
    return markdown.replace("`", "")
