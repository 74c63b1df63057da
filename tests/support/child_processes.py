"""The child processes of a bridge with `processes: N`, and what they have brought."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import psutil
import pytest

from tests.support.batches import numbers
from tests.support.brokers import Redis
from tests.support.children import wait_until
from tests.support.feeds import AmqpFeed, StreamFeed
from tests.support.processes import BridgeProcess

#: For a test of the sources that always share.
SHARED = pytest.mark.parametrize("broker", [AmqpFeed, StreamFeed], ids=lambda feed: feed.kind, indirect=True)


def several(config: dict[str, Any], processes: int = 2, **more: Any) -> dict[str, Any]:
    """Return `config` with `processes`."""
    return {**config, "processes": processes, **more}


def children(bridge: BridgeProcess) -> dict[int, psutil.Process]:
    """The child processes by their numbers."""
    found = {}
    for child in psutil.Process(bridge.pid).children():
        with suppress(psutil.NoSuchProcess):
            command = child.cmdline()
            if "bridge.process.child" in command:
                found[int(command[-1])] = child
    return found


def wait_gone(processes: dict[int, psutil.Process]) -> None:
    """Wait until none of them runs."""
    _, alive = psutil.wait_procs(processes.values(), timeout=60)
    assert not alive


def wait_for_messages(sink: Redis, count: int) -> list[int]:
    """The numbers of the events whose messages are in the queue, once there are so many different ones."""
    with sink.client() as client:
        wait_until(lambda: client.hlen("dramatiq:default.msgs") >= count, 60, f"{count} messages")
        wait_until(lambda: len(set(numbers(client))) >= count, 60, f"{count} different events")
        return numbers(client)
