"""The bridge of another revision, and the one of this checkout, each as a directory that a process imports it from."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.children import REPOSITORY

_REQUIREMENTS: Final = "requirements/run.txt"


class NoTree(Exception):
    """There is no such revision, or no bridge in it that starts."""


@dataclass(frozen=True)
class Tree:
    """A directory with the package `bridge` and perhaps requirements/run.txt; `title` names its revision for people."""

    title: str
    directory: Path

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which `python -m bridge` imports this tree's package, wherever it is started."""
        # PYTHONPATH comes before an editable install; without PYTHONSAFEPATH, `-m` would put the current directory first.
        return {"PYTHONPATH": str(self.directory), "PYTHONSAFEPATH": "1"}

    @property
    def requirements(self) -> str:
        """The text of requirements/run.txt, empty where there is none."""
        path = self.directory / _REQUIREMENTS
        return path.read_text() if path.exists() else ""


def this_tree(directory: Path, repository: Path = REPOSITORY) -> Tree:
    """Copy the checkout's bridge to `directory`, uncommitted changes included: edits during the run change nothing."""
    shutil.copytree(repository / "bridge", directory / "bridge", ignore=shutil.ignore_patterns("__pycache__"))
    (directory / _REQUIREMENTS).parent.mkdir()
    shutil.copy(repository / _REQUIREMENTS, directory / _REQUIREMENTS)
    changed = _git(repository, "status", "--porcelain", "--", "bridge")
    return _checked(Tree(_title(repository, "HEAD") + (", with uncommitted changes" if changed else ""), directory))


def tree_of(revision: str, directory: Path, repository: Path = REPOSITORY) -> Tree:
    """Write the bridge of a git revision to `directory`; NoTree if that is impossible."""
    title = _title(repository, revision)
    paths = [path for path in ("bridge", _REQUIREMENTS) if _git(repository, "ls-tree", revision, "--", path)]
    if "bridge" not in paths:
        raise NoTree(f"{title} has no bridge/")
    directory.mkdir()
    archive = subprocess.run(
        ["git", "-C", repository, "archive", revision, "--", *paths], stdout=subprocess.PIPE, check=True
    )
    # Not tarfile: Debian 12's Python 3.11.2 has no `filter=` yet, and newer ones warn where it is missing.
    subprocess.run(["tar", "-x", "-C", directory], input=archive.stdout, check=True)
    return _checked(Tree(title, directory))


def _checked(tree: Tree) -> Tree:
    """See that a process with the tree's environment imports the tree's bridge and nobody else's."""
    command = [sys.executable, "-c", "import bridge.cli; print(bridge.__file__)"]
    done = subprocess.run(
        command,
        env={**os.environ, **tree.environment},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise NoTree(f"the bridge of {tree.title} cannot be imported with this tree's libraries:\n{done.stderr}")
    imported = Path(done.stdout.strip())
    if not imported.is_relative_to(tree.directory):
        raise NoTree(f"the bridge of {tree.title} was not imported, but {imported}")
    return tree


def _title(repository: Path, revision: str) -> str:
    # `^{commit}` refuses the name of a file or of a tree; with --end-of-options no revision is taken for an option.
    return _git(repository, "log", "-1", "--format=%h %s", "--end-of-options", f"{revision}^{{commit}}")


def _git(repository: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", repository, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        # The first line says it; the others are advice on git's syntax.
        cause = done.stderr.partition("\n")[0]
        raise NoTree(f"git {' '.join(arguments)}: {cause}")
    return done.stdout.strip()
