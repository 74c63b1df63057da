"""The scripts of this folder, each with those of the sink that stand before it; and their arguments in parts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import TypeVar

T = TypeVar("T")


def script(*of_sink: str, own: Sequence[str]) -> tuple[str, str]:
    """Return a script of these files, and its digest."""
    texts = [files("bridge.sink").joinpath(name).read_text() for name in of_sink]
    text = "".join([*texts, *(files("bridge.dead_letters").joinpath(name).read_text() for name in own)])
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Yield the items in parts of `size`, the last one perhaps smaller."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
