"""`test CONFIG...`: runs the tests of a configuration's routes; connects to nothing."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Sequence
from pathlib import Path

from bridge.commands.paint import Paint
from bridge.dry_run.companions import configurations
from bridge.dry_run.coverage import Coverage, spell_percent
from bridge.dry_run.junit import junit
from bridge.dry_run.suite import CaseResult, Suite
from bridge.errors import ConfigError, LocatedDiagnostic, UsageError
from bridge.observe.log_fields import escape


def main(arguments: argparse.Namespace) -> int:
    """Run the tests, and print the failures and a summary; return 0 if every test has passed, and there is one.

    Raises:
        ConfigError: a file has mistakes; the tests of the others have run.
    """
    started = time.perf_counter()
    wanted, paint = _pattern(arguments.run), Paint(arguments.color)
    results: dict[str, list[CaseResult]] = {}
    suites: dict[str, Suite] = {}
    mistakes: list[LocatedDiagnostic] = []
    for path in configurations(arguments.config):
        try:
            suite = Suite(path)
        except ConfigError as error:
            mistakes += error.diagnostics
            results[path] = [_unreadable(error.diagnostics)]
            continue
        suites[path] = suite
        results[path] = list(suite.run([n for n, name in enumerate(suite.names()) if wanted.search(name)]))
        _print_results(path, suite, results[path], paint, quiet=arguments.quiet)
    if arguments.junit:
        _write(arguments.junit, junit(results))
    missed = "write tests: in the file, or in NAME_test.yaml beside NAME.yaml"
    if tests := sum(len(suite.names()) for suite in suites.values()):
        missed = f"--run {arguments.run} fits none of {tests} names"
    if mistakes:
        raise ConfigError(mistakes)
    asked = arguments.coverage or arguments.at_least is not None
    placeholders = list(dict.fromkeys(name for suite in suites.values() for name in suite.unset))
    covered = (
        _print_coverage({path: suite.coverage for path, suite in suites.items()}, paint, arguments.at_least)
        if asked
        else True
    )
    seconds = time.perf_counter() - started
    return 0 if _summarize(results, paint, seconds, missed, placeholders) and covered else 1


def _unreadable(mistakes: Sequence[LocatedDiagnostic]) -> CaseResult:
    """Return the result of a configuration with mistakes, so that a file of JUnit is not taken for a success."""
    return CaseResult("the configuration", mistakes[0].file, mistakes[0].line, 0.0, [str(each) for each in mistakes])


def _write(path: str, body: bytes) -> None:
    try:
        Path(path).write_bytes(body)
    except OSError as error:
        raise UsageError(f"--junit: the file {path} cannot be written: {error.strerror}") from None


def _pattern(text: str | None) -> re.Pattern[str]:
    try:
        return re.compile(text or "")
    except re.error as error:
        raise UsageError(f"--run takes a regular expression: {error}") from None


def _print_results(path: str, suite: Suite, results: list[CaseResult], paint: Paint, *, quiet: bool) -> None:
    if not quiet:
        print(f"{escape(path)}: {len(results)} test{'s' * (len(results) != 1)}")
        for name in suite.unset:
            print(f"  note: ${{{name}}} has no value here; a placeholder stands for it")
        for repeated in suite.notes:
            print(f"  note: {escape(str(repeated))}")
    for result in results:
        if result.differences:
            print(f"  {paint('failed', 'red')}  {paint(escape(result.name), 'bold')}")
            print(f"    {escape(result.file)}:{result.line}")
            for line in result.differences:
                print(f"    {paint(escape(line), 'red')}")
            for line in result.context:
                print(f"    {paint(escape(line), 'dim')}")
        elif not quiet:
            note = f"  {paint(f'({escape(result.not_brought)})', 'yellow')}" if result.not_brought else ""
            print(f"  {paint('passed', 'green')}  {escape(result.name)}{note}")


def _print_coverage(coverages: dict[str, Coverage], paint: Paint, at_least: float | None) -> bool:
    """Print what no test covers; return whether enough is covered."""
    covered = total = 0
    for path, coverage in coverages.items():
        mine, of = coverage.counts
        covered, total = covered + mine, total + of
        print(
            f"{escape(path)}: coverage {mine} of {of}, {spell_percent(mine, of)}; dead letters of {coverage.failed[0]} of {coverage.failed[1]} routes"
        )
        for route, gaps in coverage.gaps.items():
            for gap in gaps:
                print(f"  {paint(route, 'yellow')}: {gap}")
    enough = at_least is None or _percent(covered, total) >= at_least
    if not enough:
        print(paint(f"coverage is {spell_percent(covered, total)}, below {at_least:g}%", "red"))
    return enough


def _percent(part: int, whole: int) -> float:
    return 100.0 * part / whole if whole else 100.0


def _summarize(
    results: dict[str, list[CaseResult]], paint: Paint, seconds: float, missed: str, placeholders: Sequence[str]
) -> bool:
    """Print how many tests have passed; return whether all have, and there is one. `missed` says why there may be none."""
    count = sum(map(len, results.values()))
    failed = sum(bool(result.differences) for each in results.values() for result in each)
    if not count:
        print(f"{paint('no test was found', 'red')}: {missed}")
        return False
    words = f"{count - failed} passed" + (f", {failed} failed" if failed else "")
    stood = f"; placeholders stood for {', '.join(f'${{{name}}}' for name in placeholders)}" if placeholders else ""
    print(paint(f"{words} in {seconds:.2f} s{stood}", "red" if failed else "green"))
    return not failed
