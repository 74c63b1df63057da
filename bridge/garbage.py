"""Python's collector: when it runs, and when it is kept off.

Libraries leave rings behind of connections that failed, which only the collector finds. In an outage nothing else makes it
run for hours, and it does not see how much a TLS object or a buffer holds.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

#: Later, because the caller still holds its connection, and rarely, because each time takes 1 ms.
_AFTER_S: Final = 1.0
#: A young ring is found for little. One whose attempt lasted for seconds is old by the time that it is garbage.
_FULL_INTERVAL_S: Final = 30.0

_due = 0.0
#: Not at the start, when a backlog comes: a full one walks through all that is in flight, in some 20 ms.
_full_at = time.monotonic()


@contextmanager
def without_collector() -> Iterator[None]:
    """Keep the collector off while much is made that stays."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def collect_soon() -> None:
    """Collect the garbage in a moment: a connection has ended, or could not be made. On the event loop's thread."""
    import asyncio  # noqa: PLC0415 - the command line imports this file for `--help` too

    global _due  # noqa: PLW0603 - one collector in the process
    now = time.monotonic()
    if now >= _due:
        _due = now + _AFTER_S
        asyncio.get_running_loop().call_later(_AFTER_S, _collect)


def _collect() -> None:
    global _full_at  # noqa: PLW0603
    now = time.monotonic()
    if now - _full_at < _FULL_INTERVAL_S:
        gc.collect(0)
    else:
        _full_at = now
        gc.collect()
