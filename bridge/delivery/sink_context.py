"""The sink, and everything that delivering to it needs to know; shared by all sources of a process."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final

from bridge.delivery.backpressure import Backpressure
from bridge.delivery.pauses import RoutePauses
from bridge.delivery.poison import Attempts
from bridge.model.state import Histogram, SinkState
from bridge.sink import Sink
from bridge.sink.health import SinkHealth

#: How soon a source notices the end of backpressure, or of a pause, for which it waits.
_BACKPRESSURE_INTERVAL_S: Final = 0.5


@dataclass(slots=True, frozen=True)
class SinkContext:
    """The sink, its health, the backpressure before it, the counter of attempts, and the paused routes."""

    sink: Sink
    attempts: Attempts
    health: SinkHealth
    backpressure: Backpressure
    pauses: RoutePauses = field(default_factory=RoutePauses)
    #: The durations of confirmed writes.
    writes: Histogram = field(default_factory=Histogram)

    def state(self, unready: str) -> SinkState:
        """Return how the sink stands; `unready` is that of its promise."""
        available = self.health.all_available
        cause = "" if available else self.health.cause or "no write has been tried yet"
        return SinkState(available, cause, unready, self.health.retries, self.writes.copy())

    def holds(self, source: str) -> bool:
        """Whether a batch of `source` has to wait, though the sink takes writes."""
        return self.backpressure.holds(source) or self.pauses.holds(source)


@dataclass(slots=True, frozen=True)
class SinkAvailability:
    """The part of it that a source may know: implements `bridge.sources.contract.SinkWatch`."""

    context: SinkContext
    source: str

    @property
    def available(self) -> bool:
        """Whether the source's last write succeeded, and neither backpressure nor a paused route holds one back."""
        context = self.context
        return context.health.is_available(self.source) and not context.holds(self.source)

    async def wait(self) -> None:
        """Return once the sink is available."""
        while not self.available:
            await self.context.health.wait_until_available(self.source)
            if self.context.holds(self.source):
                await asyncio.sleep(_BACKPRESSURE_INTERVAL_S)
