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
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from bridge import router, sources
from bridge.backoff import Backoff
from bridge.backpressure import Backpressure
from bridge.config import Config, redacted_url
from bridge.dispatch import DENIED_S, Dispatcher
from bridge.errors import Disconnected, SinkUnavailable
from bridge.observe.logs import Repeats, logger
from bridge.outlet import Outlet, Watch
from bridge.route_compiler import compile_routes
from bridge.router import Counts
from bridge.routes import RouteTable
from bridge.sink import RedisSink
from bridge.sink.attempts import RedisAttempts
from bridge.sink.state import SinkState
from bridge.sources.session import Session
from bridge.spool import SpoolDirectory
from bridge.watchdog import Watchdog

log = logger()
#: A connection that lasted this long has succeeded: the next attempt follows soon again.
_STEADY_S: Final = 10.0
#: A source that holds events and settles none for this long, beyond what two writes may take, is stuck.
_STUCK_S: Final = 10.0
#: After the drain: the time to close what is left, and to leave.
_CLOSE_S: Final = 4.0
_AGAIN_S: Final = 0.2
#: The collector looks for cycles after so many new containers. What is in flight has none, and with Python's own 700 it was
#: walked through again and again: 11 % of the time that streams took (observed).
_CONTAINERS: Final = 50_000


class Runner:
    """One source: its connection, made again and again, and its dispatcher."""

    def __init__(self, name: str, config: Config, table: RouteTable, outlet: Outlet) -> None:
        source_config = config.sources[name]
        self.name = name
        self.connected = asyncio.Event()
        self._config = source_config
        self._routes = len(table.routes)
        self._source = sources.make(name, source_config, config, table, Watch(outlet, name))
        self.dispatcher = Dispatcher(self._source, router.make(source_config, table), outlet)
        self._outlet = outlet
        self._session: Session | None = None
        self._stopping = False
        self._repeats = Repeats()

    @property
    def moved(self) -> int:
        """See `Watched`."""
        return self.dispatcher.moved

    @property
    def due(self) -> bool:
        """See `Watched`."""
        held = self._session is not None and self._session.held > 0
        waits = not self._outlet.state.takes(self.name) or self._outlet.pressure.holds(self.name)
        return (held or self.dispatcher.busy) and not (waits or self._stopping)

    def rebuild(self, cause: str) -> None:
        """See `Watched`."""
        if self._session is not None:
            self._session.fail(cause)

    def tell(self) -> None:
        """Say how it stands."""
        session, spool = self._session, self.dispatcher.spool
        log.info(
            "source.state",
            source=self.name,
            connected=session is not None,
            held=session.held if session is not None else 0,
            spooled=spool.events if spool is not None else None,
            **asdict(self.dispatcher.counts),
        )

    async def open_spool(self, directory: SpoolDirectory) -> None:
        """Keep in `directory` what neither the sink takes nor the broker holds."""
        if self._source.read is not None:
            self.dispatcher.spool = await directory.open(self.name, self._source.read)

    async def run(self) -> None:
        """Connect and move events until stopped; reconnect with jitter whenever the connection ends."""
        # At most 5 s, so that it is back within ten of the broker.
        backoff = Backoff(first_s=0.2, most_s=5.0)
        loop = asyncio.get_running_loop()
        while True:
            since = None
            try:
                async with self._source.connect() as session:
                    if self._must_end():
                        return
                    since = loop.time()
                    self._say_connected()
                    self._session = session
                    await self.dispatcher.intake(session)
                    return
            except Disconnected as error:
                if since is not None and loop.time() - since > _STEADY_S:
                    backoff.reset()
                wait = max(backoff.next(), error.retry_s, DENIED_S if error.denied else 0.0)
                self._say_disconnected(error.cause, wait, connected=since is not None)
            finally:
                if self._session is not None:
                    self.dispatcher.leave(self._session)
                self._session = None
            if self._must_end():
                return
            await asyncio.sleep(wait)

    async def stop(self, task: asyncio.Task[None]) -> None:
        """Take nothing new; `task`, which runs `run`, ends once all is settled."""
        self._stopping = True
        self.dispatcher.stopping = True
        while self._session is None and not task.done():
            await _cancel([task], within_s=_AGAIN_S)
        if self._session is not None:
            await self._session.pause()

    def _must_end(self) -> bool:
        # Asked after each connect, because one of redis-py's can swallow a cancellation (8.1.0, observed).
        task = asyncio.current_task()
        return self._stopping or (task is not None and task.cancelling() > 0)

    def _say_connected(self) -> None:
        self.connected.set()
        self._repeats = Repeats()
        url = redacted_url(self._config.url)
        log.info("source.connected", source=self.name, type=self._config.type, url=url, routes=self._routes)

    def _say_disconnected(self, cause: str, wait: float, *, connected: bool) -> None:
        event = "source.disconnected" if connected else "source.unavailable"
        left_out = self._repeats.allow(event, cause)
        if left_out is not None:
            url = redacted_url(self._config.url)
            log.error(event, source=self.name, url=url, cause=cause, retry_in=round(wait, 2), repeated=left_out)


