"""`python -m bench.against --rev REV`: is this tree slower than a git revision of it, or does it need more CPU?

Prints a table in Markdown. Exits 0 without a regression, 1 with one, 2 where a run failed or REV cannot be run.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import statistics
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from bench import usage
from bench.backlogs import BACKLOGS, Backlog
from bench.comparison import QUANTITIES, TOLERANCE, Comparison, Round, compare
from bench.contestants import PEERS, Bridge, Watched
from bench.rounds import MIN_EVENTS, LogLine
from bench.tables import table
from bench.throughput import Run, measure
from bench.trees import NoTree, Tree, this_tree, tree_of

#: Less than ten minutes for all sources on two cores.
_ROUNDS: Final = 7
#: Of a run, where it differs from the comparison with the peers: mosquitto takes 70 to 90 µs to queue an event.
_EVENTS: Final = {"mqtt": 60_000}
#: Rows that allow more than this are named in the report: a regression of 10 % could hide in them.
_MAX_ALLOWED: Final = 0.1

_HEAD: Final = [
    "source",
    "",
    "this tree: min / median / max",
    "REV: min / median / max",
    "change",
    "noise",
    "allowed",
    "",
]


@dataclass
class SourceRuns:
    """All runs of one source; `failures` are the runs that gave no figure."""

    source: str
    rounds: list[Round] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def main() -> int:
    """Measure, print the report, return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.against", description=__doc__)
    parser.add_argument("--rev", default="HEAD~1", help="the git revision to compare with; default: HEAD~1")
    parser.add_argument("--sources", nargs="+", choices=tuple(BACKLOGS), default=tuple(BACKLOGS), metavar="SOURCE")
    parser.add_argument("--rounds", type=int, default=_ROUNDS, help=f"of four runs each; default: {_ROUNDS}")
    parser.add_argument("--scale", type=float, default=1.0, help="of the events of each run; 0.1 for a quick look")
    parser.add_argument(
        "--scraped",
        action="store_const",
        dest="watched",
        const="scraped",
        default="",
        help="this tree's bridge has an admin server, which is scraped each second",
    )
    parser.add_argument(
        "--tapped",
        action="store_const",
        dest="watched",
        const="tapped",
        help="this tree's bridge has an admin server, and one tap reads all that it gets",
    )
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error("--rounds: at least 1")
    log_line = partial(print, file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="bench-against-") as directory:
        try:
            rev = tree_of(arguments.rev, Path(directory) / "rev")
            this = this_tree(Path(directory) / "this")
        except NoTree as error:
            print(f"bench-against: {error}", file=sys.stderr)
            return 2
        all_runs = []
        for kind in arguments.sources:
            with BACKLOGS[kind]() as backlog:
                moved = play(
                    backlog, (this, rev), arguments.rounds, arguments.scale, log_line, watched=arguments.watched
                )
                all_runs.append(moved)
        comparisons = [
            comparison
            for runs in all_runs
            for quantity in QUANTITIES
            if (comparison := compare(runs.source, quantity, runs.rounds))
        ]
        failures = [failure for runs in all_runs for failure in runs.failures]
        print(report(this, rev, arguments.rounds, comparisons, failures))
    return verdict(comparisons, failures)[0]


def play(
    backlog: Backlog,
    trees: tuple[Tree, Tree],
    rounds: int,
    scale: float,
    log_line: LogLine,
    *,
    watched: Watched = "",
) -> SourceRuns:
    """Run each tree once to warm up, then the rounds; a source on which a tree fails at once is given up."""
    runs = SourceRuns(backlog.kind)
    events = max(MIN_EVENTS, int(_EVENTS.get(backlog.kind, PEERS[backlog.kind][0].events) * scale))
    a, b = Bridge("this tree", events, tree=trees[0], watched=watched), Bridge("REV", events, tree=trees[1])

    def run(contestant: Bridge, moment: str) -> Run | None:
        result: Run | None = None
        try:
            result = measure(backlog, contestant)
            shown = f"{result.events_per_s:>9,.0f} events/s  {result.cpu:7.3f} s CPU per 100k"
        except AssertionError as error:
            shown = f"FAILED: {error}"
            runs.failures.append(f"{backlog.kind}, {moment}, {contestant.name}: {str(error).splitlines()[0]}")
        log_line(f"{moment:8}  {backlog.kind:12}  {contestant.name:9} {shown}")
        return result

    # Compiles the tree's modules, and lets the broker take the memory that it keeps.
    if run(b, "warm-up") and run(a, "warm-up"):
        for number in range(1, rounds + 1):
            moment = f"round {number}"
            runs.rounds.append((run(a, moment), run(b, moment), run(b, moment), run(a, moment)))
    return runs


