"""The voice of a bridge as a whole, however many processes it has, to its log and the service manager; and its signals."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import bridge
from bridge.config import Config
from bridge.delivery import tasks
from bridge.delivery.counts_log import counts_fields, log_routes
from bridge.model.accounting import Counts
from bridge.model.state import Phase
from bridge.observe import logs
from bridge.process import ending, systemd

log = logs.logger()
_WATCH_INTERVAL_S: Final = 5.0
#: How long the service manager waits for the next sign of a bridge that is not ready yet.
_START_PATIENCE_USEC: Final = 30_000_000
#: The end itself: the log's last lines, and a machine that is busy.
_STOP_MARGIN_S: Final = 1.5
#: All signals that would end a process without a word, and that a terminal, a service manager, the kernel or a person
#: sends. SIGUSR1 asks for the state, and Python ignores SIGPIPE and SIGXFSZ.
STOPPING_SIGNALS: Final = (
    *(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT),
    *(signal.SIGUSR2, signal.SIGALRM, signal.SIGXCPU),
)


def block_signals() -> None:
    """Block the stopping signals in this thread, and so in all threads and processes that it starts: `Lifecycle` waits for them.

    A child process never gets them: a terminal and a service manager send them to the whole group, and the parent decides.

    A thread that was there before, as `opentelemetry-instrument` starts one, would take the first signal and end the process
    (observed). Then the program starts over in the same process: the mask survives, and no thread begins without it.
    """
    signals = _stopping_signals()
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    if _threads() > 1 and not signals <= blocked:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - its own command line


def _threads() -> int:
    """Return the number of the process's threads, also of those that Python does not know."""
    try:
        return len(list(Path("/proc/self/task").iterdir()))
    except OSError:  # not Linux
        return threading.active_count()


def _stopping_signals() -> set[signal.Signals]:
    # nohup has SIGHUP ignored: then the bridge outlives its terminal. Linux delivers an ignored signal that is blocked.
    ignored = {number for number in STOPPING_SIGNALS if signal.getsignal(number) is signal.SIG_IGN}
    return set(STOPPING_SIGNALS) - (ignored - {signal.SIGTERM, signal.SIGINT})


class Running(Protocol):
    """The bridge that a lifecycle stops: one process of its own, or several."""

    @property
    def settled(self) -> bool:
        """Whether a stop has given every received event its outcome; what may still take time closes things."""
        ...

    def stop(self) -> None:
        """Take nothing new, finish the received events, and end."""
        ...

    def kill(self) -> None:
        """End all child processes at once; from any thread."""
        ...

    def counts(self) -> Mapping[str, Counts]:
        """Return the numbers of each source's events by their fate, until now."""
        ...


