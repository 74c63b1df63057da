"""`make bench-against`: the verdict on given figures, the trees that it compares, and the clock that it reads.

No test measures: figures of a machine that runs a test suite say nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bench.against import interpreter, play, report, verdict
from bench.backlogs import StreamBacklog
from bench.comparison import QUANTITIES, Comparison, Quantity, Round, compare
from bench.throughput import Run
from bench.trees import NoTree, Tree, this_tree, tree_of
from tests.support.children import REPOSITORY

SPEED, CPU = QUANTITIES

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def _run(value: float | None) -> Run | None:
    """Return a run with this speed and this CPU time; None for None."""
    return None if value is None else Run(events_per_s=value, cpu=value, brokers={}, peak_rss_bytes=0)


def _round(*values: float | None) -> Round:
    a, b, b_again, a_again = map(_run, values)
    return (a, b, b_again, a_again)


def _compared(*rounds: Sequence[float | None], quantity: Quantity = CPU) -> Comparison:
    comparison = compare("amqp", quantity, [_round(*values) for values in rounds])
    assert comparison
    return comparison


def test_the_change_is_the_median_of_the_ratios_of_both_orders() -> None:
    """Of A B B A the first pair and the last, over all rounds; one wild round moves nothing."""
    comparison = _compared((1.1, 1.0, 1.0, 1.2), (1.1, 1.0, 1.0, 1.2), (9.0, 1.0, 1.0, 0.1))
    assert comparison.change == pytest.approx(0.15)


def test_a_machine_that_slows_down_steadily_favours_neither_tree() -> None:
    """Every run takes 10 % more than the one before it; the ratios of the two orders cancel."""
    comparison = _compared(*[tuple(1.1 ** (4 * number + run) for run in range(4)) for number in range(3)])
    assert comparison.change == pytest.approx(0, abs=0.01)
    assert comparison.noise == pytest.approx(0.1)


def test_the_noise_is_the_median_distance_of_the_revision_from_itself() -> None:
    """Ratios of 0.9, 1 and 1.2 have the median 1, and are 10 % of noise all the same."""
    comparison = _compared((1, 1.0, 0.9, 1), (1, 1.0, 1.0, 1), (1, 1.0, 1.2, 1))
    assert comparison.noise == pytest.approx(0.1)
    assert comparison.allowed == pytest.approx(0.13)


def test_this_trees_own_noise_is_not_the_noise() -> None:
    """Otherwise a change that makes the bridge unsteady would excuse itself."""
    assert _compared((1.5, 1.0, 1.0, 0.5), (1.5, 1.0, 1.0, 0.5)).noise == 0


@pytest.mark.parametrize(
    ("this", "rev_again", "quantity", "judgement"),
    [
        (1.029, 1.00, CPU, "same"),
        (1.031, 1.00, CPU, "REGRESSION"),
        (1.049, 1.02, CPU, "same"),
        (1.051, 1.02, CPU, "REGRESSION"),
        (0.971, 1.00, CPU, "same"),
        (0.969, 1.00, CPU, "better"),
        (0.971, 1.00, SPEED, "same"),
        (0.969, 1.00, SPEED, "REGRESSION"),
        (0.951, 0.98, SPEED, "same"),
        (0.949, 0.98, SPEED, "REGRESSION"),
        (1.031, 1.00, SPEED, "better"),
    ],
)
def test_beyond_3_percent_and_the_noise_is_a_regression(
    this: float, rev_again: float, quantity: Quantity, judgement: str
) -> None:
    """More CPU is worse, fewer events per second are worse; the other direction is an improvement."""
    rounds = [(this, 1.0, rev_again, this * rev_again)] * 3
    assert _compared(*rounds, quantity=quantity).judgement == judgement


def test_runs_that_failed_count_for_nothing() -> None:
    """A pair needs both of its runs."""
    comparison = _compared((None, 1.0, 1.02, 1.02), (2.0, None, 1.0, None), (1.0, 1.0, None, 5.0))
    assert comparison.change == pytest.approx(0)
    assert comparison.noise == pytest.approx(0.02)
    assert sorted(comparison.this_values) == [1.0, 1.02, 2.0, 5.0]
    assert sorted(comparison.rev_values) == [1.0, 1.0, 1.0, 1.02]


@pytest.mark.parametrize("values", [(1.0, None, 1.0, None), (None, 1.0, 1.0, None)])
def test_without_a_ratio_there_is_no_comparison(values: tuple[float | None, ...]) -> None:
    """Neither where REV has nothing to be compared with, nor where this tree has not."""
    assert compare("amqp", CPU, [_round(*values)]) is None
    assert compare("amqp", CPU, []) is None


SAME = _compared((1.0, 1.0, 1.0, 1.0))
WORSE = _compared((1.5, 1.0, 1.0, 1.5))


@pytest.mark.parametrize(
    ("comparisons", "failures", "expected"),
    [
        ([SAME], [], (0, "No regression")),
        ([SAME, WORSE], [], (1, "REGRESSION: amqp CPU s/100k +50.0%")),
        ([SAME, WORSE], ["mqtt"], (1, "REGRESSION: amqp CPU s/100k +50.0%")),
        ([SAME], ["mqtt"], (2, "INCOMPLETE: 1 failed; no regression in the other runs")),
        ([], ["mqtt"], (2, "INCOMPLETE: 1 failed; no regression in the other runs")),
    ],
)
def test_the_exit_code(comparisons: list[Comparison], failures: list[str], expected: tuple[int, str]) -> None:
    """1 for a regression, with failed runs or without; 2 where something was not measured."""
    assert verdict(comparisons, failures) == expected


def _tree(directory: Path, requirements: str = "redis==8.1\n") -> Tree:
    (directory / "requirements").mkdir(parents=True)
    (directory / "requirements" / "run.txt").write_text(requirements)
    return Tree(f"{directory.name} of a test", directory)


def test_the_report_has_the_rows_and_names_the_trees(tmp_path: Path) -> None:
    """The smallest, the middle and the largest figure of each tree stand beside the change."""
    this, rev = _tree(tmp_path / "this"), _tree(tmp_path / "rev")
    comparison = _compared((1.4, 1.0, 1.01, 1.5), (1.6, 1.0, 1.02, 1.4))
    text = report(this, rev, 2, [comparison, replace(comparison, source="mqtt", change=0.0)], ["mqtt, round 1: died"])
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    spread = ["1.400 / 1.450 / 1.600", "1.000 / 1.005 / 1.020"]
    assert rows[2] == ["amqp", "CPU s/100k", *spread, "+44.3%", "1.5%", "4.5%", "REGRESSION"]
    assert rows[3] == ["mqtt", "CPU s/100k", *spread, "+0.0%", "1.5%", "4.5%", "same"]
    for line in (
        "# This tree against rev of a test",
        "**REGRESSION: amqp CPU s/100k +44.3%**",
        "- FAILED: mqtt, round 1: died",
        "- this tree: this of a test",
        "- libraries (requirements/run.txt): the same in both",
    ):
        assert line in text.splitlines()


def test_the_report_names_the_rows_that_are_too_noisy(tmp_path: Path) -> None:
    """No regression found in a row with 10 % of noise is no proof that there is none."""
    this, rev = _tree(tmp_path / "this"), _tree(tmp_path / "rev")
    noisy = [
        replace(SAME, noise=0.08),
        replace(SAME, source="mqtt", noise=0.06),
        replace(SAME, noise=0.5, quantity=SPEED),
    ]
    assert "- too noisy to find 10%: amqp CPU s/100k, amqp events/s" in report(this, rev, 1, noisy, []).splitlines()
    assert "too noisy" not in report(this, rev, 1, [SAME], [])


def test_the_report_says_that_the_requirements_differ(tmp_path: Path) -> None:
    """Both trees run with one set of libraries, which may not be the one REV asks for."""
    trees = _tree(tmp_path / "this"), _tree(tmp_path / "rev", "redis==7.0\n")
    assert "- libraries (requirements/run.txt): NOT the same; both ran with this tree's" in report(
        *trees, 1, [SAME], []
    )


@pytest.mark.parametrize(
    ("configured", "build"),
    [
        ("'--enable-optimizations' '--with-lto' 'CFLAGS=-O3 -g'", "PGO, LTO;"),
        ("--with-lto=thin", "no PGO in CONFIG_ARGS, LTO;"),
        ("--enable-optimizations --without-lto", "PGO, no LTO in CONFIG_ARGS;"),
        ("--with-lto=no 'CFLAGS=--enable-optimizations '", "no PGO in CONFIG_ARGS, no LTO in CONFIG_ARGS;"),
        ("", "no PGO in CONFIG_ARGS, no LTO in CONFIG_ARGS;"),
    ],
)
def test_the_interpreters_build_is_named(configured: str, build: str) -> None:
    """Figures of interpreters that were built differently can't be compared."""
    named = interpreter(configured)
    assert build in named
    assert f"{sys.version_info.major}.{sys.version_info.minor}." in named
    assert str(Path(sys.executable).resolve()) in named


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A git repository with two commits: a bridge whose version is 1, then one whose version is 2."""
    path = tmp_path / "repository"
    (path / "bridge").mkdir(parents=True)
    _tree(path)
    _git(path, "init", "--quiet")
    _git(path, "commit", "--quiet", "--allow-empty", "--message", "nothing")
    (path / "bridge" / "cli.py").touch()
    for number in (1, 2):
        (path / "bridge" / "__init__.py").write_text(f"VERSION = {number}\n")
        _git(path, "add", ".")
        _git(path, "commit", "--quiet", "--message", f"version {number}")
    return path


def _git(repository: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(repository), *identity, *arguments], check=True, timeout=60)


def _imported(tree: Tree) -> str:
    """Return the version of the bridge that a process of this tree imports, started where another bridge is."""
    code = "import bridge; print(getattr(bridge, 'VERSION', 'of the checkout'))"
    env = {**os.environ, **tree.environment}
    return subprocess.check_output([sys.executable, "-c", code], env=env, cwd=REPOSITORY, text=True, timeout=60).strip()


@needs_git
def test_a_revisions_process_imports_the_revisions_bridge(repository: Path, tmp_path: Path) -> None:
    """Not the current directory's, nor the installed one."""
    old = tree_of("HEAD~1", tmp_path / "old", repository)
    new = tree_of("HEAD", tmp_path / "new", repository)
    assert [_imported(old), _imported(new)] == ["1", "2"]
    assert [tree.title.partition(" ")[2] for tree in (old, new)] == ["version 1", "version 2"]
    assert old.requirements == "redis==8.1\n"


