"""The manifest of a Dramatiq application, which another process imports.

An application prints, changes directories, starts threads and ends processes while it is imported: none of that reaches the
command. Its output goes to standard error.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

import bridge
from bridge.config.manifest import Manifest
from bridge.errors import BridgeError

#: How long the import may take.
_TIMEOUT_S: Final = 300
#: Safe path: the application's folder, where a module may be named as one of ours, comes first only once ours are loaded.
_PROGRAM: Final = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from bridge.manifest import inspection; inspection.main()"
)


class ApplicationError(BridgeError):
    """An application that can't be imported, or that has no actors."""


class Answer(msgspec.Struct, omit_defaults=True):
    """The answer of the other process: a manifest, or why there is none."""

    manifest: Manifest | None = None
    error: str = ""


def import_application(modules: Sequence[str]) -> Manifest:
    """Import the modules as Dramatiq's own command line does, and return the actors of their brokers.

    A module is `package.module`, or `package.module:broker` where the broker is not Dramatiq's global one, or
    `package.module:function` where a function sets it. Modules are looked for in the current directory first.

    Raises:
        ApplicationError: a module can't be imported, or there is no actor.
    """
    names = ", ".join(modules)
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "answer"
        ours = os.fspath(Path(bridge.__file__).parents[1])
        command = [sys.executable, "-P", "-c", _PROGRAM, ours, os.fspath(file), *modules]
        try:
            # 2: standard output may be ours to write JSON to.
            ended = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=2, timeout=_TIMEOUT_S, check=False)  # noqa: S603 - this Python
        except subprocess.TimeoutExpired:
            raise ApplicationError(f"can't import {names}: the import did not end within {_TIMEOUT_S} s") from None
        answer = msgspec.json.decode(file.read_bytes(), type=Answer) if file.exists() else Answer()
    if answer.manifest is None:
        how = f"signal {-ended.returncode}" if ended.returncode < 0 else f"exit code {ended.returncode}"
        raise ApplicationError(answer.error or f"can't import {names}: it ended the process with {how}")
    return answer.manifest
