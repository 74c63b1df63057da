"""Both event loops, since each has its own way with sockets; where uvloop is missing, asyncio's alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, LoopFactory]:
    """Run every asynchronous test on each."""
    factories: dict[str, LoopFactory] = {"asyncio": asyncio.new_event_loop}
    try:
        import uvloop  # noqa: PLC0415 - an extra
    except ImportError:
        return factories
    return factories | {"uvloop": uvloop.new_event_loop}
