"""Brokers that are fetched or built by an ecosystem's own client in the Debian 13 root, once for each version of their sources."""

from __future__ import annotations

import functools
import hashlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from tests.interop import roots

#: The folder of the sources, one folder in it for each ecosystem.
SOURCES: Final = Path(__file__).parent / "brokers"


def build(sources: Path, cache: Path, make: Callable[[Path], None]) -> Path:
    """Return the folder made by `make`, which gets a copy of `sources` to work in; it is made anew when they change."""
    files = sorted(path for path in sources.rglob("*") if path.is_file())
    digest = hashlib.sha256(b"".join(f"{path.relative_to(sources)}\n".encode() + path.read_bytes() for path in files))
    folder = cache / "builds" / f"{sources.name}-{digest.hexdigest()[:12]}"
    if not folder.exists():
        unfinished = folder.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(sources, unfinished)
        make(unfinished)
        unfinished.rename(folder)
    return folder


def run(folder: Path, *argv: str) -> None:
    """Run a client in the Debian 13 root, in `folder`; Unavailable with the end of its output where it fails."""
    # The machine's settings of each client lie in the home of the root's own user.
    roots.run(command(["env", "HOME=/root", *argv]), folder)


def command(argv: Sequence[str]) -> list[str]:
    """Return the command that becomes the program `argv` in the Debian 13 root."""
    return roots.command(_debian13(), argv)


@functools.cache
def _debian13() -> Path:
    return roots.make("trixie")
