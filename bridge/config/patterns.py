"""The files that a pattern such as `routes/*.yaml` finds: sorted, within bounds, and no hidden ones."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Final

from bridge.config.files import UnreadableFile, record, whole
from bridge.errors import InvalidValue

MAX_FILES: Final = 1000
#: So many names are looked at for one pattern.
_MAX_NAMES: Final = 100_000
_SUFFIXES: Final = (".yaml", ".yml", ".json")
_WILDCARD: Final = re.compile(r"[*?\[]")


def check_pattern(pattern: str) -> str:
    """Return a pattern that can be used.

    Raises:
        InvalidValue: it can't.
    """
    if "\0" in pattern:
        raise InvalidValue("this is no path")
    if "**" in pattern:
        raise InvalidValue("takes a pattern without **", "write one * for each folder, as in teams/*/routes.yaml")
    if not pattern.endswith(_SUFFIXES):
        raise InvalidValue(
            "takes a path or a pattern that ends with .yaml, .yml or .json",
            "as in routes/*.yaml: so no backup that an editor leaves there is read",
        )
    return pattern


def find_files(folder: Path, pattern: str) -> list[str]:
    """Return the paths that a pattern finds, sorted; relative ones begin at `folder`.

    The search is recorded like a read.

    A wildcard fits no name that begins with a point, such as an editor's lock or the `..data` of a Kubernetes volume.

    Raises:
        UnreadableFile: a folder can't be read, or there is too much to look at.
    """
    found: list[str] | None = None
    try:
        names = _Names()
        root, parts = (Path("/"), Path(pattern).parts[1:]) if pattern.startswith("/") else (folder, Path(pattern).parts)
        found = sorted(names.fitting(root, parts))
        return found
    finally:
        body = None if found is None else "\0".join(found).encode("utf-8", "surrogateescape")
        record(f"the files of {folder / pattern}", partial(find_files, folder, pattern), body)


class _Names:
    """The search for one pattern, which is bounded."""

    def __init__(self) -> None:
        self._names = 0
        self._found = 0

    def fitting(self, folder: Path, parts: Sequence[str]) -> Iterator[str]:
        """Yield the paths in `folder` whose names fit the parts of a pattern."""
        first, *rest = parts
        for name in self._fitting(folder, first) if _WILDCARD.search(first) else [first]:
            if rest:
                yield from self.fitting(folder / name, rest)
            elif _exists(folder / name):
                self._found += 1
                if self._found > MAX_FILES:
                    raise UnreadableFile(f"finds more than {MAX_FILES:,} files")
                yield str(folder / name)

    def _fitting(self, folder: Path, part: str) -> list[str]:
        try:
            with os.scandir(folder) as entries:
                fitting = []
                for entry in entries:
                    self._names += 1
                    if self._names > _MAX_NAMES:
                        raise UnreadableFile(f"looks at more than {_MAX_NAMES:,} names")
                    if not entry.name.startswith(".") and fnmatchcase(entry.name, part):
                        fitting.append(entry.name)
                return fitting
        except OSError as error:
            _raise_unless_missing(folder, error)
        return []


def _exists(path: Path) -> bool:
    try:
        os.lstat(path)  # a link to nothing is found, and its reading says so
    except OSError as error:
        _raise_unless_missing(path, error)
        return False
    return True


def _raise_unless_missing(path: Path, error: OSError) -> None:
    if error.errno not in {errno.ENOENT, errno.ENOTDIR}:
        raise UnreadableFile(f"finds {whole(path)}, which cannot be read: {error.strerror}") from None
