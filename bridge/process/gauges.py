"""The measurements that a process makes for the admin server alone, again and again; without it none is made."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection
from typing import Final, NoReturn

from bridge.errors import SinkUnavailable
from bridge.model.state import QueueState
from bridge.sink import Sink
from bridge.sink.health import SinkHealth

#: How often a write is probed, so that a sink that refuses writes is found while no event comes.
_PROBE_INTERVAL_S: Final = 5.0
_QUEUES_INTERVAL_S: Final = 2.0
#: The writer of the probe, as SinkHealth knows it; no source has such a name.
_PROBE: Final = "*probe"
#: How late a sleep ends, this often; the longest of the last ones counts.
_LAG_INTERVAL_S: Final = 0.25
_LAG_SAMPLES: Final = 60


class Gauges:
    """Measures the delay of the event loop, and whether the sink takes writes; of each of `queues` the messages."""

    def __init__(self, sink: Sink, health: SinkHealth, queues: Callable[[], Collection[str]]) -> None:
        #: None until they were asked for the first time.
        self.queues: dict[str, QueueState] | None = None
        self.queues_cause = ""
        self._sink = sink
        self._health = health
        self._names = queues
        self._lags: deque[float] = deque([0.0], maxlen=_LAG_SAMPLES)

    @property
    def lag_s(self) -> float:
        """The longest delay of the last quarter of a minute, in seconds."""
        return max(self._lags)

    async def run(self) -> None:
        """Measure for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._measure_lag(), name="gauges:lag")
            group.create_task(self._probe(), name="gauges:probe")
            group.create_task(self._ask_queues(), name="gauges:queues")

    async def _measure_lag(self) -> NoReturn:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _LAG_INTERVAL_S
            await asyncio.sleep(_LAG_INTERVAL_S)
            self._lags.append(max(0.0, loop.time() - due))

    async def _probe(self) -> NoReturn:
        while True:
            await self._health.retry_until_available(_PROBE, self._sink.probe)
            await asyncio.sleep(_PROBE_INTERVAL_S)

    async def _ask_queues(self) -> NoReturn:
        while True:
            try:
                self.queues = {name: await self._sink.queue_state(name) for name in self._names()} or None
                self.queues_cause = ""
            except (SinkUnavailable, PermissionError) as error:
                # What was known is no longer true.
                self.queues, self.queues_cause = None, str(error)
            await asyncio.sleep(_QUEUES_INTERVAL_S)