@needs_git
def test_this_tree_has_the_changes_that_are_not_committed(repository: Path, tmp_path: Path) -> None:
    """It is a copy: what is edited afterwards is not measured."""
    clean = this_tree(tmp_path / "clean", repository)
    (repository / "bridge" / "__init__.py").write_text("VERSION = 3\n")
    edited = this_tree(tmp_path / "edited", repository)
    (repository / "bridge" / "__init__.py").write_text("VERSION = 4\n")
    assert [_imported(clean), _imported(edited)] == ["2", "3"]
    assert clean.title.endswith("version 2")
    assert edited.title.endswith("version 2, with uncommitted changes")


@needs_git
@pytest.mark.parametrize(
    ("revision", "message"),
    [
        ("no-such-revision", "no-such-revision"),
        ("--output=owned", "--output=owned"),
        ("HEAD:bridge", "HEAD:bridge"),
        ("HEAD~2", "has no bridge/"),
    ],
)
def test_a_revision_that_cannot_be_run_is_refused(
    repository: Path, tmp_path: Path, revision: str, message: str
) -> None:
    """Neither is an option of git's a revision."""
    with pytest.raises(NoTree, match=message):
        tree_of(revision, tmp_path / "tree", repository)
    assert not (tmp_path / "tree").exists()
    assert not (repository / "owned").exists()


