"""Where the batches of all of a process's sources go."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from bridge.delivery.backpressure import Backpressure
from bridge.delivery.poison import Attempts
from bridge.sink import Sink
from bridge.sink.health import SinkHealth

#: How soon a source that waits for room notices that there is some.
_HELD_AGAIN_S: Final = 0.5


@dataclass(slots=True, frozen=True)
class SinkContext:
    """Where a process's batches go: the sink, what is known of it, what holds writes back, and who counts attempts."""

    sink: Sink
    attempts: Attempts
    state: SinkHealth
    pressure: Backpressure


@dataclass(slots=True, frozen=True)
class SinkAvailability:
    """What a source may know of its outlet: see `bridge.sources.contract.SinkWatch`."""

    outlet: SinkContext
    source: str

    @property
    def available(self) -> bool:
        """Whether the source's last write has succeeded, and none is held back."""
        return self.outlet.state.is_available(self.source) and not self.outlet.pressure.holds(self.source)

    async def wait(self) -> None:
        """Return once it is available."""
        while not self.available:
            await self.outlet.state.wait_until_available(self.source)
            if self.outlet.pressure.holds(self.source):
                await asyncio.sleep(_HELD_AGAIN_S)
