"""The pipelines of a process: made of a configuration, started, stopped, and exchanged one by one where it changes."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bridge import sources
from bridge.config import Config
from bridge.delivery import tasks
from bridge.delivery.event_log import EventLog
from bridge.delivery.observers import Observers
from bridge.delivery.pipeline import SourcePipeline
from bridge.delivery.sink_context import SinkAvailability
from bridge.delivery.taps import Taps
from bridge.model.accounting import Accounts, Counts
from bridge.model.state import SourceState
from bridge.observe.logs import is_debug
from bridge.process.changes import Changes
from bridge.process.sink_side import SinkSide
from bridge.process.watchdog import Watchdog
from bridge.routing import router
from bridge.routing.routes import RouteTable
from bridge.sources.contract import Source
from bridge.sources.promise import promise
from bridge.spool import SpoolDirectory

#: A source that holds events and acknowledges none for this long, beyond the time that two writes may take, is stuck.
_STUCK_S: Final = 10.0
#: How long the search for orphaned sessions may take to end, and the spool's directory to close.
_CANCEL_S: Final = 1.0
_CLOSE_SPOOL_S: Final = 2.0
#: The spool may take all of `drain_timeout` that is left, and so much more: before `ending.LEAVE_S` ends the process.
_LATE_CLOSE_S: Final = 3.2
#: How long a source that restarts may finish its events: else its broker redelivers them, or its successor has them. Less where
#: the sink takes none, and nothing else does.
_RETIRE_S: Final = 5.0
_RETIRE_HELD_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Swap:
    """Everything that takes the place of something else once `config` is the configuration that runs."""

    config: Config
    tables: Mapping[str, RouteTable]
    changes: Changes
    side: SinkSide
    made: Mapping[str, SourcePipeline]


class Pipelines:
    """The pipelines of `config`, which write into `side`; `tables` are its compiled routes.

    `paused` are the sources that a person has paused. The `first` process of a bridge also takes over the sessions that
    processes of an earlier start have orphaned.
    """

    def __init__(self, config: Config, tables: Mapping[str, RouteTable], side: SinkSide, *, first: bool) -> None:
        self.paused: frozenset[str] = frozenset()
        self._config, self._tables, self._side = config, tables, side
        self._first = first
        self._observers = Observers()
        self._event_log: EventLog | None = None
        #: Those that look at the events of this process.
        self.taps = Taps(self._observers)
        self._observe(config, tables)
        self._running = {name: self._made(config, tables, side, name) for name in config.sources}
        self._orphans: list[SourcePipeline] = []
        #: The sources whose orphaned sessions were not looked for yet.
        self._unsearched: set[str] = set()
        self._searching: list[asyncio.Task[None]] = []
        self._probing: list[asyncio.Task[None]] = []
        #: The counts of pipelines that have ended, by their source.
        self._past: dict[str, Counts] = {}
        #: The events in the spools of removed sources.
        self._parked: dict[str, int] = {}
        self.watchdog = Watchdog(list(self), self._stuck_after_s)
        self._group: asyncio.TaskGroup | None = None
        spool = config.spool
        self._spools = SpoolDirectory(Path(spool.directory), spool.max_size) if spool is not None else None
        self._owns_spools = False

    def __iter__(self) -> Iterator[SourcePipeline]:
        """Yield the pipelines of all sources, then those of orphaned sessions."""
        return iter([*self._running.values(), *self._orphans])

    def of(self, source: str) -> list[SourcePipeline]:
        """Return the pipelines of a source: its own, and those of its orphaned sessions."""
        return [pipeline for pipeline in self if pipeline.source == source]

    @property
    def spool_fill(self) -> float:
        """The share of the spool that is used, 0 where there is none."""
        return self._spools.fill if self._spools is not None else 0.0

    def snapshot(self) -> dict[str, SourceState]:
        """Return how each source stands, in one step: all its numbers belong together."""
        stuck = set(self.watchdog.stuck)
        found: dict[str, SourceState] = {}
        for pipeline in self:
            state = pipeline.state()
            state.stuck = pipeline.name in stuck
            if pipeline.source == pipeline.name:
                if pipeline.source in self._past:
                    state.counts.add(self._past[pipeline.source])
                if parked := self._parked.get(pipeline.source):
                    # They are of a source of this name, and wait until it has a spool again.
                    state.spooled = (state.spooled or 0) + parked
                found[pipeline.source] = state
            else:
                # An orphaned session is not what makes a source connected.
                state.connected, state.cause = True, ""
                found[pipeline.source].add(state)
        return found

    def removed(self) -> dict[str, Counts]:
        """Return the counts of the sources that a reload has removed."""
        return {name: counts for name, counts in self._past.items() if name not in self._running}

    def counts(self) -> dict[str, Counts]:
        """Return the numbers of each source's events by their fate, until now; also of sources that were removed."""
        total = {name: Counts() for name in (*self._config.sources, *self._past)}
        for name, counts in self._past.items():
            total[name].add(counts)
        for pipeline in self:
            total[pipeline.source].add(pipeline.counts)
        return total

    async def open_spools(self) -> None:
        """Open the spool of each source, if the configuration has one; waits while another process owns the directory."""
        spools = self._spools
        if spools is not None and await spools.own():
            self._owns_spools = True
            for pipeline in self:
                await pipeline.open_spool(spools)
            spools.log_unclaimed()

    def start(self, group: asyncio.TaskGroup) -> None:
        """Start all pipelines."""
        self._group = group
        for pipeline in self._running.values():
            self._start(pipeline)
        self._search(self._running)

    async def wait_connected(self) -> None:
        """Return once each source has been connected, or is paused."""
        for pipeline in list(self._running.values()):
            await pipeline.wait_connected()

    async def stop(self, deadline: float) -> None:
        """Stop every pipeline; each has until `deadline` (the loop's time) to finish the events that it received."""
        await tasks.cancel([*self._searching, *self._probing], within_s=_CANCEL_S)
        async with asyncio.TaskGroup() as stopping:
            for pipeline in self:
                stopping.create_task(pipeline.stop(deadline))

    async def close_spools(self, deadline: float) -> bool:
        """Close the spools, and count the events that they lose; return whether the disk has answered."""
        spools, self._spools = self._spools, None
        if spools is None:
            return True
        now = asyncio.get_running_loop().time()
        lost = await spools.close(max(deadline, min(now + _CLOSE_SPOOL_S, deadline + _LATE_CLOSE_S)) - now)
        for pipeline in self:
            pipeline.count_lost(lost.get(pipeline.name) or 0)
        return None not in lost.values()

    @property
    def config(self) -> Config:
        """The configuration that runs."""
        return self._config

    @property
    def side(self) -> SinkSide:
        """The sink that the pipelines write to."""
        return self._side

    def prepare(self, config: Config, tables: Mapping[str, RouteTable], changes: Changes, side: SinkSide) -> Swap:
        """Make the pipelines of the sources that `changes` names; nothing runs yet, and nothing has changed."""
        made = {
            name: self._made(
                config, tables, side, name, accounts=self._running[name].accounts if name in changes.restarted else None
            )
            for name in config.sources
            if name in changes.added or name in changes.restarted
        }
        return Swap(config, tables, changes, side, made)

    async def swap(self, swap: Swap) -> None:
        """Let another configuration be the one that runs: what `prepare` has made takes the place of what has changed.

        A cancellation leaves either the old pipelines or the new ones, for `stop`.
        """
        changes, old, before = swap.changes, self._running, self._side
        ending = changes.removed | changes.restarted
        await tasks.cancel(self._searching, within_s=_CANCEL_S)
        orphans = [pipeline for pipeline in self._orphans if pipeline.source in ending]
        await self._end(changes, orphans)
        # To the next await all is swapped: no event is routed by half of a configuration.
        self._replace(swap, orphans)
        self._probe_for((*changes.restarted, *changes.removed, *(orphan.name for orphan in orphans)))
        if before is not self._side:
            await before.end()
            await before.close()
        for name in changes.removed:
            await self._park(old[name])
        for name in changes.added:
            await self._open_spool(self._running[name])
            self._start(self._running[name])
        self._search(ending | changes.added)

    def _replace(self, swap: Swap, orphans: Collection[SourcePipeline]) -> None:
        config, old = swap.config, self._running
        self._running = {name: swap.made.get(name) or old[name] for name in config.sources}
        self._orphans = [pipeline for pipeline in self._orphans if pipeline not in orphans]
        for pipeline in (*orphans, *(old[name] for name in swap.changes.removed)):
            self._past.setdefault(pipeline.source, Counts()).add(pipeline.counts)
        for name in swap.changes.removed:
            if spooled := old[name].state().spooled:
                self._parked[name] = spooled
        for name in swap.changes.restarted:
            self._running[name].succeed(old[name])
        self._config, self._tables = config, swap.tables
        self._observe(config, swap.tables)
        for pipeline in self:
            pipeline.reroute(router.make(config.sources[pipeline.source], swap.tables[pipeline.source]))
        self.paused &= config.sources.keys()
        before, self._side = self._side, swap.side
        self._side.reroute(config)
        if before is not self._side and self._group is not None:
            self._side.start(self._group)
        self.watchdog.watch(list(self), self._stuck_after_s)
        for name in swap.changes.restarted:
            self._start(self._running[name])

    def _observe(self, config: Config, tables: Mapping[str, RouteTable]) -> None:
        """Let the observers know the configuration that runs from now on."""
        if self._event_log is not None:
            self._observers.remove(self._event_log)
        self._event_log = EventLog(config) if is_debug() else None
        if self._event_log is not None:
            self._observers.add(self._event_log)
        self.taps.use(config, tables)

    @property
    def _stuck_after_s(self) -> float:
        return _STUCK_S + 2 * self._config.dramatiq.timeout / 1000

    def _made(
        self,
        config: Config,
        tables: Mapping[str, RouteTable],
        side: SinkSide,
        name: str,
        *,
        accounts: Accounts | None = None,
    ) -> SourcePipeline:
        source = sources.make(name, config, SinkAvailability(side.context, name))
        return _pipeline(config, tables, side, name, source, observers=self._observers, accounts=accounts)

    def _start(self, pipeline: SourcePipeline) -> None:
        pipeline.paused = pipeline.name in self.paused
        if self._group is not None:
            tasks.start(self._group, pipeline.run(), f"pipeline:{pipeline.name}")

    async def _end(self, changes: Changes, orphans: list[SourcePipeline]) -> None:
        """End the pipelines that nothing follows, and let those retire that have a successor."""
        now = asyncio.get_running_loop().time()
        by = now + self._config.drain_timeout / 1000
        async with asyncio.TaskGroup() as group:
            for pipeline in (*orphans, *(self._running[name] for name in changes.removed)):
                group.create_task(pipeline.stop(by))
            for name in changes.restarted:
                held = not SinkAvailability(self._side.context, name).available
                within_s = _RETIRE_HELD_S if held and not self._running[name].spools_all else _RETIRE_S
                group.create_task(self._running[name].retire(min(by, now + within_s)))

    def _probe_for(self, names: Iterable[str]) -> None:
        """Find out when the sink is back for those whose last write has failed, and that have given it up."""
        side, group = self._side, self._group
        health = side.context.health
        for name in names:
            if group is not None and name in health.failing:
                probing = health.retry_until_available(name, side.sink.probe)
                self._probing = [task for task in self._probing if not task.done()]
                self._probing.append(tasks.start(group, probing, f"bridge:probe:{name}"))

    async def _park(self, pipeline: SourcePipeline) -> None:
        """Close the spool of a removed source: its events wait for the source's return."""
        spool = pipeline.give_up_spool()
        if spool is not None and self._spools is not None:
            lost = await self._spools.release(spool)
            self._past[pipeline.source].lost += lost or 0
            self._parked[pipeline.source] = spool.events

    async def _open_spool(self, pipeline: SourcePipeline) -> None:
        if self._spools is None or not self._owns_spools:
            return
        if await pipeline.open_spool(self._spools, known=self._parked.get(pipeline.source, 0)):
            self._parked.pop(pipeline.source, None)

    def _search(self, names: Iterable[str]) -> None:
        """Take over the orphaned sessions of these sources; nothing waits for them, and a broker may refuse."""
        self._unsearched.update(names)
        self._unsearched &= self._running.keys()
        if self._first and self._group is not None:
            self._searching = [tasks.start(self._group, self._take_over_orphans(self._group), "bridge:orphans")]

    async def _take_over_orphans(self, group: asyncio.TaskGroup) -> None:
        await self._side.reached.wait()
        for source_name in sorted(self._unsearched):
            orphans = await sources.orphaned_sessions(source_name, self._config)
            self._unsearched.discard(source_name)
            for name, source in orphans.items():
                pipeline = _pipeline(self._config, self._tables, self._side, name, source, observers=self._observers)
                pipeline.paused = source_name in self.paused
                self._orphans.append(pipeline)
                self.watchdog.add(pipeline)
                tasks.start(group, pipeline.run(), f"pipeline:{name}")


def _pipeline(
    config: Config,
    tables: Mapping[str, RouteTable],
    side: SinkSide,
    name: str,
    source: Source,
    *,
    observers: Observers,
    accounts: Accounts | None = None,
) -> SourcePipeline:
    settings = config.sources[source.name]
    routed = router.make(settings, tables[source.name])
    guarantee = promise(config, settings).guarantee
    return SourcePipeline(
        name, source, settings, routed, side.context, guarantee=guarantee, accounts=accounts, observers=observers
    )
