"""Backpressure: sources pause while a queue of theirs, or Redis itself, is full, and go on once workers have made room.

A source that pauses has a batch that is not written yet: its window fills, it stops reading, and its broker keeps the
events that follow. It pauses before Redis is full, because at `maxmemory` Dramatiq's workers can't even acknowledge.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import defaultdict
from collections.abc import Collection, Iterator
from typing import Any, Final

from bridge.config import Dramatiq
from bridge.model.batch import Batch, Written
from bridge.observe.logs import RepeatedLog, logger
from bridge.sink import Sink
from bridge.sink.health import SinkHealth

log = logger()
#: How often the queues that a source waits for are checked, in seconds.
_QUEUES_INTERVAL_S: Final = 0.5
#: How often memory is checked: with `maxmemory` set, and without, where an operator may set it.
_MEMORY_INTERVAL_S: Final = 1.0
_UNBOUNDED_MEMORY_INTERVAL_S: Final = 30.0
#: Redis grows by less than this many bytes for each one sent: 1.0 to 1.7, and more only while a table doubles (7.0 and
#: 8.0, observed; `enqueue.lua` frees the arguments of a large batch).
_BYTES_PER_BYTE_SENT: Final = 3
#: Hysteresis: resume 5 points of `maxmemory` below the limit, or after 5 s below the limit, because other keys may keep
#: Redis near it for ever.
_HYSTERESIS_PERCENT: Final = 5
_STEADY_S: Final = 5.0
#: Writer name of the memory check in `SinkHealth`; "*" can't collide with a source's name.
_MEMORY_MONITOR: Final = "*"


class Backpressure:
    """Holds writes back, for all sources of a process; `run` has to be running.

    A source exceeds the bound of a queue by one batch at most, and all sources of a process that of memory by one together.
    Each of `processes` takes its part of the memory that is free.
    """

    def __init__(self, config: Dramatiq, sink: Sink, health: SinkHealth, *, processes: int = 1) -> None:
        self._limits = config.max_queue_depth or {}
        self._memory_share = config.max_memory
        self._sink = sink
        self._health = health
        #: Queues that have room. A queue that is neither here nor in `_depths` was not checked yet.
        self._open: set[str] = set()
        #: Queues that were full: their depth when last checked.
        self._depths: dict[str, int] = {}
        self._processes = processes
        #: Bytes that may be written before memory is checked again, and those that are being written.
        self._room = math.inf if self._memory_share is None else 0.0
        self._reserved = 0
        self._used = self._max_used = 0
        self._full = False
        self._below_since: float | None = None
        self._memory_interval_s = _MEMORY_INTERVAL_S
        self._waiting: list[tuple[str, Collection[str]]] = []
        self._wake = asyncio.Event()
        self._checked = asyncio.Event()
        #: The lines of each queue's pressure; "" is memory.
        self._lines: defaultdict[str, RepeatedLog] = defaultdict(RepeatedLog)
        #: The queues whose pressure was logged.
        self._logged: set[str] = set()

    async def admit(self, source: str, queues: Collection[str]) -> None:
        """Return once `source` may write to all of `queues`: at once, unless one of them or Redis is full."""
        if self._admits(queues):
            return
        waiter = (source, queues)
        self._waiting.append(waiter)
        self._wake.set()
        try:
            while not self._admits(queues):
                await self._checked.wait()
        finally:
            self._waiting.remove(waiter)

    def holds(self, source: str) -> bool:
        """Whether `source` has to wait now."""
        return any(waiting == source for waiting, _ in self._waiting)

    def cause(self, source: str) -> str:
        """Return why `source` has to wait now; "" if it has not."""
        queues = next((queues for waiting, queues in self._waiting if waiting == source), None)
        if queues is None:
            return ""
        full = [
            f"queue {queue} has {self._depths[queue]} of {self._limit(queue):.0f} messages (max_queue_depth)"
            for queue in queues
            if queue in self._depths
        ]
        if self._full or not full:
            full.append(f"Redis uses {self._used} of {self._max_used} bytes (max_memory)")
        return " and ".join(full)

    @contextlib.contextmanager
    def writing(self, batch: Batch) -> Iterator[None]:
        """Keep room in Redis's memory for `batch` while it is written."""
        size = 0 if self._room == math.inf else _BYTES_PER_BYTE_SENT * batch.size
        self._reserved += size
        try:
            yield
        finally:
            self._reserved -= size
            if size and self._waiting:
                self._wake.set()

    def written(self, written: Written) -> None:
        """Take note of a write."""
        self._room -= _BYTES_PER_BYTE_SENT * written.size
        if self._limits:
            for queue, length in written.lengths.items():
                if length >= self._limit(queue):
                    self._open.discard(queue)
                    self._depths[queue] = length

    async def run(self) -> None:
        """Check the queues that sources wait for, and Redis's memory, for ever."""
        while True:
            self._wake.clear()
            await self._health.retry_until_available(_MEMORY_MONITOR, self._check)
            self._checked.set()
            self._checked = asyncio.Event()
            self._log_waiting()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval_s()):
                    await self._wake.wait()

    def _admits(self, queues: Collection[str]) -> bool:
        return self._room > self._reserved and (not self._limits or self._open.issuperset(queues))

    def _limit(self, queue: str) -> float:
        """Return the bound of a queue; its delayed messages are a list of their own, with the same bound."""
        return self._limits.get(queue.removesuffix(".DQ"), self._limits.get("*", math.inf))

    def _interval_s(self) -> float | None:
        if self._waiting:
            return _QUEUES_INTERVAL_S
        return None if self._memory_share is None else self._memory_interval_s

    async def _check(self) -> None:
        if self._memory_share is not None:
            await self._check_memory(self._memory_share)
        if self._limits:
            for queue in {queue for _, queues in self._waiting for queue in queues} - self._open:
                await self._check_queue(queue)

    async def _check_queue(self, queue: str) -> None:
        limit = self._limit(queue)
        depth = 0 if limit == math.inf else await self._sink.queue_length(queue)
        full = depth > limit * 4 // 5 if queue in self._depths else depth >= limit
        if full:
            self._depths[queue] = depth
        else:
            self._depths.pop(queue, None)
            self._open.add(queue)
            self._log_end(queue, queue=queue, depth=depth)

    async def _check_memory(self, share: int) -> None:
        room = self._room
        try:
            memory = await self._sink.memory()
        except PermissionError:  # `SinkPromise` says it
            was_full, self._full = self._full, False
            self._memory_interval_s, self._room, self._below_since = _UNBOUNDED_MEMORY_INTERVAL_S, math.inf, None
            if was_full:
                self._log_end("", memory=self._used, limit=self._max_used)
            return
        self._used, self._max_used = memory.used, memory.limit * share // 100
        was_full, self._full = self._full, memory.limit > 0 and self._is_full(memory.limit * _HYSTERESIS_PERCENT // 100)
        self._memory_interval_s = _MEMORY_INTERVAL_S if memory.limit else _UNBOUNDED_MEMORY_INTERVAL_S
        # Redis may have answered before the writes that ended meanwhile.
        written = 0 if self._room == math.inf else room - self._room
        room = (self._max_used - self._used) / self._processes - written if memory.limit else math.inf
        self._room = 0.0 if self._full else room
        if was_full and not self._full:
            self._log_end("", memory=self._used, limit=self._max_used)

    def _is_full(self, margin: int) -> bool:
        if self._used >= self._max_used:
            self._below_since = None
            return True
        if not self._full:
            return False
        now = asyncio.get_running_loop().time()
        self._below_since = self._below_since or now
        return self._used >= self._max_used - margin and now - self._below_since < _STEADY_S

    def _log_waiting(self) -> None:
        """Name the sources that wait, now and then while it lasts."""
        for source, queues in self._waiting:
            if self._full:
                self._log_begin(source, "", memory=self._used, limit=self._max_used)
            for queue in queues:
                if queue in self._depths:
                    self._log_begin(
                        source, queue, queue=queue, depth=self._depths[queue], limit=int(self._limit(queue))
                    )

    def _log_begin(self, source: str, subject: str, **fields: Any) -> None:
        self._lines[subject].write(
            source,
            self._say_pressure,
            "sink.pressure",
            is_change=subject not in self._logged,
            source=source,
            subject=subject,
            **fields,
        )

    def _say_pressure(self, event: str, *, subject: str, repeated: int, **fields: str | int) -> None:
        if self._full if subject == "" else subject in self._depths:
            self._logged.add(subject)
            log.warning(event, **fields, repeated=repeated)
        else:
            # The newest of those that were suppressed is over.
            log.info("sink.pressure_ended", source=fields["source"], queue=subject or None, repeated=repeated + 1)

    def _log_end(self, subject: str, **fields: str | int) -> None:
        if subject in self._logged:
            self._logged.remove(subject)
            self._lines[subject].take()  # they said no more than the line before them
            log.info("sink.pressure_ended", **fields)
