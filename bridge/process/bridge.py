"""One process of the bridge: starts its pipelines and their helpers, exchanges what a reload changes, and stops them.

It owns the task group. A task that dies of anything but a disconnection ends the process,
loudly: the parent, or else the service manager, starts it again.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Mapping
from typing import Final

from bridge.config import Config
from bridge.delivery import tasks
from bridge.delivery.pauses import RoutePauses
from bridge.delivery.taps import Taps
from bridge.model.accounting import Counts
from bridge.model.control import Paused
from bridge.model.state import ProcessState
from bridge.observe.logs import RepeatedLog, lines_left_out, logger
from bridge.process import telemetry
from bridge.process.changes import compare
from bridge.process.event_loop import tune
from bridge.process.pausing import Pauses
from bridge.process.pipelines import Pipelines, Swap
from bridge.process.reload import Stopping
from bridge.process.sink_side import SinkSide
from bridge.process.usage import resident_bytes
from bridge.routing.compiler import compile_routes
from bridge.routing.routes import RouteTable

log = logger()
#: How long the helpers, and a reload that is given up, may take to end.
_CANCEL_S: Final = 1.0
#: How long a session may take to be told that its source is paused.
_PAUSE_S: Final = 10.0


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
        tables: Mapping[str, RouteTable] | None = None,
    ) -> None:
        self._on_ready = on_ready
        self._first = first
        self._route_pauses = RoutePauses()
        side = SinkSide(config, self._route_pauses, first=first)
        # `load` has checked them.
        tables = tables or compile_routes(config)[0]
        telemetry.attach(config, tables)
        self._pipelines = Pipelines(config, tables, side, first=first)
        self._pausing = asyncio.Lock()
        self._group: asyncio.TaskGroup | None = None
        self._announcing: asyncio.Task[None] | None = None
        self._swapping: asyncio.Task[None] | None = None
        self._started = asyncio.Event()
        self._stop = asyncio.Event()
        #: Whether a stop has given every received event its outcome, and the spool is closed.
        self.settled = False

    @property
    def config(self) -> Config:
        """The configuration that runs."""
        return self._pipelines.config

    async def run(self) -> None:
        """Run until `stop`, and then drain."""
        tune()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self.log_state)
        try:
            await self._open_spools_unless_stopped()
            async with asyncio.TaskGroup() as group:
                self._group = group
                watchdog = tasks.start(group, self._pipelines.watchdog.run(), "bridge:watchdog")
                self._pipelines.side.start(group)
                self._pipelines.start(group)
                self._announcing = tasks.start(group, self._announce(), "bridge:ready")
                self._started.set()
                await self._stop.wait()
                deadline = asyncio.get_running_loop().time() + self.config.drain_timeout / 1000
                if self._swapping is not None:
                    await tasks.cancel([self._swapping], within_s=_CANCEL_S)
                await self._drain(deadline)
                self.settled = await self._pipelines.close_spools(deadline)
                await tasks.cancel([watchdog, self._announcing], within_s=_CANCEL_S)
                await self._pipelines.side.end()
        finally:
            await self._close()

    def stop(self) -> None:
        """Take nothing new, finish the received events, and end."""
        self._stop.set()

    def kill(self) -> None:
        """Do nothing: there are no child processes."""

    async def swap(self, config: Config, tables: Mapping[str, RouteTable] | None = None) -> None:
        """Let `config`, which `load` has checked, be the one that runs; return once all its changes are live.

        Raises:
            Stopping: a stop came first.
        """
        compiled = (await asyncio.to_thread(compile_routes, config))[0] if tables is None else tables
        telemetry.attach(config, compiled)
        await self._started.wait()
        changes = compare(self.config, config)
        if self._stop.is_set() or self._group is None:
            raise Stopping
        side = self._new_side(config) if changes.sink else self._pipelines.side
        swap = self._pipelines.prepare(config, compiled, changes, side)
        self._swapping = tasks.start(self._group, self._swap(swap, self._group), "bridge:swap")
        await asyncio.wait([self._swapping])
        if self._swapping.cancelled():
            raise Stopping
        self._swapping.result()

    def set_pauses(self, pauses: Pauses) -> None:
        """Let these sources and routes be paused from the start; before `run`."""
        self._pipelines.paused = pauses.sources
        self._route_pauses.set(pauses.routes)

    async def pause(self, name: str, *, paused: bool) -> Paused:
        """Pause the source or route `name`, or resume it; see `bridge.model.control.Controlled`.

        Raises:
            UnknownName: no source or route has this name.
        """
        async with self._pausing:
            after, answer = self.pauses.changed(self.config, name, paused=paused)
            await self.apply_pauses(after)
            return answer

    @property
    def pauses(self) -> Pauses:
        """The sources and routes that a person has paused."""
        return Pauses(self._pipelines.paused, self._route_pauses.names)

    async def apply_pauses(self, pauses: Pauses) -> None:
        """Pause these sources and routes, and resume all others."""
        changed = self._pipelines.paused ^ pauses.sources
        self.set_pauses(pauses)
        for pipeline in [each for name in changed for each in self._pipelines.of(name)]:
            if pipeline.source not in pauses.sources:
                pipeline.resume()
                continue
            try:
                async with asyncio.timeout(_PAUSE_S):
                    await pipeline.pause()
            except TimeoutError:
                pipeline.reconnect("the source is paused")

    @property
    def taps(self) -> Taps:
        """The taps of this process."""
        return self._pipelines.taps

    def stuck(self) -> list[str]:
        """Return the sources that do not move, and that a new connection has not helped."""
        return self._pipelines.watchdog.stuck

    def unready(self) -> str:
        """Return why the bridge is not ready though every source moves; "" where nothing is known against it."""
        return self._pipelines.side.promise.unready

    def log_state(self) -> None:
        """Log how each source stands, and the process."""
        for pipeline in self._pipelines:
            pipeline.log_state()
        paused = sorted(self._route_pauses.names)
        stuck = self.stuck() or None
        log.info("bridge.state", tasks=len(asyncio.all_tasks()), stuck=stuck, paused_routes=paused or None)

    def snapshot(self) -> ProcessState:
        """Return how the process stands, in one step: all its numbers belong together."""
        process = ProcessState(
            sources=self._pipelines.snapshot(),
            sink=self._pipelines.side.context.state(self._pipelines.side.promise.unready),
            paused_routes=sorted(self._route_pauses.names),
            cpu_s=time.process_time(),
            memory_bytes=resident_bytes(),
            spool_fill=self._pipelines.spool_fill,
            lines_left_out=lines_left_out(),
        )
        if (gauges := self._pipelines.side.gauges) is not None:
            process.lag_s, process.queues_cause = gauges.lag_s, gauges.queues_cause
            process.queues = gauges.queues
        return process

    def removed(self) -> dict[str, Counts]:
        """Return the counts of the sources that a reload has removed; no snapshot has them."""
        return self._pipelines.removed()

    def counts(self) -> dict[str, Counts]:
        """Return the numbers of each source's events by their fate, until now."""
        return self._pipelines.counts()

    async def _swap(self, swap: Swap, group: asyncio.TaskGroup) -> None:
        before = self._pipelines.side
        await self._pipelines.swap(swap)
        self._route_pauses.set(self.pauses.within(swap.config).routes)
        if self._announcing is not None and self._pipelines.side is not before and not self._announcing.done():
            # It waits for a sink that is no more.
            await tasks.cancel([self._announcing], within_s=_CANCEL_S)
            self._announcing = tasks.start(group, self._announce(), "bridge:ready")

    def _new_side(self, config: Config) -> SinkSide:
        return SinkSide(config, self._route_pauses, first=self._first, before=self._pipelines.side)

    async def _open_spools_unless_stopped(self) -> None:
        """Open the spools; a stop does not wait while another process still owns the directory, or the disk hangs."""
        opening = asyncio.create_task(self._pipelines.open_spools(), name="bridge:spool")
        stopping = asyncio.create_task(self._stop.wait(), name="bridge:stop")
        await asyncio.wait({opening, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if opening.done():
            opening.result()
        opening.cancel()

    async def _announce(self) -> None:
        """Report once the sink takes writes, and every source is connected."""
        await self._pipelines.side.reached.wait()
        await self._pipelines.wait_connected()
        await self._pipelines.side.promise.wait_tolerable()
        self._on_ready()

    async def _drain(self, deadline: float) -> None:
        """Stop every pipeline; each has until `deadline` (the loop's time) to finish the events that it received."""
        timer = asyncio.get_running_loop().call_at(deadline, self._log_drain_timed_out)
        try:
            await self._pipelines.stop(deadline)
        finally:
            timer.cancel()

    def _log_drain_timed_out(self) -> None:
        if not all(pipeline.drained for pipeline in self._pipelines):
            log.warning("bridge.drain_timed_out", after=self.config.drain_timeout / 1000)

    async def _close(self) -> None:
        # After a failure nothing has stopped them; after a drain this finds nothing to do.
        now = asyncio.get_running_loop().time()
        await self._pipelines.stop(now)
        await self._pipelines.close_spools(now)
        await self._pipelines.side.close()
        if self.config.tracing.propagate:
            await telemetry.flush()
        RepeatedLog.flush_all()
