"""The rings that failed connections leave are collected, in an outage that makes nothing else."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from collections.abc import Iterator

import pytest

from bridge import garbage
from bridge.config import Amqp
from bridge.errors import Disconnected
from bridge.garbage import collect_soon
from bridge.sources.amqp.source import AmqpSource
from bridge.sources.amqp.transport import FastTransport
from tests.support.amqp_wire import NOWHERE
from tests.support.broken_servers import BrokenServers


class Ring:
    """An object that refers to itself."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def _nothing_else_collects(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(garbage, "_AFTER_S", 0.05)
    gc.disable()
    yield
    gc.enable()


async def gone(ring: weakref.ref[Ring]) -> bool:
    """Say whether the ring is gone in a moment, or stays."""
    deadline = time.monotonic() + 10
    while ring() is not None and time.monotonic() < deadline:
        collect_soon()
        await asyncio.sleep(0.01)
    return ring() is None


async def test_a_young_ring_is_collected_soon() -> None:
    """That of an attempt that failed at once."""
    assert await gone(weakref.ref(Ring()))


async def test_an_old_ring_is_collected_in_half_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of an attempt that has lasted while others failed; here the time is shorter."""
    monkeypatch.setattr(garbage, "_FULL_INTERVAL_S", 0.2)
    ring = Ring()
    for _ in range(3):
        gc.collect()
    old = weakref.ref(ring)
    del ring
    gc.collect(1)
    assert old() is not None
    assert await gone(old)


async def test_attempts_at_a_silent_broker_keep_no_buffer() -> None:
    """Also while they wait for the collector: a quarter of a MiB each was the most that an outage took."""
    servers = BrokenServers(("silent",)).start()
    try:
        settings = {**servers.sources(1)["dead-silent-amqp-0"], "connect_timeout": "100ms"}
        source = AmqpSource("s", Amqp.model_validate(settings), NOWHERE)
        for _ in range(3):
            with pytest.raises(Disconnected):
                async with source.connect():
                    pass
        await asyncio.sleep(0.1)
        left = [one for one in gc.get_objects() if isinstance(one, FastTransport)]
        assert sum(len(one._buffer) for one in left) == 0
    finally:
        servers.close()
