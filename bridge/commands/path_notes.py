"""The notes of `check` on paths: those of files that are used while the bridge runs begin at its working directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bridge.config import Config
from bridge.config.document import Document
from bridge.config.files import base_directory, whole
from bridge.errors import Diagnostic, KeyPath


def path_notes(loaded: Config, document: Document) -> Iterator[Diagnostic]:
    """Yield a note on each relative one that would be another file if it began at the folder of the file that names it."""
    here = whole(".")
    seen = set()
    for place, path in _paths(loaded):
        at = document.place(Diagnostic(place, ""))
        folder = base_directory(at.file)
        if Path(path).is_absolute() or at in seen or _is_same(folder, here):
            continue
        seen.add(at)  # `defaults` give it to several sources
        text = f"{place[-1]}: the path begins at the working directory, which is {here} now, and not beside this file; write a whole one"
        yield Diagnostic(place, text)


def _is_same(folder: Path, here: Path) -> bool:
    try:
        return folder.samefile(here)
    except OSError:  # the working directory has been removed
        return False


def _paths(loaded: Config) -> Iterator[tuple[KeyPath, str]]:
    """Yield each path that the bridge opens while it runs."""
    connections = [
        (("dramatiq",), loaded.dramatiq),
        *((("sources", name), one) for name, one in loaded.sources.items()),
    ]
    for place, connection in connections:
        for key in ("ca", "cert", "key"):
            path = getattr(connection.tls, key, None)
            if path is not None:
                yield (*place, "tls", key), path
    if loaded.spool is not None:
        yield ("spool", "directory"), loaded.spool.directory
