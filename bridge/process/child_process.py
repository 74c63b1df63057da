"""One child process of a bridge with `processes: N`, as its parent sees it: started, ordered, watched and started again."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec

from bridge.backoff import Backoff
from bridge.errors import describe_error
from bridge.model.accounting import Counts
from bridge.model.state import ProcessState
from bridge.model.taps import Dropped, TapFilter
from bridge.observe.logs import logger
from bridge.process.child import Report
from bridge.process.earlier_lives import EarlierLives
from bridge.process.orders import STOP, Further, Order, PauseOrder, SwapOrder, TapOrder
from bridge.process.pausing import Pauses
from bridge.process.tapping import is_tapped, read_tapped

log = logger()
#: A process that lived this long has worked: after its end the next one follows soon again.
_STEADY_S: Final = 10.0
#: A process that is ready and has not reported for this long hangs. Reports come every second.
_SILENCE_S: Final = 30.0
#: In bytes; that of 5,000 routes has some 500 KB.
_MAX_REPORT: Final = 64 << 20

_decode: Final = msgspec.json.Decoder(Report).decode


class ChildProcess:
    """One child process, started again whenever it ends unasked; its counts are those of all its lives.

    `on_tapped` gets what its taps have seen, with their numbers.
    """

    def __init__(self, order: Order, on_tapped: Callable[[int, bytes | Dropped], None] = lambda *_: None) -> None:
        self._on_tapped = on_tapped
        self.number = order.number
        self.ready = asyncio.Event()
        #: The sources that do not move in it.
        self.stuck: list[str] = []
        #: Why it is not ready though its sources move; see `Bridge.unready`.
        self.unready = ""
        self._order = order
        #: The id of the last order to the present process, and those that wait for it to be carried out.
        self._last_id = 0
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._process: Process | None = None
        #: Whether the present process was given its order.
        self._has_order = False
        self._stop = asyncio.Event()
        self._lives = 0
        #: The last reports of earlier lives, added up, and the last one of the present life.
        self._earlier = EarlierLives()
        self._state = ProcessState()
        #: The counts of sources that reloads have removed, of earlier lives and of the present one.
        self._removed_before: dict[str, Counts] = {}
        self._removed: dict[str, Counts] = {}
        self._reported_at = 0.0

    async def run(self) -> bool:
        """Keep a process running until `stop`; return whether the last one ended as it should."""
        backoff = Backoff(first_s=0.2, max_s=10.0, lasting_max_s=60.0)  # a start takes a second of CPU
        loop = asyncio.get_running_loop()
        while not self._stop.is_set():
            started_at = loop.time()
            cause = await self._live()
            if cause is not None or not self._stop.is_set():
                for number in self._order.taps:
                    self._on_tapped(number, Dropped(0, ended_processes=1))
            if self._stop.is_set():
                if cause is not None:
                    log.error("process.ended", process=self.number, cause=cause)
                return cause is None
            if loop.time() - started_at > _STEADY_S:
                backoff.reset()
            wait = backoff.next()
            cause = cause or "it ended by itself"
            log.error("process.ended", process=self.number, cause=cause, retry_in=round(wait, 2))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), wait)
        return True

    def stop(self) -> None:
        """Let the process drain and end."""
        self._stop.set()
        if self._process is not None and self._process.stdin is not None:
            _end_input(self._process.stdin)

    async def swap(self, order: Order) -> None:
        """Let the process run by another order; return once it does, or has ended: the next one begins with it."""
        self._order = order
        await self._carry_out(lambda number: SwapOrder(number, order))

    async def pause(self, pauses: Pauses) -> None:
        """Let these sources and routes be paused; return once they are, or the process has ended."""
        self._order = replace(self._order, pauses=pauses)
        await self._carry_out(lambda number: PauseOrder(number, pauses))

    def tap(self, taps: Mapping[int, TapFilter]) -> asyncio.Future[None] | None:
        """Let these taps be open, and no others; return the end of the order, None where the next process begins with it."""
        self._order = replace(self._order, taps=taps)
        return self._give(lambda number: TapOrder(number, taps))

    async def _carry_out(self, make: Callable[[int], Further]) -> None:
        done = self._give(make)
        if done is not None:
            await done

    def _give(self, make: Callable[[int], Further]) -> asyncio.Future[None] | None:
        stdin = self._process.stdin if self._process is not None else None
        if stdin is None or stdin.is_closing() or not self._has_order:
            return None  # a process that starts now reads the new order
        self._last_id += 1
        done = self._waiting[self._last_id] = asyncio.get_running_loop().create_future()
        with suppress(BrokenPipeError, ConnectionResetError):
            stdin.write(pickle.dumps(make(self._last_id)))
        return done

    def kill(self) -> None:
        """End the process at once; from any thread."""
        process = self._process  # the event loop may forget it meanwhile
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()

    def excuse_silence(self, seconds: float) -> None:
        """Leave so many seconds out of its silence: this process itself stood still, and the reports are not read yet."""
        self._reported_at = min(asyncio.get_running_loop().time(), self._reported_at + seconds)

    def kill_if_silent(self) -> None:
        """End a process that is ready and reports nothing: it hangs, and its successor gets its unacknowledged events."""
        silent_s = asyncio.get_running_loop().time() - self._reported_at
        if self.ready.is_set() and silent_s > _SILENCE_S:
            log.error("process.silent", process=self.number, seconds=round(silent_s))
            self.kill()

    def log_state(self) -> None:
        """Let the process log how it stands."""
        if self._process is not None and self.ready.is_set():
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGUSR1)

    @property
    def restarts(self) -> int:
        """How often it was started again."""
        return max(0, self._lives - 1)

    def snapshot(self) -> ProcessState:
        """Return how the process stood about a second ago, with the counts of all its lives."""
        return self._earlier.with_present(self._state)

    def add_removed(self, total: dict[str, Counts]) -> None:
        """Add the counts of the sources that reloads have removed, over all its lives."""
        for removed in (self._removed_before, self._removed):
            for source, counts in removed.items():
                total.setdefault(source, Counts()).add(counts)

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
                self._has_order = True
                process.stdin.write(pickle.dumps(self._order))
                await process.stdin.drain()
            if self._stop.is_set():  # the stop came while the process was being started
                _end_input(process.stdin)
            async for line in process.stdout:
                self._take(line)
            code = await process.wait()
        finally:
            self.kill()
            self._end_life()
        if code < 0:
            # Real-time signals have numbers only.
            names = {number.value: number.name for number in signal.Signals}
            return f"killed by {names.get(-code, f'signal {-code}')}"
        return f"exit code {code}" if code else None

    def _end_life(self) -> None:
        self.ready.clear()
        self.stuck, self.unready = [], ""
        self._process, self._has_order = None, False
        self._release(self._last_id)
        self._earlier.add(self._state)
        self._state = ProcessState()
        total: dict[str, Counts] = {}
        self.add_removed(total)
        self._removed_before, self._removed = total, {}

    def _take(self, line: bytes) -> None:
        if is_tapped(line):
            with suppress(ValueError):  # half a line
                self._on_tapped(*read_tapped(line))
            return
        with suppress(msgspec.DecodeError):  # half a line, from a process that was killed
            report = _decode(line)
            self._reported_at = asyncio.get_running_loop().time()
            if report.state is not None:
                self.stuck, self.unready, self._state = report.stuck, report.unready, report.state
                self._removed = report.removed
            self._release(report.done)
            if report.ready:
                if self._lives > 1:
                    log.info("process.recovered", process=self.number)
                self.ready.set()

    def _release(self, done: int) -> None:
        """Let those go on that wait for orders up to `done`."""
        for number in [number for number in self._waiting if number <= done]:
            waiting = self._waiting.pop(number)
            if not waiting.done():
                waiting.set_result(None)


def _end_input(stdin: asyncio.StreamWriter) -> None:
    if not stdin.is_closing():
        stdin.write(STOP)
        stdin.close()


async def _start(number: int) -> Process:
    env = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
    # The number is for readers of a process list.
    command = [sys.executable, *_path_flags(), "-m", "bridge.process.child", str(number)]
    return await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, env=env, limit=_MAX_REPORT)


def _path_flags() -> Sequence[str]:
    """Let a child find its modules where this process does: in the working directory only after `python -m`."""
    return () if sys.path[0] in ("", str(Path.cwd())) else ("-P",)
