"""Runs the tests that are new since a revision against the revision's code, and lists those that are red and green there.

`python .ci/red_before.py REV [PATTERN ...]`: a test that is green there shows nothing that was wrong. Patterns choose files.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from fnmatch import fnmatch
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).resolve().parent.parent
#: A red test waits in vain; longer than it takes to start a broker.
_TIMEOUT_S = 60


def _pytest(tree: Path, *arguments: str) -> str:
    # The installed package is that of this tree; the revision's own comes first on the path.
    env = {**os.environ, "PYTHONPATH": str(tree)}
    command = [sys.executable, "-m", "pytest", "--no-cov", "-q", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True, check=False).stdout


def _collected(tree: Path, files: list[str]) -> list[str]:
    lines = _pytest(tree, "--collect-only", *(files or ["tests"])).splitlines()
    return [line for line in lines if line.startswith("tests/") and "::" in line]


def _outcomes(report: Path) -> dict[str, str]:
    outcomes = {}
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - pytest's own
        failure = next((child for child in case if child.tag in {"failure", "error", "skipped"}), None)
        name = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"
        outcomes[name] = "green" if failure is None else (failure.get("message") or failure.tag).splitlines()[0]
    return outcomes


def _print(title: str, lines: list[str]) -> None:
    print(f"\n## {title}: {len(lines)}\n")
    print("\n".join(lines) or "none")


def main(revision: str, *patterns: str) -> None:
    """Print the tests that can't be imported there, those that are red, and those that are green."""
    with tempfile.TemporaryDirectory() as directory:
        tree = Path(directory) / "tree"
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(tree), revision], cwd=ROOT, check=True)
        try:
            known = set(_collected(tree, []))
            new = [name for name in _collected(ROOT, []) if name not in known]
            new = [name for name in new if not patterns or any(fnmatch(name, each) for each in patterns)]
            shutil.rmtree(tree / "tests")
            shutil.copytree(ROOT / "tests", tree / "tests")
            files = sorted({name.partition("::")[0] for name in new})
            there = set(_collected(tree, files))
            names, report = Path(directory) / "names", Path(directory) / "report.xml"
            names.write_text("\n".join(name for name in new if name in there))
            _pytest(tree, "-n4", "--dist", "loadfile", f"--timeout={_TIMEOUT_S}", f"--junitxml={report}", f"@{names}")
            outcomes = _outcomes(report)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=ROOT, check=True)
    print(f"# {len(new)} tests that {revision} has not, run with its code")
    _print("cannot be imported", [name for name in new if name not in there])
    red = {name: cause for name, cause in outcomes.items() if cause != "green"}
    _print("red", [f"{name}\n    {cause[:200]}" for name, cause in red.items()])
    _print("green", [name for name, cause in outcomes.items() if cause == "green"])


if __name__ == "__main__":
    main(*sys.argv[1:])
