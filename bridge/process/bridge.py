"""The supervisor: starts everything of one process, connects and reconnects the sources, drains and stops.

It owns the one task group. A task that dies of anything but a disconnection ends the process,
loudly: the service manager is the outer supervisor, or the parent where there are several processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from bridge import sources
from bridge.backoff import Backoff
from bridge.config import Config, redacted_url
from bridge.delivery.backpressure import Backpressure
from bridge.delivery.outlet import SinkContext
from bridge.delivery.runner import Runner, cancel
from bridge.errors import SinkUnavailable
from bridge.observe.logs import logger
from bridge.process.watchdog import Watchdog
from bridge.routing.compiler import compile_routes
from bridge.routing.router import Counts
from bridge.sink import RedisSink
from bridge.sink.attempts import RedisAttempts
from bridge.sink.health import SinkHealth
from bridge.spool import SpoolDirectory

log = logger()
#: A source that holds events and settles none for this long, beyond what two writes may take, is stuck.
_STUCK_S: Final = 10.0
#: After the drain: the time to close what is left, and to leave.
_CLOSE_S: Final = 4.0
#: The collector looks for cycles after so many new containers. What is in flight has none, and with Python's own 700 it was
#: walked through again and again: 11 % of the time that streams took (observed).
_CONTAINERS: Final = 50_000


class Supervisor:
    """Everything that one process runs, the `first` of a bridge or another; `on_ready` is called once all is connected."""

    def __init__(self, config: Config, on_ready: Callable[[], None], *, first: bool = True) -> None:
        self._config = config
        self._on_ready = on_ready
        self._first = first
        tables, problems = compile_routes(config)
        assert not problems  # noqa: S101 - `load` has checked them
        dramatiq = config.dramatiq
        self._sink = RedisSink(dramatiq, dead_letter_cap=config.dead_letters.max_length)
        self._state = SinkHealth()
        self._pressure = Backpressure(dramatiq, self._sink, self._state)
        attempts = RedisAttempts(self._sink.connections, dramatiq.namespace)
        self._tables = tables
        self._outlet = SinkContext(self._sink, attempts, self._state, self._pressure)
        self._runners = [Runner(name, config, tables[name], self._outlet) for name in config.sources]
        self._watchdog = Watchdog(self._runners, _STUCK_S + 2 * dramatiq.timeout / 1000)
        self._stop = asyncio.Event()
        self._reached = asyncio.Event()
        spool = config.spool
        self._spools = SpoolDirectory(Path(spool.directory), spool.max_size) if spool is not None else None

    async def run(self) -> None:
        """Run until `stop`, and then drain."""
        _tune()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self._tell)
        try:
            await self._open_spools()
            async with asyncio.TaskGroup() as tasks:
                helpers: list[asyncio.Task[None]] = []
                running: list[tuple[Runner, asyncio.Task[None]]] = []

                def start(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
                    task = tasks.create_task(work, name=name)
                    task.add_done_callback(_end_if_failed)
                    return task

                def begin(runner: Runner) -> None:
                    helpers.append(start(runner.dispatcher.write(), f"source:{runner.name}:write"))
                    if runner.dispatcher.spool is not None:
                        helpers.append(start(runner.dispatcher.drain(), f"source:{runner.name}:spool"))
                    running.append((runner, start(runner.run(), f"source:{runner.name}")))

                helpers.append(start(self._watchdog.run(), "supervisor:watchdog"))
                helpers.append(start(self._pressure.run(), "supervisor:backpressure"))
                for runner in self._runners:
                    begin(runner)
                helpers.append(start(self._announce(), "supervisor:ready"))
                beginning = start(self._begin_left(begin), "supervisor:left")
                await self._stop.wait()
                await cancel([beginning], within_s=_CLOSE_S)
                await self._drain(running)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_CLOSE_S / 2):
                        await asyncio.gather(*(runner.dispatcher.drained() for runner in self._runners))
                await cancel(helpers, within_s=_CLOSE_S)
        finally:
            await self._close()

    def stop(self) -> None:
        """Take nothing new, finish what was received, and end."""
        self._stop.set()

    def stuck(self) -> list[str]:
        """Return the sources that do not move, and that a new connection has not helped."""
        return self._watchdog.stuck

    def _tell(self) -> None:
        for runner in self._runners:
            runner.tell()
        log.info("bridge.state", tasks=len(asyncio.all_tasks()), stuck=self.stuck() or None)

    def counts(self) -> dict[str, Counts]:
        """Return what has become of each source's events until now."""
        total = {name: Counts() for name in self._config.sources}
        for runner in self._runners:
            total[runner.source].add(runner.dispatcher.counts)
        return total

    async def _open_spools(self) -> None:
        if self._spools is None:
            return
        owning = asyncio.create_task(self._spools.own(), name="supervisor:spool")
        stopping = asyncio.create_task(self._stop.wait(), name="supervisor:stop")
        await asyncio.wait({owning, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not owning.done():
            owning.cancel()  # told to stop, while another process still has it
        elif owning.result():
            for runner in self._runners:
                await runner.open_spool(self._spools)
            self._spools.say_unclaimed()

    async def _announce(self) -> None:
        """Say what is connected, and once that all is."""
        backoff = Backoff(first_s=0.05, most_s=2.0)
        while True:
            try:
                await self._sink.ping()
                break
            except SinkUnavailable as error:
                wait = backoff.next(denied=error.denied)
                self._state.lost("", error.cause, wait)
                await asyncio.sleep(wait)
        self._state.found("")
        dramatiq = self._config.dramatiq
        log.info("sink.connected", url=redacted_url(dramatiq.url), namespace=dramatiq.namespace)
        self._reached.set()
        for runner in self._runners[: len(self._config.sources)]:
            await runner.connected.wait()
        self._on_ready()

    async def _begin_left(self, begin: Callable[[Runner], None]) -> None:
        """Take over what an earlier start has left at brokers; nobody waits for it, and it may be refused for ever."""
        await self._reached.wait()
        for name in self._config.sources if self._first else ():
            for left in (await sources.orphaned_sessions(name, self._config)).items():
                runner = Runner(name, self._config, self._tables[name], self._outlet, left)
                self._runners.append(runner)
                self._watchdog.add(runner)
                begin(runner)

    async def _drain(self, running: list[tuple[Runner, asyncio.Task[None]]]) -> None:
        """Finish what was received, within `drain_timeout`; the rest stays with its broker."""
        tasks = [task for _, task in running]
        try:
            async with asyncio.timeout(self._config.drain_timeout / 1000):
                await asyncio.gather(*(runner.stop(task) for runner, task in running))
                await asyncio.gather(*tasks, return_exceptions=True)
                await asyncio.gather(*(runner.dispatcher.idle() for runner in self._runners))
        except TimeoutError:
            log.warning("bridge.drain_timed_out", after=self._config.drain_timeout / 1000)
            await cancel(tasks, within_s=_CLOSE_S)

    async def _close(self) -> None:
        for close in (self._close_spools, self._sink.close):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_S / 2):
                    await close()

    async def _close_spools(self) -> None:
        await asyncio.gather(*(runner.dispatcher.give_up_rest() for runner in self._runners))
        if self._spools is not None:
            await self._spools.close()


def _tune() -> None:
    gc.freeze()
    gc.set_threshold(_CONTAINERS, 20, 20)
    # In batches rather than at once: woken by every packet, the bridge takes the core from the broker that is sending
    # more. AMQP 8 % faster with 11 % less CPU, two processes 8 %, latency as before (observed).
    with contextlib.suppress(OSError, AttributeError):  # a container may forbid it, and only Linux has it
        if os.sched_getscheduler(0) == os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes uvloop's event loop where that is installed."""
    try:
        import uvloop  # noqa: PLC0415 - an extra
    except ImportError:
        return None
    return uvloop.new_event_loop  # type: ignore[no-any-return, unused-ignore]


def _end_if_failed(task: asyncio.Task[None]) -> None:
    """See that the process ends where a task has failed: the group cancels the others once, which a connect can swallow."""
    if not task.cancelled() and task.exception() is not None:
        asyncio.get_running_loop().call_later(3 * _CLOSE_S, os._exit, 1)
