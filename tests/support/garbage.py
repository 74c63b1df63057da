"""Finds what is kept by cycles, which the bridge's lazy collector leaves in memory for long."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def uncollected() -> Iterator[Callable[[], int]]:
    """Let nothing be collected; yield a function that returns by how many bytes the process's objects have grown.

    On leaving, no frame of the bridge may be garbage: that is a cycle through an error's traceback. Frames that earlier
    tests of the process left alive do not count.
    """
    tracemalloc.start()
    gc.collect()
    left = [found for found in gc.get_objects() if isinstance(found, FrameType)]
    gc.disable()
    before, _ = tracemalloc.get_traced_memory()
    try:
        yield lambda: tracemalloc.get_traced_memory()[0] - before
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        frames = [found.f_code for found in gc.garbage if isinstance(found, FrameType)]
        cycles = [code.co_qualname for code in frames if "/bridge/" in code.co_filename]
        assert not cycles, f"garbage holds frames of {cycles}"
    finally:
        left.clear()
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
        tracemalloc.stop()
