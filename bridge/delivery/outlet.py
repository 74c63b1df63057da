"""Where the batches of all of a process's sources go."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final, Protocol

from bridge.delivery.backpressure import Backpressure
from bridge.delivery.poison import Attempts
from bridge.model.batch import Batch, Written
from bridge.sink.health import SinkHealth

#: How soon a source that waits for room notices that there is some.
_HELD_AGAIN_S: Final = 0.5


class Sink(Protocol):
    """Where batches are written."""

    async def probe(self) -> None:
        """Return if it takes writes, or raise SinkUnavailable."""
        ...

    async def write(self, batch: Batch) -> Written:
        """Write everything, or raise SinkUnavailable; safe to call again with the same batch."""
        ...


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
        return self.outlet.state.takes(self.source) and not self.outlet.pressure.holds(self.source)

    async def wait(self) -> None:
        """Return once it is available."""
        while not self.available:
            await self.outlet.state.wait(self.source)
            if self.outlet.pressure.holds(self.source):
                await asyncio.sleep(_HELD_AGAIN_S)
