"""The code of a release, or of this tree, as a bridge and its commands run it."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.support.children import REPOSITORY
from tests.support.processes import BridgeProcess

#: A folder for each release: its wheel, and the state that a bridge of it has left.
RELEASES: Final = REPOSITORY / "tests" / "deploy" / "releases"


@dataclass(frozen=True)
class Code:
    """The folder that holds the package `bridge`; None for this tree."""

    folder: Path | None = None

    @property
    def env(self) -> dict[str, str]:
        """The variables of a process that runs it. Those of this tree are none, so that it may be forked."""
        if self.folder is None:
            return {}
        # Otherwise Python would take the package in its working directory first.
        return {"PYTHONPATH": str(self.folder), "PYTHONSAFEPATH": "1"}

    def bridge(self, config: dict[str, Any], env: dict[str, str] | None = None) -> BridgeProcess:
        """Return a bridge with this code, not started; as a context manager it is started and always ended."""
        return BridgeProcess(config, env={**self.env, **(env or {})})

    def run(self, *arguments: str | Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command of the program to its end."""
        env = {**os.environ, **(self.env or {"PYTHONPATH": str(REPOSITORY)}), **(env or {})}
        command = [sys.executable, "-m", "bridge", *map(str, arguments)]
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)

    def version(self) -> str:
        """Return the version that the program says, and prove whose code it is."""
        program = "import bridge; print(bridge.__file__); print(bridge.__version__)"
        env = {**os.environ, **(self.env or {"PYTHONPATH": str(REPOSITORY)})}
        done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
        file, version = done.stdout.split("\n")[:2]
        assert Path(file).is_relative_to(self.folder or REPOSITORY), file
        return version


def unpacked(wheel: Path, folder: Path) -> Code:
    """Unpack a wheel into `folder`, and return its code."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return Code(folder)


def built(tree: Path, folder: Path) -> Path:
    """Build the wheel of a tree into `folder`, and return its path."""
    command: Sequence[str] = (sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder))
    # A wheel with the same content has the same bytes.
    env = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    done = subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel
