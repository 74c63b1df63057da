"""Eviction: a Redis that deletes keys when it is full, messages among them (`maxmemory-policy`)."""

from __future__ import annotations

import asyncio
from typing import Final

from bridge.errors import SinkUnavailable
from bridge.observe.logs import logger
from bridge.sink import Memory, Sink
from bridge.sink.memory import Evicts

log = logger()
_CHECK_INTERVAL_S: Final = 10.0
_CAUSE: Final = (
    "the dramatiq Redis deletes messages when it is full (maxmemory-policy {policy}): set noeviction there,"
    " or dramatiq: {{allow_eviction: true}} here"
)


class EvictionWatch:
    """Logs the sink's policy where it takes something from the promise, at the start and when it changes.

    `unready` says why the bridge is not ready, "" where it may be. A sink that evicts messages is not ready to take any,
    unless `allowed`.
    """

    def __init__(self, sink: Sink, *, allowed: bool) -> None:
        self.unready = ""
        self._sink = sink
        self._allowed = allowed
        self._known: tuple[str, Evicts] | None = None
        self._tolerable = asyncio.Event()

    async def run(self) -> None:
        """Check for ever; the sink's own faults are said by its writers."""
        while True:
            try:
                self._check(await self._sink.memory())
            except PermissionError:
                self._tolerable.set()  # `Backpressure` says that its memory is unknown
            except SinkUnavailable:
                pass
            await asyncio.sleep(_CHECK_INTERVAL_S if self._tolerable.is_set() else 1.0)

    async def wait_tolerable(self) -> None:
        """Return once the policy is known, and none that the bridge is not ready with."""
        await self._tolerable.wait()

    def _check(self, memory: Memory) -> None:
        is_evicting = memory.evicts is Evicts.MESSAGES and not self._allowed
        self.unready = _CAUSE.format(policy=memory.policy) if is_evicting else ""
        (self._tolerable.clear if is_evicting else self._tolerable.set)()
        before, self._known = self._known, (memory.policy, memory.evicts)
        if self._known == before:
            return
        if memory.evicts is Evicts.MESSAGES:
            log.error("sink.evicts", policy=memory.policy, cause=_CAUSE.format(policy=memory.policy))
        elif memory.evicts is Evicts.OWN_KEYS:
            cause = (
                "when it is full, Redis deletes what the bridge remembers of written events:"
                " one that is delivered again may be written again"
            )
            log.warning("sink.evicts", policy=memory.policy, cause=cause)
        elif before is not None and before[1] is not Evicts.NOTHING:
            log.info("sink.evicts_nothing", policy=memory.policy)
