"""One of several worker processes: `python -m bridge.process.child`, which `bridge.process.supervisor` starts and nobody else does.

Its standard input brings what it is to run, and the end of it is the word to drain and end: the
parent closes it, and it closes by itself however the parent dies. Its standard output takes reports,
one JSON object a line. Signals that stop a bridge are blocked in it: a terminal's Ctrl-C and a service
manager's SIGTERM reach the whole group, and the parent, which they reach too, decides.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import sys
from typing import Final

import msgspec

from bridge.config import Config
from bridge.observe import logs
from bridge.process.bridge import Supervisor, loop_factory
from bridge.routing.router import Counts

#: How often the parent is told the counts; what a worker did after its last report is not counted if it is killed.
_REPORT_S: Final = 1.0
_STDIN, _STDOUT, _STDERR = range(3)
#: A worker's number, what it runs, and its log's format and level.
Order = tuple[int, Config, logs.Format | None, str]


class Report(msgspec.Struct, omit_defaults=True):
    """What a worker tells its parent: that it is ready, which sources are stuck, or what has become of a source's events."""

    ready: bool = False
    stuck: list[str] | None = None
    source: str = ""
    counts: Counts | None = None


_encode: Final = msgspec.json.Encoder().encode


def main() -> int:
    """Run what the parent orders until it says stop, or dies; return the exit code."""
    parent = os.getppid()
    try:
        order: Order = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the parent alone
    except EOFError:
        return 0  # it has died before it could say what is to be done
    number, config, log_format, log_level = order
    reports = os.dup(_STDOUT)
    # What a library might print is not a report.
    os.dup2(_STDERR, _STDOUT)
    logs.configure(log_format, log_level, process=number)
    log = logs.logger()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        try:
            runner.run(_run(number, config, reports))
        except Exception:
            log.critical("worker.failed", exc_info=True)
            return 1
    if os.getppid() != parent:
        log.error("worker.orphaned", cause="the bridge's first process has died")
    return 0


async def _run(number: int, config: Config, reports: int) -> None:
    supervisor = Supervisor(config, on_ready=lambda: _tell(reports, Report(ready=True)), first=number == 0)
    loop = asyncio.get_running_loop()

    def on_end_of_input() -> None:
        loop.remove_reader(_STDIN)
        supervisor.stop()

    loop.add_reader(_STDIN, on_end_of_input)
    # A parent that does not read must not keep a worker from its work: the next report says all again.
    os.set_blocking(reports, False)
    telling = loop.create_task(_tell_counts(supervisor, reports), name="worker:counts")
    try:
        await supervisor.run()
    finally:
        telling.cancel()
        os.set_blocking(reports, True)
        _tell_all(supervisor, reports)


async def _tell_counts(supervisor: Supervisor, reports: int) -> None:
    while True:
        await asyncio.sleep(_REPORT_S)
        _tell_all(supervisor, reports)


def _tell_all(supervisor: Supervisor, reports: int) -> None:
    _tell(reports, Report(stuck=supervisor.stuck()))
    for source, counts in supervisor.counts().items():
        _tell(reports, Report(source=source, counts=counts))


def _tell(reports: int, report: Report) -> None:
    # The line is shorter than PIPE_BUF: it is written whole or not at all.
    with contextlib.suppress(BlockingIOError, BrokenPipeError):
        os.write(reports, _encode(report) + b"\n")


if __name__ == "__main__":
    sys.exit(main())
