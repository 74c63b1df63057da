"""The end of a process: its own work is over, libraries get a moment to close, and nothing else is waited for.

Python itself waits for the threads of pools (a resolver in one), and asyncio's runner for every task of a library: a
TLS connection that has gone silent kept a stopped bridge alive for more than a minute (observed).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, NoReturn

from bridge.delivery import tasks
from bridge.observe import logs

log = logs.logger()
#: A process is gone so long after its `drain_timeout`, plus `tasks.FLUSH_S` for a log that nobody reads.
LEAVE_S: Final = 3.5
#: A parent gives its processes that time and a little more.
LEAVE_WITH_CHILDREN_S: Final = 4.5
#: How long the tasks of libraries may take to close their connections once all events have their outcome.
_LIBRARIES_S: Final = 2.0


def run(
    work: Coroutine[Any, Any, int], loop_factory: Callable[[], asyncio.AbstractEventLoop] | None, failure: str
) -> NoReturn:
    """Run `work`, and end the process with the exit code that it returns: 1 where it fails, and a line named `failure`."""
    runner = asyncio.Runner(loop_factory=loop_factory)
    try:
        code = runner.run(work)
    except Exception:
        # A bug, or a fault that only an operator can mend: log it, and leave the restart to the parent or service manager.
        log.critical(failure, exc_info=True)
        code = 1
    with suppress(Exception):
        runner.run(_close_libraries())
    tasks.end_process(code)


def end_in(seconds: float, last_words: Callable[[], int]) -> None:
    """End the process in so many seconds, by a thread: the event loop may hang. `last_words` logs, and returns the code."""

    def end() -> None:
        time.sleep(seconds)
        code = 1
        with suppress(Exception):
            code = last_words()
        tasks.end_process(code)

    threading.Thread(target=end, name="end", daemon=True).start()


async def _close_libraries() -> None:
    await tasks.cancel([task for task in asyncio.all_tasks() if task is not asyncio.current_task()], _LIBRARIES_S)