class Supervisor:
    """Everything that one process runs; `on_ready` is called once all is connected."""

    def __init__(self, config: Config, on_ready: Callable[[], None]) -> None:
        self._config = config
        self._on_ready = on_ready
        tables, problems = compile_routes(config)
        assert not problems  # noqa: S101 - `load` has checked them
        dramatiq = config.dramatiq
        self._sink = RedisSink(dramatiq, dead_letter_cap=config.dead_letters.max_length)
        self._state = SinkState()
        self._pressure = Backpressure(dramatiq, self._sink, self._state)
        attempts = RedisAttempts(self._sink.links, dramatiq.namespace)
        outlet = Outlet(self._sink, attempts, self._state, self._pressure)
        self._runners = [Runner(name, config, tables[name], outlet) for name in config.sources]
        self._watchdog = Watchdog(self._runners, _STUCK_S + 2 * dramatiq.timeout / 1000)
        self._stop = asyncio.Event()
        spool = config.spool
        self._spools = SpoolDirectory(Path(spool.directory), spool.max_size) if spool is not None else None

    async def run(self) -> None:
        """Run until `stop`, and then drain."""
        _tune()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self._tell)
        try:
            await self._open_spools()
            async with asyncio.TaskGroup() as tasks:
                helpers = [
                    tasks.create_task(self._announce(), name="supervisor:ready"),
                    tasks.create_task(self._watchdog.run(), name="supervisor:watchdog"),
                    tasks.create_task(self._pressure.run(), name="supervisor:backpressure"),
                ]
                helpers += [
                    tasks.create_task(runner.dispatcher.write(), name=f"source:{runner.name}:write")
                    for runner in self._runners
                ]
                helpers += [
                    tasks.create_task(runner.dispatcher.drain(), name=f"source:{runner.name}:spool")
                    for runner in self._runners
                    if runner.dispatcher.spool is not None
                ]
                running = [
                    (runner, tasks.create_task(runner.run(), name=f"source:{runner.name}")) for runner in self._runners
                ]
                for task in [*helpers, *(task for _, task in running)]:
                    task.add_done_callback(_end_if_failed)
                await self._stop.wait()
                await self._drain(running)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_CLOSE_S / 2):
                        await asyncio.gather(*(runner.dispatcher.drained() for runner in self._runners))
                await _cancel(helpers, within_s=_CLOSE_S)
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
        return {runner.name: runner.dispatcher.counts for runner in self._runners}

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
                wait = max(backoff.next(), DENIED_S if error.denied else 0.0)
                self._state.lost("", error.cause, wait)
                await asyncio.sleep(wait)
        self._state.found("")
        dramatiq = self._config.dramatiq
        log.info("sink.connected", url=redacted_url(dramatiq.url), namespace=dramatiq.namespace)
        for runner in self._runners:
            await runner.connected.wait()
        self._on_ready()

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
            await _cancel(tasks, within_s=_CLOSE_S)

    async def _close(self) -> None:
        for close in (self._close_spools, self._sink.close):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_S / 2):
                    await close()

    async def _close_spools(self) -> None:
        for runner in self._runners:
            await runner.dispatcher.give_up_rest()
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


async def _cancel(tasks: Sequence[asyncio.Task[None]], within_s: float) -> None:
    """Cancel until it takes, since a connect can swallow it (see `_must_end`)."""
    deadline = asyncio.get_running_loop().time() + within_s
    pending = {task for task in tasks if not task.done()}
    while pending and asyncio.get_running_loop().time() < deadline:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_AGAIN_S)
