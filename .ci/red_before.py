"""Runs the tests that are new since a revision against the revision's code, and lists those that are red and green there.

`python .ci/red_before.py REV [PATTERN ...]`: a test that is green there shows nothing that was wrong. Patterns choose files.
A name that REV has not is a stand-in there that fails when it is used, so that the other tests of its file run.
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
_TIMEOUT_S = 45


#: A pytest plugin: modules of the bridge, and names in them, that are missing can be imported.
_STAND_INS = """
import importlib, importlib.abc, importlib.machinery, sys, types

class Missing:
    def __init__(self, name): self.__dict__["name"] = name
    def __getattr__(self, attribute):
        if attribute.startswith("__"): raise AttributeError(attribute)
        raise AssertionError(f"the revision has no {self.__dict__['name']}")
    def __call__(self, *_, **__): raise AssertionError(f"the revision has no {self.__dict__['name']}")

def stand_in(module):
    def missing(name):
        if name.startswith("__"): raise AttributeError(name)
        full = f"{module.__name__}.{name}"
        if importlib.machinery.PathFinder.find_spec(full, getattr(module, "__path__", [])):
            return importlib.import_module(full)  # a submodule, which `from package import it` looks for here
        return Missing(full)
    return missing

class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] != "bridge": return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is None: return importlib.machinery.ModuleSpec(name, self)
        execute = spec.loader.exec_module
        def executed(module):
            execute(module)
            if "__getattr__" not in module.__dict__: module.__getattr__ = stand_in(module)
        spec.loader.exec_module = executed
        return spec
    def create_module(self, spec): return types.ModuleType(spec.name)
    def exec_module(self, module): module.__getattr__ = stand_in(module)

sys.meta_path.insert(0, Finder())
"""


def _pytest(tree: Path, *arguments: str) -> str:
    # The installed package is that of this tree; the revision's own comes first on the path.
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tree), str(tree.parent)])}
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
            (tree.parent / "stand_ins.py").write_text(_STAND_INS)
            there = set(_collected(tree, ["-p", "stand_ins", *files]))
            names, report = Path(directory) / "names", Path(directory) / "report.xml"
            names.write_text("\n".join(name for name in new if name in there))
            _pytest(
                tree,
                "-p",
                "stand_ins",
                "-n8",
                "--dist",
                "worksteal",
                f"--timeout={_TIMEOUT_S}",
                f"--junitxml={report}",
                f"@{names}",
            )
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
