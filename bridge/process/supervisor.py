"""`processes: N`: the parent of N worker processes, which starts them, restarts them, and speaks for them all.

It moves no events. What a worker has received and not settled when it dies is its broker's to deliver again.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from bridge.backoff import Backoff
from bridge.config import Config
from bridge.errors import describe_error
from bridge.observe.logs import Format, logger
from bridge.process.child import Order, Report
from bridge.process.lifecycle import Lifecycle
from bridge.routing.router import Counts
from bridge.sources.sharding import config_for_process

log = logger()
#: A worker that lived this long has worked: after its end the next one follows soon again.
_STEADY_S: Final = 10.0
#: Beyond `drain_timeout`, the time a worker has to cancel, to close and to leave.
_LEAVE_S: Final = 9.0
#: Reports come every second.
_SILENCE_S: Final = 30.0
_STOPPING_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

_decode: Final = msgspec.json.Decoder(Report).decode


class Worker:
    """One worker: its process, started again whenever it ends unasked, and its counts over all of them."""

    def __init__(self, order: Order) -> None:
        self.number = order[0]
        self.ready = asyncio.Event()
        self._order = order
        self._process: Process | None = None
        self._stop = asyncio.Event()
        self._lives = 0
        #: What earlier processes reported last, and what the present one has.
        self._before: dict[str, Counts] = {}
        self._now: dict[str, Counts] = {}
        #: The sources that do not move in it; and when it was last heard of, while it is ready.
        self.stuck: list[str] = []
        self._heard = 0.0

    async def run(self) -> bool:
        """Keep a process running until `stop`; return whether the last one ended as it should."""
        backoff = Backoff(first_s=0.2, most_s=10.0)
        loop = asyncio.get_running_loop()
        while not self._stop.is_set():
            since = loop.time()
            cause = await self._live()
            if self._stop.is_set():
                if cause is not None:
                    log.error("worker.ended", worker=self.number, cause=cause)
                return cause is None
            if loop.time() - since > _STEADY_S:
                backoff.reset()
            wait = backoff.next()
            cause = cause or "it ended by itself"
            log.error("worker.ended", worker=self.number, cause=cause, retry_in=round(wait, 2))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), wait)
        return True

    def stop(self) -> None:
        """Let the process drain and end."""
        self._stop.set()
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    def kill(self) -> None:
        """End the process at once."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()

    def kill_if_silent(self) -> None:
        """End a process that is ready and says nothing: it hangs, and its successor gets what it had not settled."""
        silent_s = asyncio.get_running_loop().time() - self._heard
        if self.ready.is_set() and silent_s > _SILENCE_S:
            log.error("worker.silent", worker=self.number, seconds=round(silent_s))
            self.kill()

    def tell(self) -> None:
        """Let the process say how it stands."""
        if self._process is not None and self.ready.is_set():
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGUSR1)

    def add_counts(self, total: dict[str, Counts]) -> None:
        """Add what has become of each source's events in this worker."""
        for counts in (self._before, self._now):
            for source, its in counts.items():
                total.setdefault(source, Counts()).add(its)

    async def _live(self) -> str | None:
        """Start a process and wait for its end; return why it ended, None for exit code 0."""
        try:
            self._process = process = await _start(self.number)
        except OSError as error:
            return describe_error(error)
        self._lives += 1
        assert process.stdin is not None  # noqa: S101 - both are pipes
        assert process.stdout is not None  # noqa: S101
        try:
            with suppress(BrokenPipeError, ConnectionResetError):
                process.stdin.write(pickle.dumps(self._order))
                await process.stdin.drain()
            if self._stop.is_set():  # it came while the process was being started
                process.stdin.close()
            async for line in process.stdout:
                self._take(line)
            code = await process.wait()
        finally:
            self.kill()
            self.ready.clear()
            self.stuck = []
            self._process = None
            before: dict[str, Counts] = {}
            self.add_counts(before)
            self._before, self._now = before, {}
        if code < 0:
            # Real-time signals have numbers only.
            names = {number.value: number.name for number in signal.Signals}
            return f"killed by {names.get(-code, f'signal {-code}')}"
        return f"exit code {code}" if code else None

    def _take(self, line: bytes) -> None:
        with suppress(msgspec.DecodeError):  # half a line, from a process that was killed
            report = _decode(line)
            self._heard = asyncio.get_running_loop().time()
            if report.stuck is not None:
                self.stuck = report.stuck
            if report.ready:
                if self._lives > 1:
                    log.info("worker.recovered", worker=self.number)
                self.ready.set()
            if report.counts is not None:
                self._now[report.source] = report.counts


