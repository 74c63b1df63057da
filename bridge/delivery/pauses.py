"""Routes that a person has paused: a batch with a message of one waits, and its source behind it, until it is resumed."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from bridge.observe.logs import RepeatedLog, logger

log = logger()


class RoutePauses:
    """The paused routes, for all sources of a process; it outlives a sink that is replaced."""

    def __init__(self) -> None:
        self._names: frozenset[str] = frozenset()
        self._holding: list[str] = []
        self._changed = asyncio.Event()
        self._repeated = RepeatedLog()

    @property
    def names(self) -> frozenset[str]:
        """The names of the paused routes."""
        return self._names

    def set(self, names: Collection[str]) -> None:
        """Let these routes be paused, and no others."""
        self._names = frozenset(names)
        self._repeated.take()  # a line that was suppressed would name routes that are not paused any more
        self.wake()

    def wake(self) -> None:
        """Let each that waits look again: its source stops."""
        self._changed.set()
        self._changed = asyncio.Event()

    def holds(self, source: str) -> bool:
        """Whether a batch of `source` waits now."""
        return source in self._holding

    async def wait(self, source: str, held: Collection[str]) -> None:
        """Return once something has changed; `held` are the paused routes that the batch of `source` has messages of."""
        self._repeated.write(
            source, log.info, "route.holds", source=source, routes=sorted(held), cause="the route is paused: resume it"
        )
        self._holding.append(source)
        try:
            await self._changed.wait()
        finally:
            self._holding.remove(source)
