"""A bridge that is one process: its lifecycle, its signals, and the orders to it while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from bridge.delivery.taps import check_names
from bridge.model.accounting import Counts
from bridge.model.control import Controlled, Paused, Reloaded
from bridge.model.state import BridgeState
from bridge.model.taps import STOPPED, Tap, TapFilter
from bridge.model.workshop import Workshop
from bridge.observe.logs import logger
from bridge.process import clock
from bridge.process.admin_task import AdminTask
from bridge.process.bridge import Bridge
from bridge.process.changes import Changes
from bridge.process.lifecycle import Lifecycle
from bridge.process.loader import Prepared
from bridge.process.overview import Overview
from bridge.process.reload import Reloader, Watch
from bridge.process.workshop import LiveWorkshop
from bridge.sources.sharding import why_not_shareable

log = logger()


class OneProcess:
    """A bridge that runs `prepared`, until a signal; `load` returns the present content of its file.

    `watch` says when that has changed. It implements `bridge.model.control.Controlled`.
    """

    def __init__(self, prepared: Prepared, load: Callable[[], Prepared], watch: Watch | None = None) -> None:
        self._lifecycle = Lifecycle(prepared.config)
        self._overview = Overview()
        self._bridge = Bridge(prepared.config, on_ready=self._lifecycle.ready, tables=prepared.tables)
        self._watch = watch
        self._admin: AdminTask | None = None
        self.workshop: Workshop = LiveWorkshop(lambda: self._bridge.config)
        self._reloader = Reloader(load, prepared, self._swap, self._lifecycle, self._overview.reloaded)

    async def run(self) -> int:
        """Run until a signal; return the exit code, which is 0 if every event has its outcome."""
        bridge, lifecycle = self._bridge, self._lifecycle
        lifecycle.begin(self, self._reloader.reload_soon)
        self._reloader.begin(self._watch)
        helpers = [
            asyncio.create_task(lifecycle.watch(bridge.stuck, bridge.unready), name="bridge:lifecycle"),
            asyncio.create_task(clock.watch_steps(), name="bridge:clock"),
        ]
        self._admin = admin = AdminTask(bridge.config, self)
        try:
            await bridge.run()
        finally:
            self._reloader.stop()
            bridge.taps.finish(*STOPPED)
            await admin.end()
            for helper in helpers:
                helper.cancel()
            lifecycle.end(bridge.counts())
        return 0 if bridge.settled else 1

    @property
    def settled(self) -> bool:
        """See `Running`."""
        return self._bridge.settled

    def stop(self) -> None:
        """See `Running`; a reload that has begun is given up."""
        self._reloader.stop()
        self._bridge.stop()

    def kill(self) -> None:
        """See `Running`: there are no child processes."""

    def counts(self) -> dict[str, Counts]:
        """See `Running`."""
        return self._bridge.counts()

    def state(self) -> BridgeState:
        """See `Controlled`."""
        phase = self._lifecycle.phase
        ready = 0 if phase == "starting" else 1
        return self._overview.state(self._bridge.config, phase, [self._bridge.snapshot()], ready)

    async def reload(self) -> Reloaded:
        """See `Controlled`."""
        return await self._reloader.reload()

    async def pause(self, name: str, *, paused: bool) -> Paused:
        """See `Controlled`."""
        return await self._bridge.pause(name, paused=paused)

    async def tap(self, wanted: TapFilter) -> Tap:
        """See `Controlled`."""
        check_names(wanted, self._bridge.config)
        return await self._bridge.taps.open(wanted)

    def untap(self, tap: Tap) -> None:
        """See `Controlled`."""
        self._bridge.taps.close(tap)

    async def _swap(self, prepared: Prepared, _: Changes) -> None:
        config = prepared.config
        await self._bridge.swap(config, prepared.tables)
        if config.processes > 1 and any(why_not_shareable(source) is None for source in config.sources.values()):
            cause = "sources share their events out now; restart the bridge for the other processes"
            log.warning("bridge.one_process", processes=config.processes, cause=cause)
        if self._admin is not None:
            self._admin.use(config)


if TYPE_CHECKING:
    _: type[Controlled] = OneProcess