def verdict(comparisons: Sequence[Comparison], failures: Sequence[str]) -> tuple[int, str]:
    """Return the exit code and the result in words."""
    worse = [each for each in comparisons if each.judgement == "REGRESSION"]
    if worse:
        rows = (f"{each.source} {each.quantity.name} {_percent(each.change)}" for each in worse)
        return 1, f"REGRESSION: {', '.join(rows)}"
    if failures:
        return 2, f"INCOMPLETE: {len(failures)} failed; no regression in the other runs"
    return 0, "No regression"


def report(this: Tree, rev: Tree, rounds: int, comparisons: Sequence[Comparison], failures: Sequence[str]) -> str:
    """Return everything in Markdown."""
    libraries = (
        "the same in both" if this.requirements == rev.requirements else "NOT the same; both ran with this tree's"
    )
    method = (
        f"{rounds} rounds: this tree, REV, REV, this tree. Change: median of the ratios this tree / REV. Noise: median "
        f"distance of the ratios REV / REV from 1. Allowed: {TOLERANCE:.0%} and the noise. CPU: of the bridge's process."
    )
    noisy = [f"{each.source} {each.quantity.name}" for each in comparisons if each.allowed > _MAX_ALLOWED]
    facts = [
        *(f"FAILED: {failure}" for failure in failures),
        *([f"too noisy to find {_MAX_ALLOWED:.0%}: {', '.join(noisy)}"] if noisy else []),
        f"this tree: {this.title}",
        f"REV: {rev.title}",
        f"libraries (requirements/run.txt): {libraries}",
        interpreter(sysconfig.get_config_var("CONFIG_ARGS") or ""),
        f"{os.cpu_count()} cores, {usage.cpu_model()}, {platform.platform()}; load at the end {os.getloadavg()[0]:.1f}",
    ]
    parts = [
        f"# This tree against {rev.title}",
        f"**{verdict(comparisons, failures)[1]}**",
        method,
        table(_HEAD, [_row(comparison) for comparison in comparisons]),
        "\n".join(f"- {fact}" for fact in facts),
    ]
    return "\n\n".join(parts)


def interpreter(configured: str) -> str:
    """Return the interpreter's version and build; `configured` are the arguments of its `configure`, quoted for a shell."""
    given = [argument for argument in shlex.split(configured) if not argument.endswith("=no")]
    # An option that is missing proves nothing: Debian's 3.11.2 names neither, wherever one looks in sysconfig (observed).
    pgo = "PGO" if "--enable-optimizations" in given else "no PGO in CONFIG_ARGS"
    lto = "LTO" if any(argument.partition("=")[0] == "--with-lto" for argument in given) else "no LTO in CONFIG_ARGS"
    try:
        loop = f"uvloop {version('uvloop')}"
    except PackageNotFoundError:
        loop = "without uvloop"
    name = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{name} ({Path(sys.executable).resolve()}), {platform.python_compiler()}, {pgo}, {lto}; {loop}"


def _row(comparison: Comparison) -> list[str]:
    return [
        comparison.source,
        comparison.quantity.name,
        _spread(comparison.this_values, comparison.quantity.digits),
        _spread(comparison.rev_values, comparison.quantity.digits),
        _percent(comparison.change),
        f"{comparison.noise:.1%}",
        f"{comparison.allowed:.1%}",
        comparison.judgement,
    ]


def _spread(values: Sequence[float], digits: int) -> str:
    return " / ".join(f"{value:,.{digits}f}" for value in (min(values), statistics.median(values), max(values)))


def _percent(change: float) -> str:
    return f"{change:+.1%}"


if __name__ == "__main__":
    sys.exit(main())
