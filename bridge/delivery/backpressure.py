"""Backpressure: sources pause while a queue of theirs, or Redis itself, is full, and go on once workers have made room.

A source that pauses has a batch that is not written yet: its window fills, it stops reading, and its broker keeps what
comes. It pauses before Redis is full, because at `maxmemory` Dramatiq's workers can't even acknowledge.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Collection
from typing import Final

from bridge.backoff import Backoff
from bridge.config import Dramatiq
from bridge.errors import SinkUnavailable
from bridge.model.batch import Written
from bridge.observe.logs import LogThrottle, logger
from bridge.sink import RedisSink
from bridge.sink.health import SinkHealth

log = logger()
#: How often a source that waits has its queues looked at, in seconds.
_QUEUES_S: Final = 0.5
#: How often memory is looked at: with `maxmemory` set, and without, where somebody may set it.
_MEMORY_S: Final = 1.0
_NO_BOUND_S: Final = 30.0
#: Redis grows by less than so many bytes for each one sent: 1.2 to 1.7, and more only while a table doubles (observed).
_GROWTH: Final = 3
#: Memory is free again so many points of `maxmemory` below the share, or after so long below the share itself: what
#: else is in this Redis may keep it from ever falling further.
_POINTS: Final = 5
_STEADY_S: Final = 5.0
#: As a writer that `SinkHealth` knows; no source has such a name.
_WHO: Final = "*"


class Backpressure:
    """What holds writes back, for all sources of a process; `run` has to be running.

    A source exceeds a bound by one batch at most.
    """

    def __init__(self, config: Dramatiq, sink: RedisSink, state: SinkHealth) -> None:
        self._limits = config.max_queue_depth or {}
        self._share = config.max_memory
        self._sink = sink
        self._state = state
        #: Queues that have room. What is neither here nor in `_depths` was not looked at yet.
        self._open: set[str] = set()
        #: Queues that were full: their depth when last seen.
        self._depths: dict[str, int] = {}
        #: Bytes that may be written before memory is looked at again.
        self._room = math.inf if self._share is None else 0.0
        self._used = self._most = 0
        self._full = self._blind = False
        self._below_since: float | None = None
        self._memory_s = _MEMORY_S
        self._waiting: list[tuple[str, Collection[str]]] = []
        self._wake = asyncio.Event()
        self._looked = asyncio.Event()
        self._throttle = LogThrottle()
        self._said: set[str] = set()

    async def admit(self, source: str, queues: Collection[str]) -> None:
        """Return once `source` may write to all of `queues`: at once, unless one of them or Redis is full."""
        if self._admits(queues):
            return
        waiter = (source, queues)
        self._waiting.append(waiter)
        self._wake.set()
        try:
            while not self._admits(queues):
                await self._looked.wait()
        finally:
            self._waiting.remove(waiter)

    def holds(self, source: str) -> bool:
        """Whether `source` has to wait now."""
        return any(waiting == source for waiting, _ in self._waiting)

    def written(self, written: Written) -> None:
        """Take note of a write."""
        self._room -= _GROWTH * written.size
        if self._limits:
            for queue, length in written.lengths.items():
                if length >= self._limit(queue):
                    self._open.discard(queue)
                    self._depths[queue] = length

    async def run(self) -> None:
        """Look at the queues that sources wait for, and at Redis's memory, for ever."""
        backoff = Backoff(first_s=0.05, max_s=2.0)
        while True:
            self._wake.clear()
            try:
                await self._look()
            except SinkUnavailable as error:
                wait = backoff.next(denied=error.denied)
                self._state.lost(_WHO, error.cause, wait)
                await asyncio.sleep(wait)
                continue
            backoff.reset()
            self._state.found(_WHO)
            self._looked.set()
            self._looked = asyncio.Event()
            self._tell()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s()):
                    await self._wake.wait()

    def _admits(self, queues: Collection[str]) -> bool:
        return self._room > 0 and (not self._limits or self._open.issuperset(queues))

    def _limit(self, queue: str) -> float:
        """Return the bound of a queue; its delayed messages are a list of their own, with the same one."""
        return self._limits.get(queue.removesuffix(".DQ"), self._limits.get("*", math.inf))

    def _pause_s(self) -> float | None:
        if self._waiting:
            return _QUEUES_S
        return None if self._share is None else self._memory_s

    async def _look(self) -> None:
        if self._share is not None:
            await self._look_at_memory(self._share)
        if self._limits:
            for queue in {queue for _, queues in self._waiting for queue in queues} - self._open:
                await self._look_at(queue)

    async def _look_at(self, queue: str) -> None:
        limit = self._limit(queue)
        depth = 0 if limit == math.inf else await self._sink.length(queue)
        full = depth > limit * 4 // 5 if queue in self._depths else depth >= limit
        if full:
            self._depths[queue] = depth
        else:
            self._depths.pop(queue, None)
            self._open.add(queue)
            self._tell_end(queue, queue=queue, depth=depth)

    async def _look_at_memory(self, share: int) -> None:
        try:
            memory = await self._sink.memory()
        except PermissionError as error:
            self._memory_s, self._room, self._full = _NO_BOUND_S, math.inf, False
            if not self._blind:
                self._blind = True
                log.warning("sink.memory_unknown", cause=str(error))
            return
        self._used, self._most = memory.used, memory.most * share // 100
        was_full, self._full = self._full, memory.most > 0 and self._is_full(memory.most * _POINTS // 100)
        self._memory_s = _MEMORY_S if memory.most else _NO_BOUND_S
        self._room = (self._most - self._used if memory.most else math.inf) if not self._full else 0.0
        if was_full and not self._full:
            self._tell_end("", memory=self._used, limit=self._most)

    def _is_full(self, margin: int) -> bool:
        if self._used >= self._most:
            self._below_since = None
            return True
        if not self._full:
            return False
        now = asyncio.get_running_loop().time()
        self._below_since = self._below_since or now
        return self._used >= self._most - margin and now - self._below_since < _STEADY_S

    def _tell(self) -> None:
        """Name the sources that wait, now and then while it lasts."""
        for source, queues in self._waiting:
            if self._full:
                self._tell_begin(source, "", memory=self._used, limit=self._most)
            for queue in queues:
                if queue in self._depths:
                    self._tell_begin(
                        source, queue, queue=queue, depth=self._depths[queue], limit=int(self._limit(queue))
                    )

    def _tell_begin(self, source: str, what: str, **fields: str | int) -> None:
        suppressed = self._throttle.allow(source, what)
        if suppressed is not None:
            log.warning("sink.pressure", source=source, **fields, repeated=suppressed)
            self._said.add(what)

    def _tell_end(self, what: str, **fields: str | int) -> None:
        if what in self._said:
            self._said.remove(what)
            log.info("sink.pressure_ended", **fields)
