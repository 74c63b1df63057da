"""The paths in an included file: they begin at its folder, and those of the whole configuration at that of the main file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bridge.config.substitution import Substituted


def relocate(value: object, folder: Path, main: Path) -> None:
    """Change the path of each table and schema in the value of a file in `folder` to one that begins at `main`."""
    if folder == main or not isinstance(value, dict):
        return
    if folder.is_relative_to(main):  # unless it is included by an absolute path
        folder = folder.relative_to(main)
    for settings, key in _with_paths(value):
        path = settings.get(key) if isinstance(settings, dict) else None
        if isinstance(path, str) and path:
            settings[key] = (Substituted if isinstance(path, Substituted) else str)(folder / path)


def _with_paths(value: dict[str, Any]) -> Iterator[tuple[Any, str]]:
    """Yield each mapping that may have a path, and the key of it."""
    for section, key in (("tables", "file"), ("sources", "validate"), ("routes", "validate")):
        entries = value.get(section)
        if isinstance(entries, dict):
            entries = list(entries.values())
        for settings in entries if isinstance(entries, list) else ():
            yield settings, key
