"""A bridge in the test's own process, so that the test can give it orders and read its state."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from bridge.process.one_process import OneProcess
from bridge.process.supervisor import Supervisor
from tests.support.children import patient

Running = OneProcess | Supervisor


async def until(condition: Callable[[], object], what: str, found: Callable[[], object] = lambda: "") -> None:
    """Return once `condition` is true; after half a minute fail, and tell what was found instead."""
    try:
        async with asyncio.timeout(patient(30)):
            while not condition():  # noqa: ASYNC110 - Redis and a bridge answer, no event
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"{what} did not come true: {found()}") from None


@asynccontextmanager
async def run(running: Running) -> AsyncIterator[None]:
    """Run a bridge: ready at the beginning, and stopped with the exit code 0 at the end."""
    task = asyncio.create_task(running.run())
    try:
        await until(lambda: running.state().phase == "running", "ready", running.state)
        yield
        running.stop()
        assert await asyncio.wait_for(task, patient(30)) == 0
    finally:
        if not task.done():
            running.kill()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
