"""The watchdog: a source with something to move has to move it.

Everything that can hang has a deadline of its own. This is for what nobody thought of: a source that holds
events and settles none, though the sink takes writes, gets a new connection; if that does not help, the
bridge is not healthy, and the service manager, which is not told otherwise any more, starts it anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from bridge.observe.logs import logger

log = logger()
_LOOK_EVERY_S: Final = 1.0


class Watched(Protocol):
    """A source, as the watchdog sees it."""

    name: str

    @property
    def moved(self) -> int:
        """How many batches have been finished; any change is progress."""
        ...

    @property
    def due(self) -> bool:
        """Whether there is something to move, and nothing that it rightly waits for."""
        ...

    def rebuild(self, cause: str) -> None:
        """End the connection, so that a new one is made."""
        ...


@dataclass(slots=True)
class _Look:
    """What was seen of a source, when its last progress was, and how often it was rebuilt since."""

    moved: int = -1
    since: float = 0.0
    rebuilt: int = 0


class Watchdog:
    """Rebuilds a source that does not move for `stuck_after_s`; it is `stuck` if that was in vain."""

    def __init__(self, sources: Sequence[Watched], stuck_after_s: float) -> None:
        self._looks = [(source, _Look()) for source in sources]
        self._stuck_after_s = stuck_after_s

    def add(self, source: Watched) -> None:
        """Look after `source` too."""
        self._looks.append((source, _Look()))

    @property
    def stuck(self) -> list[str]:
        """The names of the sources that a new connection has not helped."""
        return [source.name for source, look in self._looks if look.rebuilt > 1]

    async def run(self) -> None:
        """Look after the sources, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            for source, look in self._looks:
                self._look(source, look, loop.time())
            await asyncio.sleep(_LOOK_EVERY_S)

    def _look(self, source: Watched, look: _Look, now: float) -> None:
        if source.moved != look.moved:
            if look.rebuilt:
                log.info("source.moves_again", source=source.name)
            look.moved, look.since, look.rebuilt = source.moved, now, 0
        elif not source.due:
            look.since = now
        elif now - look.since >= self._stuck_after_s:
            look.since = now
            look.rebuilt += 1
            cause = f"nothing has moved for {self._stuck_after_s:g} s, though there is something to move"
            log.error("source.stuck", source=source.name, cause=cause, healthy=look.rebuilt < 2)
            source.rebuild(cause)