class Lifecycle:
    """Reports the stages of a bridge; `processes` is their number where there are several."""

    def __init__(self, config: Config, processes: int | None = None) -> None:
        self._processes = processes
        self._announced = self._ended = self._stopping = False
        self.use(config)

    @property
    def phase(self) -> Phase:
        """The stage of the bridge."""
        if self._stopping:
            return "draining"
        return "running" if self._announced else "starting"

    def use(self, config: Config) -> None:
        """Speak of this configuration from now on."""
        self._sizes = {"sources": len(config.sources), "routes": len(config.routes), "processes": self._processes}
        leave_s = ending.LEAVE_S if self._processes is None else ending.LEAVE_WITH_CHILDREN_S
        self._stop_within_s = config.drain_timeout / 1000 + leave_s

    def begin(self, run: Running, reload: Callable[[], object] | None = None) -> None:
        """Report the start; from now on the first signal stops the bridge, and a second one ends the process at once.

        SIGHUP calls `reload` on the event loop instead, unless standard error is a terminal: then it says that the terminal
        is gone. A thread obeys them, since the event loop may hang: the process ends whether or not the bridge has stopped
        in time.
        """
        if sys.stderr is not None and sys.stderr.isatty():
            reload = None
        obey = partial(self._obey, asyncio.get_running_loop(), run, reload)
        threading.Thread(target=obey, name="signals", daemon=True).start()
        log.info("bridge.starting", version=bridge.__version__, **self._sizes)
        systemd.notify("STATUS=connecting")

    def ready(self) -> None:
        """Report that every source is connected, and that the sink takes writes."""
        self._announced = True
        # Before the line: who waits for it may stop the bridge at once, and READY=1 must not follow STOPPING=1.
        systemd.notify("READY=1\nSTATUS=running")
        log.info("bridge.ready", **self._sizes)

    async def watch(self, stuck: Callable[[], Sequence[str]], unready: Callable[[], str]) -> None:
        """Report whenever the bridge becomes ready or ceases to be, for ever: sources are `stuck`, or it is `unready`.

        Feeds the service manager's watchdog, unless sources are stuck; until the bridge is ready, asks the manager to
        wait, since an outage of a broker has no upper bound.
        """
        within_s = systemd.watchdog_s()
        interval_s = _WATCH_INTERVAL_S if within_s is None else min(within_s / 3, _WATCH_INTERVAL_S)
        cause = ""
        while True:
            names = stuck()
            before, cause = cause, f"stuck: {', '.join(names)}" if names else unready()
            if cause != before:
                self._report(cause, names)
            if not self._announced:
                systemd.notify(f"EXTEND_TIMEOUT_USEC={_START_PATIENCE_USEC}")
            if not names and within_s is not None:
                systemd.notify("WATCHDOG=1")
            await asyncio.sleep(interval_s)

    def _report(self, cause: str, names: Sequence[str]) -> None:
        if cause:
            log.error("bridge.not_ready", stuck=list(names) or None, cause=None if names else cause)
            systemd.notify(f"STATUS={cause}")
        elif self._announced:
            self.ready()

    def end(self, counts: Mapping[str, Counts]) -> None:
        """Report the counts of each source, and of all together."""
        self._ended = True
        total = Counts()
        for source, source_counts in counts.items():
            if source_counts.lost:
                log.error(
                    "source.lost",
                    source=source,
                    events=source_counts.lost,
                    cause="not written, and no broker redelivers them",
                )
            log.info("source.counts", source=source, **counts_fields(source_counts))
            log_routes("route.counts", source, source_counts)
            total.add(source_counts)
        log.info("bridge.stopped", **counts_fields(total))

    def reloading(self) -> None:
        """Tell the service manager that a reload begins, which it may have asked for."""
        if self._announced and not self._stopping:
            # The time tells it that this is no answer to an earlier one (sd_notify(3)).
            systemd.notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def reloaded(self, config: Config) -> None:
        """Tell it that a reload is over, and with which configuration the bridge runs now."""
        self.use(config)
        if self._announced and not self._stopping:
            systemd.notify("READY=1")

    def _obey(self, loop: asyncio.AbstractEventLoop, run: Running, reload: Callable[[], object] | None) -> None:
        signals = _stopping_signals()
        while (number := signal.sigwait(signals)) == signal.SIGHUP and reload is not None:
            log.info("bridge.reload_requested", signal="SIGHUP")
            loop.call_soon_threadsafe(reload)
        name = signal.Signals(number).name
        self._stopping = True
        log.info("bridge.stopping", signal=name)
        # The service manager may be set to wait for less than the drain_timeout of the file.
        stop_usec = int((self._stop_within_s + _STOP_MARGIN_S) * 1_000_000)
        systemd.notify(f"STOPPING=1\nSTATUS=draining\nEXTEND_TIMEOUT_USEC={stop_usec}")
        ending.end_in(self._stop_within_s, partial(self._end_late, run))
        loop.call_soon_threadsafe(run.stop)
        # The kernel repeats SIGXCPU each second of CPU, which a drain may take; and no reload is a second stop.
        no_stop = {signal.SIGXCPU} if reload is None else {signal.SIGXCPU, signal.SIGHUP}
        name = signal.Signals(signal.sigwait(signals - no_stop)).name
        # Brokers keep unacknowledged events; events that come once are lost unless they are written or spooled.
        log.warning("bridge.stopped_at_once", signal=name)
        with suppress(Exception):  # the event loop may be changing the processes; this one ends in any case
            run.kill()
        tasks.end_process(1)

    def _end_late(self, run: Running) -> int:
        """Log that the stop has no more time, with the counts until now; return the exit code."""
        cause = "a connection, a disk or a resolver still hangs" if run.settled else "events were not finished"
        log.warning("bridge.stop_cut_short", after=self._stop_within_s, cause=cause)
        with suppress(Exception):
            run.kill()
        if not self._ended:
            self.end(run.counts())
        return 0 if run.settled else 1
