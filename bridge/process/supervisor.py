"""`processes: N`: the parent of N child processes, which starts them, restarts them, and speaks for them all.

It moves no events. Events that a child process received and did not acknowledge before it died are its broker's to
deliver again.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from bridge.config import Config
from bridge.delivery import tasks
from bridge.delivery.taps import check_names
from bridge.model.accounting import Counts
from bridge.model.control import Controlled, Paused, Reloaded
from bridge.model.state import BridgeState
from bridge.model.taps import STOPPED, Tap, TapFilter
from bridge.model.workshop import Workshop
from bridge.observe.logs import lines_left_out, logger
from bridge.process import clock, ending
from bridge.process.admin_task import AdminTask
from bridge.process.changes import Changes
from bridge.process.child_process import ChildProcess
from bridge.process.lifecycle import Lifecycle
from bridge.process.loader import Prepared
from bridge.process.orders import Order
from bridge.process.overview import Overview
from bridge.process.pausing import Pauses
from bridge.process.reload import Reloader, Watch
from bridge.process.tapping import JoinedTaps
from bridge.process.usage import resident_bytes
from bridge.process.workshop import LiveWorkshop
from bridge.sources.sharding import config_for_process
from bridge.topics.glob import Glob

log = logger()
#: Beyond `drain_timeout`, the time that a process has to cancel, to close and to leave: it ends by itself before, with its counts.
_LEAVE_S: Final = ending.LEAVE_S + tasks.FLUSH_S + 0.3


class Supervisor:
    """All the child processes of one bridge, which runs `prepared`; `load` returns the present content of its file.

    `watch` says when that has changed. It implements `bridge.model.control.Controlled`.
    """

    def __init__(self, prepared: Prepared, load: Callable[[], Prepared], watch: Watch | None = None) -> None:
        config = prepared.config
        self._pauses = Pauses()
        self._pausing = asyncio.Lock()
        self._taps = JoinedTaps()
        self._children = [
            ChildProcess(self._order(prepared, number), self._taps.take) for number in range(config.processes)
        ]
        self._lifecycle = Lifecycle(config, processes=config.processes)
        self._overview = Overview()
        #: The configuration that the outside sees.
        self._shown = config
        # Each child compiles its own tables.
        prepared = replace(prepared, tables={})
        self._reloader = Reloader(load, prepared, self._swap, self._lifecycle, self._overview.reloaded)
        self._watch = watch
        self._admin: AdminTask | None = None
        self.workshop: Workshop = LiveWorkshop(lambda: self._shown)
        self._deadline: asyncio.TimerHandle | None = None
        #: Never: only the processes know, and by their exit codes they say.
        self.settled = False

    async def run(self) -> int:
        """Run until a signal; return the exit code, which is 0 if every process has drained."""
        self._lifecycle.begin(self, self._reloader.reload_soon)
        self._reloader.begin(self._watch)
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self._log_state)
        self._admin = admin = AdminTask(self._config, self)
        try:
            async with asyncio.TaskGroup() as tasks:
                helpers = [
                    tasks.create_task(self._announce(), name="supervisor:ready"),
                    tasks.create_task(self._lifecycle.watch(self._stuck, self._unready), name="supervisor:lifecycle"),
                    tasks.create_task(self._kill_silent(), name="supervisor:watchdog"),
                    tasks.create_task(clock.watch_steps(), name="supervisor:clock"),
                ]
                running = [tasks.create_task(child.run(), name=f"process:{child.number}") for child in self._children]
                ended_well = all(await asyncio.gather(*running))
                for helper in helpers:
                    helper.cancel()
        finally:
            if self._deadline is not None:
                self._deadline.cancel()
            self._taps.finish(*STOPPED)
            await admin.end()
            self._lifecycle.end(self.counts())
        return 0 if ended_well else 1

    def counts(self) -> dict[str, Counts]:
        """Return the counts of each source in all processes together, about a second ago."""
        total = {source: Counts() for source in self._config.sources}
        for child in self._children:
            for source, state in child.snapshot().sources.items():
                total.setdefault(source, Counts()).add(state.counts)
            child.add_removed(total)
        return total

    def state(self) -> BridgeState:
        """See `Controlled`."""
        ready = sum(child.ready.is_set() for child in self._children)
        processes = [child.snapshot() for child in self._children]
        state = self._overview.state(self._shown, self._lifecycle.phase, processes, ready)
        state.restarts = sum(child.restarts for child in self._children)
        state.cpu_s += time.process_time()
        state.memory_bytes += resident_bytes()
        state.lines_left_out += lines_left_out()
        return state

    async def reload(self) -> Reloaded:
        """See `Controlled`."""
        return await self._reloader.reload()

    async def pause(self, name: str, *, paused: bool) -> Paused:
        """See `Controlled`."""
        async with self._pausing:
            self._pauses, answer = self._pauses.changed(self._config, name, paused=paused)
            await asyncio.gather(*(child.pause(self._pauses) for child in self._children))
            return answer

    async def tap(self, wanted: TapFilter) -> Tap:
        """See `Controlled`."""
        check_names(wanted, self._shown)
        Glob(wanted.topic)  # the processes compile it
        return await self._taps.open(wanted, self._children)

    def untap(self, tap: Tap) -> None:
        """See `Controlled`."""
        self._taps.close(tap, self._children)

    async def _swap(self, prepared: Prepared, _: Changes) -> None:
        async with self._pausing:
            self._pauses = self._pauses.within(prepared.config)
            # From now on each process may report one or the other.
            self._shown = prepared.config
            await asyncio.gather(*(child.swap(self._order(prepared, child.number)) for child in self._children))
        self._taps.use(prepared.config)
        if self._admin is not None:
            self._admin.use(prepared.config)

    def _order(self, prepared: Prepared, number: int) -> Order:
        config = config_for_process(prepared.config, number)
        return Order(number, config, prepared.log_format, prepared.log_level, self._pauses, self._taps.wanted)

    @property
    def _config(self) -> Config:
        return self._reloader.config

    async def _announce(self) -> None:
        # Again from the beginning each time: one that was ready may have died meanwhile.
        while waiting := [child for child in self._children if not child.ready.is_set()]:
            await waiting[0].ready.wait()
        self._lifecycle.ready()

    async def _kill_silent(self) -> None:
        stall = clock.StallDetector()
        while True:
            stalled_s = await stall.sleep()
            for child in self._children:
                child.excuse_silence(stalled_s)
                child.kill_if_silent()

    def _log_state(self) -> None:
        for child in self._children:
            child.log_state()

    def _stuck(self) -> list[str]:
        return sorted({source for child in self._children for source in child.stuck})

    def _unready(self) -> str:
        return next((child.unready for child in self._children if child.unready), "")

    def stop(self) -> None:
        """Let every process drain and end; kill those that do not. A reload that has begun is given up."""
        self._reloader.stop()
        for child in self._children:
            child.stop()
        wait = self._config.drain_timeout / 1000 + _LEAVE_S
        self._deadline = asyncio.get_running_loop().call_later(wait, self._end_late)

    def _end_late(self) -> None:
        log.error("bridge.drain_timed_out", after=self._config.drain_timeout / 1000 + _LEAVE_S)
        self.kill()

    def kill(self) -> None:
        """End all child processes at once."""
        for child in self._children:
            child.kill()


if TYPE_CHECKING:
    _: type[Controlled] = Supervisor
