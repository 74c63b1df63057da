"""One of several child processes: `python -m bridge.process.child`, which only `bridge.process.child_process` starts.

Its standard input brings its order, further ones, and then STOP: the process drains and ends. It does so too when that input
ends without the word, because the parent has died; see `orders`. Its standard output takes reports,
one JSON object a line. Signals that stop a bridge are blocked in it, see `lifecycle.block_signals`; it passes on SIGXCPU,
which the kernel sends it alone.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import select
import signal
import sys
import threading
import time
from typing import Final, NoReturn

import msgspec

from bridge.delivery import tasks
from bridge.model.accounting import Counts
from bridge.model.state import ProcessState
from bridge.observe import logs
from bridge.process import ending, orders
from bridge.process.bridge import Bridge
from bridge.process.event_loop import loop_factory
from bridge.process.orders import Further, Order, PauseOrder, TapOrder
from bridge.process.reload import Stopping
from bridge.process.tapping import PipeTaps

#: How often the parent gets the counts; of a killed process, events after its last report are not counted.
_REPORT_INTERVAL_S: Final = 1.0
#: How long the last report may take.
_LAST_REPORT_S: Final = 1.0
_STDOUT, _STDERR = 1, 2
log = logs.logger()


class Report(msgspec.Struct, omit_defaults=True):
    """A report to the parent: that the process is ready, or how it stands, as one snapshot.

    `stuck`, `unready` and `removed` come with `state`: see `Bridge`. `done` is the id of the last order that was carried out.
    """

    ready: bool = False
    done: int = 0
    stuck: list[str] = []
    unready: str = ""
    state: ProcessState | None = None
    removed: dict[str, Counts] = {}


_encode: Final = msgspec.json.Encoder().encode


def main() -> NoReturn:
    """Run the parent's order until the parent says stop, or dies, and end the process."""
    parent = os.getppid()
    try:
        order: Order = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the parent alone
    except EOFError:
        sys.exit(0)  # the parent died before it could give its order
    reports = Reports(os.dup(_STDOUT))
    # Output that a library might print is not a report.
    os.dup2(_STDERR, _STDOUT)
    logs.configure(order.log_format, order.log_level, process=order.number, secrets=order.config.secrets())
    ending.run(_run(order, reports, parent), loop_factory(), "process.failed")


async def _run(order: Order, reports: Reports, parent: int) -> int:
    bridge = Bridge(order.config, on_ready=lambda: reports.report_ready(bridge), first=order.number == 0)
    bridge.set_pauses(order.pauses)
    loop = asyncio.get_running_loop()
    further: asyncio.Queue[Further] = asyncio.Queue()
    taps = reports.taps = PipeTaps(bridge.taps, reports.flush_soon)

    def last_words() -> int:
        reports.end(bridge)
        return 0 if bridge.settled else 1

    is_orphaned = False

    def obey_until_stop() -> None:
        nonlocal is_orphaned
        try:
            while (each := orders.read(sys.stdin.buffer)) is not None:  # the buffer from which the first order came
                loop.call_soon_threadsafe(further.put_nowait, each)
        except EOFError:
            is_orphaned = True
        ending.end_in(bridge.config.drain_timeout / 1000 + ending.LEAVE_S, last_words)
        loop.call_soon_threadsafe(bridge.stop)

    def pass_on_limit_of_cpu_time() -> None:
        while signal.sigwait({signal.SIGXCPU}):
            if os.getppid() == parent:
                os.kill(parent, signal.SIGXCPU)

    threading.Thread(target=obey_until_stop, name="stop", daemon=True).start()
    threading.Thread(target=pass_on_limit_of_cpu_time, name="signals", daemon=True).start()
    reporting = loop.create_task(reports.report_repeatedly(bridge), name="child:reports")
    if order.taps:
        further.put_nowait(TapOrder(0, order.taps))
    obeying = loop.create_task(_obey(bridge, taps, further, reports), name="child:orders")
    try:
        await bridge.run()
    finally:
        obeying.cancel()
        reporting.cancel()
        reports.end(bridge)
    if is_orphaned:
        log.error("process.orphaned", cause="the bridge's first process has died")
    return 0 if bridge.settled else 1


async def _obey(bridge: Bridge, taps: PipeTaps, further: asyncio.Queue[Further], reports: Reports) -> None:
    """Carry out one order after another, for ever; a failure ends the process, and the next one begins with the new order."""
    while True:
        each = await further.get()
        try:
            if isinstance(each, PauseOrder):
                await bridge.apply_pauses(each.pauses)
            elif isinstance(each, TapOrder):
                await taps.apply(each.taps)
            else:
                order = each.order
                logs.reconfigure(
                    order.log_format,
                    order.log_level,
                    order.number,
                    secrets=order.config.secrets() | bridge.config.secrets(),
                )
                await bridge.swap(order.config)
        except Stopping:
            return
        except Exception:
            log.critical("process.failed", exc_info=True)
            tasks.end_process(1)
        reports.report_done(each.id)


class Reports:
    """The pipe to the parent. A line is written whole, if need be in pieces: then the next one follows a second later.

    Lines of taps are written while no report waits.
    """

    def __init__(self, file: int) -> None:
        # A parent that does not read must not keep this process from its work: the next report repeats everything.
        os.set_blocking(file, False)
        self._file = file
        #: The rest of the lines that are being written, and the reports behind them.
        self._rest = self._reports = b""
        self._done = 0
        self._is_writing = False
        self.taps: PipeTaps | None = None

    def report_done(self, order: int) -> None:
        """Report that the order with this id is carried out; each later report repeats it."""
        self._done = order
        self._reports += _encode(Report(done=order)) + b"\n"
        self._flush()

    def report_ready(self, bridge: Bridge) -> None:
        """Report how the process stands, and that it is ready."""
        self._add(bridge)
        self._reports += _encode(Report(ready=True)) + b"\n"
        self._flush()

    async def report_repeatedly(self, bridge: Bridge) -> None:
        """Report each second how the process stands."""
        while True:
            await asyncio.sleep(_REPORT_INTERVAL_S)
            if not self._reports:
                self._add(bridge)
            self._flush()

    def end(self, bridge: Bridge) -> None:
        """Report how the process stands at its end, and wait a moment for a parent that has not read the reports before."""
        self._add(bridge)
        self._flush()
        end = time.monotonic() + _LAST_REPORT_S
        while (self._rest or self._reports) and (left_s := end - time.monotonic()) > 0:
            select.select([], [self._file], [], left_s)
            self._flush()

    def _add(self, bridge: Bridge) -> None:
        report = Report(
            done=self._done,
            stuck=bridge.stuck(),
            unready=bridge.unready(),
            state=bridge.snapshot(),
            removed=bridge.removed(),
        )
        self._reports += _encode(report) + b"\n"

    def flush_soon(self) -> None:
        """Write the lines of taps, once the pipe takes something."""
        if not self._is_writing:
            self._is_writing = True
            asyncio.get_running_loop().add_writer(self._file, self._write_lines)

    def _write_lines(self) -> None:
        self._flush()
        if not self._rest:
            self._is_writing = False
            asyncio.get_running_loop().remove_writer(self._file)

    def _flush(self) -> None:
        try:
            while self._rest or self._next():
                self._rest = self._rest[os.write(self._file, self._rest) :]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            self._rest = b""  # the parent has died; nobody waits for it

    def _next(self) -> bool:
        """Let the reports be written next, else lines of taps; return whether there are any."""
        self._rest, self._reports = self._reports, b""
        if not self._rest and self.taps is not None:
            self._rest = self.taps.take()
        return bool(self._rest)


if __name__ == "__main__":
    main()
