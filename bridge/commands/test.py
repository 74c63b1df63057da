"""`test CONFIG...`: runs the tests of a configuration's routes; connects to nothing."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Sequence
from pathlib import Path

from bridge.commands.paint import Paint
from bridge.dry_run.coverage import Coverage
from bridge.dry_run.junit import junit
from bridge.dry_run.suite import CaseResult, Suite, companion
from bridge.errors import ConfigError, LocatedDiagnostic, UsageError


def main(arguments: argparse.Namespace) -> int:
    """Run the tests, and print the failures and a summary; return 0 if every test has passed, and there is one.

    Raises:
        ConfigError: a file has mistakes; the tests of the others have run.
    """
    started = time.perf_counter()
    wanted, paint = _pattern(arguments.run), Paint(arguments.color)
    results: dict[str, list[CaseResult]] = {}
    coverages: dict[str, Coverage] = {}
    mistakes: list[LocatedDiagnostic] = []
    for path in _paths(arguments.config):
        try:
            suite = Suite(path)
        except ConfigError as error:
            mistakes += error.diagnostics
            continue
        coverages[path] = suite.coverage
        results[path] = list(suite.run([n for n, name in enumerate(suite.names()) if wanted.search(name)]))
        _print_results(path, suite, results[path], paint, quiet=arguments.quiet)
    if arguments.junit:
        Path(arguments.junit).write_bytes(junit(results))
    if mistakes:
        raise ConfigError(mistakes)
    covered = _print_coverage(coverages, paint, arguments.at_least) if arguments.coverage else True
    return 0 if _summarize(results, paint, time.perf_counter() - started) and covered else 1


def _pattern(text: str | None) -> re.Pattern[str]:
    try:
        return re.compile(text or "")
    except re.error as error:
        raise UsageError(f"--run takes a regular expression: {error}") from None


def _paths(paths: Sequence[str]) -> list[str]:
    """Return the configurations, each once: a file of tests, which `*.yaml` names too, runs with its configuration."""
    beside = {companion(path) for path in paths}
    return [path for path in dict.fromkeys(paths) if Path(path) not in beside]


def _print_results(path: str, suite: Suite, results: list[CaseResult], paint: Paint, *, quiet: bool) -> None:
    if not quiet:
        print(f"{path}: {len(results)} test{'s' * (len(results) != 1)}")
        for name in suite.unset:
            print(f"  note: ${{{name}}} has no value here; a placeholder stands for it")
    for result in results:
        if result.differences:
            print(f"  {paint('failed', 'red')}  {paint(result.name, 'bold')}")
            print(f"    {result.file}:{result.line}")
            for line in result.differences:
                print(f"    {paint(line, 'red')}")
            for line in result.context:
                print(f"    {paint(line, 'dim')}")
        elif not quiet:
            print(f"  {paint('passed', 'green')}  {result.name}")


def _print_coverage(coverages: dict[str, Coverage], paint: Paint, at_least: float | None) -> bool:
    """Print what no test covers; return whether enough is covered."""
    covered = total = 0
    for path, coverage in coverages.items():
        mine, of = coverage.counts
        covered, total = covered + mine, total + of
        print(
            f"{path}: coverage {mine} of {of}, {_percent(mine, of):.0f}%; dead letters of {coverage.failed[0]} of {coverage.failed[1]} routes"
        )
        for route, gaps in coverage.gaps.items():
            for gap in gaps:
                print(f"  {paint(route, 'yellow')}: {gap}")
    enough = at_least is None or _percent(covered, total) >= at_least
    if not enough:
        print(paint(f"coverage is {_percent(covered, total):.1f}%, below {at_least:g}%", "red"))
    return enough


def _percent(part: int, whole: int) -> float:
    return 100.0 * part / whole if whole else 100.0


def _summarize(results: dict[str, list[CaseResult]], paint: Paint, seconds: float) -> bool:
    count = sum(map(len, results.values()))
    failed = sum(bool(result.differences) for each in results.values() for result in each)
    if not count:
        print(paint("no test was found", "red") + ": write tests: in the file, or in NAME_test.yaml beside NAME.yaml")
        return False
    words = f"{count - failed} passed" + (f", {failed} failed" if failed else "")
    print(paint(f"{words} in {seconds:.2f} s", "red" if failed else "green"))
    return not failed
