"""One of several child processes: `python -m bridge.process.child`, which only `bridge.process.supervisor` starts.

Its standard input brings its order, and then STOP: the process drains and ends. It does so too when that input ends without
the word, because the parent has died. Its standard output takes reports,
one JSON object a line. Signals that stop a bridge are blocked in it, see `lifecycle.block_signals`; it passes on SIGXCPU,
which the kernel sends it alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import signal
import sys
import threading
from dataclasses import dataclass
from typing import Final, NoReturn

import msgspec

from bridge.config import Config
from bridge.model.accounting import Counts
from bridge.observe import logs
from bridge.process import ending
from bridge.process.bridge import Bridge
from bridge.process.event_loop import loop_factory

#: How often the parent gets the counts; of a killed process, events after its last report are not counted.
_REPORT_INTERVAL_S: Final = 1.0
_STDOUT, _STDERR = 1, 2
#: The end of the input alone would not tell a stop from the parent's death: it comes before the child has another parent.
STOP: Final = b"."
log = logs.logger()


@dataclass(frozen=True, slots=True)
class Order:
    """The order to a child process: its number (0 is the first), the configuration that it runs, and how it logs."""

    number: int
    config: Config
    log_format: logs.Format | None
    log_level: str


class Report(msgspec.Struct, omit_defaults=True):
    """A report to the parent: that the process is ready, which sources are stuck, or the counts of one source.

    `unready` comes with `stuck`: see `Bridge.unready`.
    """

    ready: bool = False
    stuck: list[str] | None = None
    unready: str = ""
    source: str = ""
    counts: Counts | None = None


_encode: Final = msgspec.json.Encoder().encode


def main() -> NoReturn:
    """Run the parent's order until the parent says stop, or dies, and end the process."""
    parent = os.getppid()
    try:
        order: Order = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the parent alone
    except EOFError:
        sys.exit(0)  # the parent died before it could give its order
    reports = os.dup(_STDOUT)
    # Output that a library might print is not a report.
    os.dup2(_STDERR, _STDOUT)
    logs.configure(order.log_format, order.log_level, process=order.number, secrets=order.config.secrets())
    ending.run(_run(order, reports, parent), loop_factory(), "process.failed")


async def _run(order: Order, reports: int, parent: int) -> int:
    bridge = Bridge(order.config, on_ready=lambda: _write(reports, Report(ready=True)), first=order.number == 0)
    loop = asyncio.get_running_loop()

    def last_words() -> int:
        _report(bridge, reports)
        return 0 if bridge.settled else 1

    is_orphaned = False

    def stop_at_end_of_input() -> None:
        nonlocal is_orphaned
        is_orphaned = sys.stdin.buffer.read(1) != STOP  # by the buffer from which the order came
        ending.end_in(order.config.drain_timeout / 1000 + ending.LEAVE_S, last_words)
        loop.call_soon_threadsafe(bridge.stop)

    def pass_on_limit_of_cpu_time() -> None:
        while signal.sigwait({signal.SIGXCPU}):
            if os.getppid() == parent:
                os.kill(parent, signal.SIGXCPU)

    threading.Thread(target=stop_at_end_of_input, name="stop", daemon=True).start()
    threading.Thread(target=pass_on_limit_of_cpu_time, name="signals", daemon=True).start()
    # A parent that does not read must not keep this process from its work: the next report repeats everything.
    os.set_blocking(reports, False)
    reporting = loop.create_task(_report_repeatedly(bridge, reports), name="child:reports")
    try:
        await bridge.run()
    finally:
        reporting.cancel()
        os.set_blocking(reports, True)
        _report(bridge, reports)
    if is_orphaned:
        log.error("process.orphaned", cause="the bridge's first process has died")
    return 0 if bridge.settled else 1


async def _report_repeatedly(bridge: Bridge, reports: int) -> None:
    while True:
        await asyncio.sleep(_REPORT_INTERVAL_S)
        _report(bridge, reports)


def _report(bridge: Bridge, reports: int) -> None:
    _write(reports, Report(stuck=bridge.stuck(), unready=bridge.unready()))
    for source, counts in bridge.counts().items():
        _write(reports, Report(source=source, counts=counts))


def _write(reports: int, report: Report) -> None:
    # The line is shorter than PIPE_BUF: it is written whole or not at all.
    with contextlib.suppress(BlockingIOError, BrokenPipeError):
        os.write(reports, _encode(report) + b"\n")


if __name__ == "__main__":
    main()