@needs_git
def test_a_bridge_that_the_libraries_do_not_fit_is_refused(repository: Path, tmp_path: Path) -> None:
    """Before anything is measured."""
    (repository / "bridge" / "cli.py").write_text("import a_library_that_is_gone\n")
    _git(repository, "commit", "--quiet", "--all", "--message", "another library")
    with pytest.raises(NoTree, match="a_library_that_is_gone"):
        tree_of("HEAD", tmp_path / "tree", repository)


@pytest.mark.usefixtures("redis_server")
def test_a_source_on_which_a_tree_fails_at_once_is_given_up(tmp_path: Path) -> None:
    """Such as a revision that refuses the benchmark's configuration; it is not run again and again."""
    (tmp_path / "bridge").mkdir()
    (tmp_path / "bridge" / "__init__.py").touch()
    (tmp_path / "bridge" / "__main__.py").write_text("raise SystemExit('this revision knows no such key')\n")
    broken = Tree("broken", tmp_path)
    said: list[str] = []
    with StreamBacklog() as backlog:
        runs = play(backlog, (broken, broken), rounds=3, scale=0, log_line=said.append)
    assert (runs.rounds, len(runs.failures), len(said)) == ([], 1, 1)
    assert "this revision knows no such key" in said[0]


def test_cpu_time_is_finer_than_the_kernels_ticks() -> None:
    """/proc/PID/stat counts in 10 ms, and 3 % of a run's CPU time may be less than that."""
    code = (
        "import os, time; from bench.usage import cpu_s; own = time.process_time\n"
        "for share in range(1, 20):\n"
        "    outer = own(); before = cpu_s(os.getpid()); inner = own()\n"
        "    while own() < inner + share / 1000: pass\n"
        "    inner = own() - inner; measured = cpu_s(os.getpid()) - before; outer = own() - outer\n"
        "    assert inner <= measured <= outer, (inner, measured, outer)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True, timeout=60)
