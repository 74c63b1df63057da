"""The files of tests beside configurations: NAME_test.yaml beside NAME.yaml."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from bridge.errors import UsageError

_SUFFIX: Final = "_test"


def configurations(paths: Sequence[str]) -> list[str]:
    """Return the configurations, each once: a file of tests, which `*.yaml` names too, is read with its configuration.

    Raises:
        UsageError: a file of tests is given, and its configuration is not.
    """
    beside = {tests.absolute() for path in paths if (tests := companion(path)) is not None}
    chosen = [path for path in dict.fromkeys(paths) if Path(path).absolute() not in beside]
    for path in chosen:
        file = Path(path)
        stem = file.stem.removesuffix(_SUFFIX)
        owner = _existing(file, stem) if stem and stem != file.stem else None
        if owner is not None:
            raise UsageError(f"{path} holds the tests of {owner}; give {owner}, and both are read")
    return chosen


def companion(path: str) -> Path | None:
    """Return the file of tests beside a configuration; None if there is none."""
    file = Path(path)
    return _existing(file, f"{file.stem}{_SUFFIX}") if file.stem else None


def _existing(file: Path, stem: str) -> Path | None:
    """Return the file with another stem beside `file`, whichever of the usual suffixes it has."""
    suffixes: Iterable[str] = dict.fromkeys((file.suffix, ".yaml", ".yml"))
    found = (file.with_name(f"{stem}{suffix}") for suffix in suffixes)
    # A folder that is hidden from this user hides the configuration too, and its loading says so.
    return next((each for each in found if os.path.exists(each)), None)  # noqa: PTH110 - raises no PermissionError
