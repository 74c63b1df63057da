"""The watchdog: a source with something to move has to move it.

Everything that can hang has a deadline of its own. This is for the cases that nobody thought of: a source that holds
events and acknowledges none, though the sink takes writes, gets a new connection; if that does not help, the
bridge stops feeding the service manager's watchdog, which restarts it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from bridge.observe.logs import logger
from bridge.process.clock import StallDetector

log = logger()


class Watched(Protocol):
    """A source, as the watchdog sees it."""

    name: str

    @property
    def progress(self) -> int:
        """A number that changes with each batch, or part of one, that is finished; any change is progress."""
        ...

    @property
    def has_pending_work(self) -> bool:
        """True if events are pending and neither the sink nor backpressure explains the wait."""
        ...

    def reconnect(self, cause: str) -> None:
        """End the connection, so that a new one is made."""
        ...


@dataclass(slots=True)
class _Observation:
    """The progress of a source when last seen, since when that is so, and how often it was reconnected meanwhile."""

    progress: int = -1
    since: float = 0.0
    reconnects: int = 0


class Watchdog:
    """Reconnects a source that does not move for `stuck_after_s` seconds; the source is `stuck` if that does not help."""

    def __init__(self, sources: Sequence[Watched], stuck_after_s: float) -> None:
        self._observations = [(source, _Observation()) for source in sources]
        self._stuck_after_s = stuck_after_s

    def add(self, source: Watched) -> None:
        """Watch `source` too."""
        self._observations.append((source, _Observation()))

    def watch(self, sources: Sequence[Watched], stuck_after_s: float) -> None:
        """Watch these and no others from now on; of those that stay it remembers what it saw."""
        known = {id(source): observation for source, observation in self._observations}
        self._observations = [(source, known.get(id(source)) or _Observation()) for source in sources]
        self._stuck_after_s = stuck_after_s

    @property
    def stuck(self) -> list[str]:
        """The names of the sources that a new connection has not helped."""
        return [source.name for source, observation in self._observations if observation.reconnects > 1]

    async def run(self) -> None:
        """Watch the sources, for ever."""
        loop = asyncio.get_running_loop()
        stall = StallDetector()
        stalled_s = 0.0
        while True:
            now = loop.time()
            for source, observation in self._observations:
                # No source could move while nothing ran. Only that time counts for none: stalls may come again and again.
                observation.since = min(now, observation.since + stalled_s)
                self._check(source, observation, now)
            stalled_s = await stall.sleep()

    def _check(self, source: Watched, observation: _Observation, now: float) -> None:
        if source.progress != observation.progress:
            if observation.reconnects:
                log.info("source.moves_again", source=source.name)
            observation.progress, observation.since, observation.reconnects = source.progress, now, 0
        elif not source.has_pending_work:
            observation.since = now
        elif now - observation.since >= self._stuck_after_s:
            observation.since = now
            observation.reconnects += 1
            cause = f"nothing has moved for {self._stuck_after_s:g} s, though there is something to move"
            log.error("source.stuck", source=source.name, cause=cause, healthy=observation.reconnects < 2)
            source.reconnect(cause)
