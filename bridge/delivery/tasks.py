"""Tasks that are cancelled again and again for a bounded time, and whose failure ends the process."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine, Sequence
from typing import Any, Final, NoReturn

from bridge.observe import logs

#: A library's connect can swallow a cancellation, so it is repeated after this long.
_CANCEL_INTERVAL_S: Final = 0.2
#: How long the other tasks of a process may take to end after one has failed.
_FAILED_EXIT_S: Final = 12.0
#: How long the end of a process waits for lines that are not written yet.
FLUSH_S: Final = 0.5
#: Taken for good by the first thread that ends the process.
_ending: Final = threading.Lock()


def start(group: asyncio.TaskGroup, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Start a named task in `group`; the process ends soon after it fails, whatever the other tasks do."""
    task = group.create_task(work, name=name)
    task.add_done_callback(_exit_if_failed)
    return task


async def cancel(tasks: Sequence[asyncio.Task[None]], within_s: float) -> None:
    """Cancel `tasks` again and again until all have ended, for at most `within_s` seconds."""
    deadline = asyncio.get_running_loop().time() + within_s
    pending = {task for task in tasks if not task.done()}
    while pending and asyncio.get_running_loop().time() < deadline:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_CANCEL_INTERVAL_S)


def end_process(code: int) -> NoReturn:
    """End the process now, whatever its threads and its event loop do; only the log gets half a second.

    Where several threads end it at the same time, the first one's code counts, and the others wait for the end.
    """
    _ending.acquire()
    logs.flush(FLUSH_S)
    os._exit(code)


def _exit_if_failed(task: asyncio.Task[None]) -> None:
    """Force an exit after a task fails. TaskGroup cancels the others only once, and a library's connect may swallow that."""
    if not task.cancelled() and task.exception() is not None:
        asyncio.get_running_loop().call_later(_FAILED_EXIT_S, end_process, 1)
