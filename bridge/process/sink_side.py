"""The sink of a process, with everything that watches it. A change of `dramatiq` or `dead_letters` makes a new one."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from bridge.config import Config
from bridge.delivery import tasks
from bridge.delivery.backpressure import Backpressure
from bridge.delivery.pauses import RoutePauses
from bridge.delivery.sink_context import SinkContext
from bridge.delivery.sink_promise import SinkPromise
from bridge.model.state import Histogram
from bridge.observe.logs import logger
from bridge.process.gauges import Gauges
from bridge.routing.redaction import Redaction
from bridge.sink import RedisSink
from bridge.sink.attempts import RedisAttempts
from bridge.sink.health import SinkHealth

log = logger()
#: How long its tasks may take to end, and its connections to close.
_CANCEL_S: Final = 1.0
_CLOSE_S: Final = 2.0


class SinkSide:
    """The sink that `config` describes; `reached` is set once it has taken a write.

    The numbers of the sink `before` it go on. `gauges` measure for the admin server; None without one.
    """

    def __init__(self, config: Config, pauses: RoutePauses, *, first: bool, before: SinkSide | None = None) -> None:
        dramatiq = self._dramatiq = config.dramatiq
        self._first = first
        self.sink = RedisSink(dramatiq, config.dead_letters, Redaction.of(config))
        health = SinkHealth()
        health.require_probe()
        backpressure = Backpressure(dramatiq, self.sink, health, processes=config.processes)
        attempts = RedisAttempts(self.sink.connections, dramatiq.namespace)
        self._before = before
        writes = Histogram() if before is None else before.context.writes
        self.context: SinkContext = SinkContext(self.sink, attempts, health, backpressure, pauses, writes)
        #: The queues of the routes; of several processes the first one asks for all.
        self.queues = _queues(config) if first else []
        self.gauges = Gauges(self.sink, health, lambda: self.queues) if config.admin is not None else None
        self.promise = SinkPromise(
            self.sink,
            evicting_allowed=dramatiq.allow_eviction,
            max_size=config.dead_letters.max_size,
            first=first,
            queues=lambda: self.queues,
            counts_queues=config.admin is not None,
        )
        self.reached = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, group: asyncio.TaskGroup) -> None:
        """Start its tasks."""
        if self._before is not None:
            self.context.health.retries += self._before.context.health.retries
            self._before = None
        self._tasks = [
            tasks.start(group, self.context.backpressure.run(), "bridge:backpressure"),
            tasks.start(group, self.promise.run(), "bridge:sink-promise"),
            tasks.start(group, self._reach(), "bridge:sink"),
        ]
        if self.gauges is not None:
            self._tasks.append(tasks.start(group, self.gauges.run(), "bridge:gauges"))

    def reroute(self, config: Config) -> None:
        """Take note of the queues of other routes, and of the formats of other sources."""
        self.sink.redaction = Redaction.of(config)
        if self._first:
            self.queues = _queues(config)

    async def end(self) -> None:
        """End its tasks."""
        await tasks.cancel(self._tasks, within_s=_CANCEL_S)

    async def close(self) -> None:
        """Close its connections; only once nothing else uses it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await self.sink.close()

    async def _reach(self) -> None:
        """Log that the sink takes writes."""
        # A write: a Redis that refuses or delays writes, a Sentinel, and a replica answer PING as well.
        await self.context.health.retry_until_available("", self.sink.probe)
        log.info("sink.connected", url=self._dramatiq.redacted_url, namespace=self._dramatiq.namespace)
        self.reached.set()


def _queues(config: Config) -> list[str]:
    """Return the queues of the routes."""
    return sorted({queue for route in config.routes for queue in route.queues})