class Workers:
    """All the workers of one bridge."""

    def __init__(self, config: Config, log_format: Format | None, log_level: str) -> None:
        self._config = config
        self._workers = [
            Worker((number, config_for_process(config, number), log_format, log_level))
            for number in range(config.processes)
        ]
        self._lifecycle = Lifecycle(config, processes=config.processes)
        self._deadline: asyncio.TimerHandle | None = None

    async def run(self) -> int:
        """Run until a signal; return the exit code, which is 0 if every worker has drained."""
        self._lifecycle.begin(stop=self._stop, kill=self._kill)
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self._tell)
        try:
            async with asyncio.TaskGroup() as tasks:
                helpers = [
                    tasks.create_task(self._announce(), name="workers:ready"),
                    tasks.create_task(self._lifecycle.watch(self._stuck), name="workers:watchdog"),
                ]
                running = [tasks.create_task(worker.run(), name=f"worker:{worker.number}") for worker in self._workers]
                ended_well = all(await asyncio.gather(*running))
                for helper in helpers:
                    helper.cancel()
        finally:
            if self._deadline is not None:
                self._deadline.cancel()
            self._lifecycle.end(self.counts())
        return 0 if ended_well else 1

    def counts(self) -> dict[str, Counts]:
        """Return what has become of each source's events, in all workers together, about a second ago."""
        total = {source: Counts() for source in self._config.sources}
        for worker in self._workers:
            worker.add_counts(total)
        return total

    async def _announce(self) -> None:
        # Again from the beginning each time: one that was ready may have died meanwhile.
        while waiting := [worker for worker in self._workers if not worker.ready.is_set()]:
            await waiting[0].ready.wait()
        self._lifecycle.ready()

    def _tell(self) -> None:
        for worker in self._workers:
            worker.tell()

    def _stuck(self) -> list[str]:
        for worker in self._workers:
            worker.kill_if_silent()
        return sorted({source for worker in self._workers for source in worker.stuck})

    def _stop(self) -> None:
        for worker in self._workers:
            worker.stop()
        wait = self._config.drain_timeout / 1000 + _LEAVE_S
        self._deadline = asyncio.get_running_loop().call_later(wait, self._end_late)

    def _end_late(self) -> None:
        log.error("bridge.drain_timed_out", after=self._config.drain_timeout / 1000 + _LEAVE_S)
        self._kill()

    def _kill(self) -> None:
        for worker in self._workers:
            worker.kill()


async def _start(number: int) -> Process:
    env = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
    # Numbered for whoever reads a list of processes.
    command = [sys.executable, *_path_flags(), "-m", "bridge.process.child", str(number)]
    with _blocked(_STOPPING_SIGNALS):
        return await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, env=env)


def _path_flags() -> Sequence[str]:
    """Let a worker find its modules where this process does: in the working directory only after `python -m`."""
    return () if sys.path[0] in ("", str(Path.cwd())) else ("-P",)


@contextmanager
def _blocked(signals: Sequence[signal.Signals]) -> Iterator[None]:
    """Hold `signals` back for a moment; a process that is started meanwhile never gets them."""
    # Not ignored in the worker itself: Ctrl-C would end it with a traceback while it still imports.
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        # Not what was before: another worker may be being started, and would be done before this one or after.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
