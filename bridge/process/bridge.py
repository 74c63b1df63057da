"""One process of the bridge: starts its pipelines and their helpers, and stops them.

It owns the task group. A task that dies of anything but a disconnection ends the process,
loudly: the parent, or else the service manager, starts it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bridge import sources
from bridge.config import Config
from bridge.delivery import tasks
from bridge.delivery.backpressure import Backpressure
from bridge.delivery.event_log import EventLog
from bridge.delivery.pipeline import SourcePipeline
from bridge.delivery.sink_context import SinkAvailability, SinkContext
from bridge.delivery.sink_promise import SinkPromise
from bridge.model.accounting import Counts
from bridge.model.state import ProcessState
from bridge.observe.logs import RepeatedLog, is_debug, logger
from bridge.process.event_loop import tune
from bridge.process.gauges import Gauges
from bridge.process.watchdog import Watchdog
from bridge.routing import router
from bridge.routing.compiler import compile_routes
from bridge.routing.routes import RouteTable
from bridge.sink import RedisSink
from bridge.sink.attempts import RedisAttempts
from bridge.sink.health import SinkHealth
from bridge.sources.contract import Source
from bridge.sources.promise import promise
from bridge.spool import SpoolDirectory

log = logger()
#: A source that holds events and acknowledges none for this long, beyond the time that two writes may take, is stuck.
_STUCK_S: Final = 10.0
#: How long each of the rest may take at a stop: the helpers, the spool's directory, the sink.
_CANCEL_S: Final = 1.0
_CLOSE_SPOOL_S: Final = 2.0
#: The spool may take all of `drain_timeout` that is left, and so much more: before `ending.LEAVE_S` ends the process.
_LATE_CLOSE_S: Final = 3.2
_CLOSE_SINK_S: Final = 2.0


class Bridge:
    """Everything that one process runs; `on_ready` is called once every source is connected and the sink takes writes.

    The `first` process of a bridge also takes over the sessions that processes of an earlier start have orphaned. `tables`
    are the compiled routes of `config`, where the caller has them.
    """

    def __init__(
        self,
        config: Config,
        on_ready: Callable[[], None],
        *,
        first: bool = True,
        tables: dict[str, RouteTable] | None = None,
    ) -> None:
        self._config = config
        self._on_ready = on_ready
        self._first = first
        self._tables = tables or compile_routes(config)[0]  # `load` has checked them
        dramatiq = config.dramatiq
        self._sink = RedisSink(dramatiq, config.dead_letters)
        health = SinkHealth()
        health.require_probe()
        backpressure = Backpressure(dramatiq, self._sink, health, processes=config.processes)
        attempts = RedisAttempts(self._sink.connections, dramatiq.namespace)
        self._context = SinkContext(self._sink, attempts, health, backpressure)
        self._event_log = EventLog(config) if is_debug() else None
        self._pipelines = [self._pipeline(name, name) for name in config.sources]
        self._sink_promise = SinkPromise(
            self._sink,
            evicting_allowed=dramatiq.allow_eviction,
            max_size=config.dead_letters.max_size,
            first=first,
        )
        self._gauges = Gauges(self._sink, health, self._queues) if config.admin is not None else None
        self._watchdog = Watchdog(self._pipelines, _STUCK_S + 2 * dramatiq.timeout / 1000)
        self._stop = asyncio.Event()
        #: Whether a stop has given every received event its outcome, and the spool is closed.
        self.settled = False
        self._sink_reached = asyncio.Event()
        spool = config.spool
        self._spools = SpoolDirectory(Path(spool.directory), spool.max_size) if spool is not None else None

    async def run(self) -> None:
        """Run until `stop`, and then drain."""
        tune()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self.log_state)
        try:
            await self._open_spools_unless_stopped()
            async with asyncio.TaskGroup() as group:
                helpers = [
                    tasks.start(group, self._watchdog.run(), "bridge:watchdog"),
                    tasks.start(group, self._context.backpressure.run(), "bridge:backpressure"),
                    tasks.start(group, self._sink_promise.run(), "bridge:sink-promise"),
                ]
                if self._gauges is not None:
                    helpers.append(tasks.start(group, self._gauges.run(), "bridge:gauges"))
                for pipeline in self._pipelines:
                    tasks.start(group, pipeline.run(), f"pipeline:{pipeline.name}")
                helpers.append(tasks.start(group, self._announce(), "bridge:ready"))
                taking_over = tasks.start(group, self._take_over_orphans(group), "bridge:orphans")
                await self._stop.wait()
                deadline = asyncio.get_running_loop().time() + self._config.drain_timeout / 1000
                await tasks.cancel([taking_over], within_s=_CANCEL_S)
                await self._drain(deadline)
                self.settled = await self._close_spools(deadline)
                await tasks.cancel(helpers, within_s=_CANCEL_S)
        finally:
            await self._close()

    def stop(self) -> None:
        """Take nothing new, finish the received events, and end."""
        self._stop.set()

    def kill(self) -> None:
        """Do nothing: there are no child processes."""

    def stuck(self) -> list[str]:
        """Return the sources that do not move, and that a new connection has not helped."""
        return self._watchdog.stuck

    def unready(self) -> str:
        """Return why the bridge is not ready though every source moves; "" where nothing is known against it."""
        return self._sink_promise.unready

    def log_state(self) -> None:
        """Log how each source stands, and the process."""
        for pipeline in self._pipelines:
            pipeline.log_state()
        log.info("bridge.state", tasks=len(asyncio.all_tasks()), stuck=self.stuck() or None)

    def snapshot(self) -> ProcessState:
        """Return how the process stands, in one step: all its numbers belong together."""
        stuck = set(self.stuck())
        process = ProcessState(sink=self._context.state(self._sink_promise.unready))
        for pipeline in self._pipelines:
            state = pipeline.state()
            state.stuck = pipeline.name in stuck
            if pipeline.source == pipeline.name:
                process.sources[pipeline.source] = state
            else:
                # An orphaned session is not what makes a source connected.
                state.connected, state.cause = True, ""
                process.sources[pipeline.source].add(state)
        if self._gauges is not None:
            process.lag_s, process.queues_cause = self._gauges.lag_s, self._gauges.queues_cause
            process.queues = self._gauges.queues
        return process

    def counts(self) -> dict[str, Counts]:
        """Return the numbers of each source's events by their fate, until now."""
        total = {name: Counts() for name in self._config.sources}
        for pipeline in self._pipelines:
            total[pipeline.source].add(pipeline.counts)
        return total

    def _queues(self) -> list[str]:
        """Return the queues of the routes; of several processes the first one asks for all."""
        return sorted({route.queue for route in self._config.routes}) if self._first else []

    def _pipeline(self, name: str, source_name: str, source: Source | None = None) -> SourcePipeline:
        config, table = self._config.sources[source_name], self._tables[source_name]
        if source is None:
            available = SinkAvailability(self._context, source_name)
            source = sources.make(source_name, self._config, available)
        guarantee = promise(self._config, config).guarantee
        pipeline = SourcePipeline(name, source, config, router.make(config, table), self._context, guarantee=guarantee)
        pipeline.event_log = self._event_log
        return pipeline

    async def _open_spools_unless_stopped(self) -> None:
        """Open the spools; a stop does not wait while another process still owns the directory, or the disk hangs."""
        if self._spools is None:
            return
        opening = asyncio.create_task(self._open_spools(self._spools), name="bridge:spool")
        stopping = asyncio.create_task(self._stop.wait(), name="bridge:stop")
        await asyncio.wait({opening, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if opening.done():
            opening.result()
        opening.cancel()

    async def _open_spools(self, spools: SpoolDirectory) -> None:
        if await spools.own():
            for pipeline in self._pipelines:
                await pipeline.open_spool(spools)
            spools.log_unclaimed()

    async def _announce(self) -> None:
        """Log that the sink takes writes, and report once every source is connected too."""
        # A write: a Redis that refuses or delays writes, a Sentinel, and a replica answer PING as well.
        await self._context.health.retry_until_available("", self._sink.probe)
        dramatiq = self._config.dramatiq
        log.info("sink.connected", url=dramatiq.redacted_url, namespace=dramatiq.namespace)
        self._sink_reached.set()
        for pipeline in self._pipelines[: len(self._config.sources)]:
            await pipeline.wait_connected()
        await self._sink_promise.wait_tolerable()
        self._on_ready()

    async def _take_over_orphans(self, group: asyncio.TaskGroup) -> None:
        """Run the sessions that an earlier start has orphaned at brokers; nothing waits for them, and a broker may refuse."""
        await self._sink_reached.wait()
        for source_name in self._config.sources if self._first else ():
            orphans = await sources.orphaned_sessions(source_name, self._config)
            for name, source in orphans.items():
                pipeline = self._pipeline(name, source_name, source)
                self._pipelines.append(pipeline)
                self._watchdog.add(pipeline)
                tasks.start(group, pipeline.run(), f"pipeline:{name}")

    async def _drain(self, deadline: float) -> None:
        """Stop every pipeline; each has until `deadline` (the loop's time) to finish the events that it received."""
        loop = asyncio.get_running_loop()
        timer = loop.call_at(deadline, self._log_drain_timed_out)
        try:
            async with asyncio.TaskGroup() as stopping:
                for pipeline in self._pipelines:
                    stopping.create_task(pipeline.stop(deadline))
        finally:
            timer.cancel()

    def _log_drain_timed_out(self) -> None:
        if not all(pipeline.drained for pipeline in self._pipelines):
            log.warning("bridge.drain_timed_out", after=self._config.drain_timeout / 1000)

    async def _close(self) -> None:
        # After a failure nothing has stopped them; after a drain this finds nothing to do.
        now = asyncio.get_running_loop().time()
        await asyncio.gather(*(pipeline.stop(now) for pipeline in self._pipelines))
        await self._close_spools(now)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SINK_S):
                await self._sink.close()
        RepeatedLog.flush_all()

    async def _close_spools(self, deadline: float) -> bool:
        """Close the spools, and count the events that they lose; return whether the disk has answered."""
        spools, self._spools = self._spools, None
        if spools is None:
            return True
        now = asyncio.get_running_loop().time()
        lost = await spools.close(max(deadline, min(now + _CLOSE_SPOOL_S, deadline + _LATE_CLOSE_S)) - now)
        for pipeline in self._pipelines:
            pipeline.count_lost(lost.get(pipeline.name) or 0)
        return None not in lost.values()
