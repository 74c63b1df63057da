"""A spool that takes nothing keeps nothing in memory either."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path

import pytest

from bridge.model.event import already_parsed
from bridge.spool import SpoolDirectory, SpoolFull
from tests.support.batches import Entry, batch_of, event
from tests.support.garbage import uncollected


@pytest.mark.parametrize("cause", ["full", "disk"])
async def test_a_full_spool_keeps_nothing_of_an_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cause: str
) -> None:
    """However often a batch of 4 MiB is tried, with the spool at its bound or on a disk that fails."""
    spools = SpoolDirectory(tmp_path, 1 << 20 if cause == "full" else 64 << 20)
    assert await spools.own()
    spool = await spools.open("plant", already_parsed)
    assert spool is not None
    same = batch_of(Entry(event(body=b"x" * 65_536)) for _ in range(64))
    same.assign_number()

    def fail(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    if cause == "disk":
        monkeypatch.setattr(os, "fsync", fail)
        monkeypatch.setattr(os, "fdatasync", fail)
    refused = 0
    with uncollected() as grown:
        for _ in range(10):
            with suppress(SpoolFull):
                await spool.append([same], durable=True)
                refused -= 1
            refused += 1
        await asyncio.sleep(0.1)  # the thread lets go of it
        assert grown() < 1 << 20
    assert refused == 10
    monkeypatch.undo()
    await spools.close()
