"""`dead` in a process of its own, on thousands of letters."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

from bridge.model.batch import Batch, DeadLetter
from bridge.sink import RedisSink
from tests.support.batches import DEAD, numbers
from tests.support.children import REPOSITORY, wait_until
from tests.support.letters import Desk, order

MANY = 10_000
ROUTE: dict[str, Any] = {"name": "note", "from": "orders", "actor": "record", "args": ["$payload.n"]}


async def fill(desk: Desk, count: int, cap: int = 50_000) -> None:
    """Write letters of the route `note`, numbered from 0, which today's route makes messages of."""
    desk.write_config([ROUTE], dead_letters={"max_length": cap})
    sink = RedisSink(desk.config.dramatiq, desk.config.dead_letters)
    for start in range(0, count, 500):
        events = [order(b'{"n": %d}' % n) for n in range(start, min(start + 500, count))]
        letters = [(at, DeadLetter(event, "missing-field", "x", "note")) for at, event in enumerate(events)]
        await sink.write(Batch(events, dead_letters=letters))
    await sink.close()


def retrying(desk: Desk, *words: str) -> subprocess.Popen[str]:
    """Start `dead retry --all` in a process of its own."""
    return started(desk, "retry", *words)


def started(desk: Desk, action: str, *words: str) -> subprocess.Popen[str]:
    """Start a command for all letters in a process of its own."""
    command = [sys.executable, "-m", "bridge", "dead", action, "--all", "--config", str(desk.path), *words]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def length(desk: Desk) -> int:
    """Return how many letters there are."""
    with desk.server.client() as client:
        return int(client.xlen(DEAD))


async def shorter(desk: Desk, than: int) -> None:
    """Wait until there are fewer letters than this."""
    await asyncio.to_thread(wait_until, lambda: length(desk) < than, 60, f"fewer than {than} letters")


def written(desk: Desk) -> list[int]:
    """Return the numbers of the messages; list and hash agree."""
    with desk.server.client() as client:
        return numbers(client)
