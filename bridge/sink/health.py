"""Whether the sink takes writes, as its writers see it."""

from __future__ import annotations

import asyncio

from bridge.observe.logs import LogThrottle, logger

log = logger()


class SinkHealth:
    """What the last write of each writer came to: said when it changes, and now and then while it lasts."""

    def __init__(self) -> None:
        self._failing: set[str] = set()
        self._said = False
        self._throttle = LogThrottle()
        self._found = asyncio.Event()

    def lost(self, who: str, cause: str, retry_in_s: float) -> None:
        """A write of `who` has failed; the next attempt follows after `retry_in_s`."""
        suppressed = self._throttle.allow("lost", cause)
        if suppressed is not None:
            log.error("sink.unavailable", cause=cause, retry_in=round(retry_in_s, 2), repeated=suppressed)
            self._said = True
        self._failing.add(who)

    def found(self, who: str) -> None:
        """A write of `who` has succeeded; the sink has recovered once everybody's has."""
        if who in self._failing:
            self._failing.remove(who)
            self._found.set()
            if not self._failing and self._said:
                self._said = False
                log.info("sink.recovered")

    def takes(self, who: str) -> bool:
        """Whether the last write of `who` has succeeded; others' failures may be their own, of a key or a permission."""
        return who not in self._failing and "" not in self._failing

    async def wait(self, who: str) -> None:
        """Return once it takes the writes of `who`."""
        while not self.takes(who):
            self._found.clear()
            await self._found.wait()
