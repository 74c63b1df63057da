"""The voice of a bridge as a whole, however many processes it has, to its log and the service manager; and its signals."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Final

import bridge
from bridge.config import Config
from bridge.model.accounting import Counts
from bridge.observe import logs
from bridge.process import systemd

log = logs.logger()
_WATCH_INTERVAL_S: Final = 5.0
#: How long the service manager waits for the next sign of a bridge that is not ready yet.
_START_PATIENCE_USEC: Final = 30_000_000


class Lifecycle:
    """Reports the stages of a bridge; `processes` is their number where there are several."""

    def __init__(self, config: Config, processes: int | None = None) -> None:
        self._sizes = {"sources": len(config.sources), "routes": len(config.routes), "processes": processes}
        self._stopping = self._announced = False

    def begin(self, stop: Callable[[], None], kill: Callable[[], None] = lambda: None) -> None:
        """Report the start; from now on the first signal calls `stop`, a second one `kill`, and then ends the process."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number, stop, kill)
        log.info("bridge.starting", version=bridge.__version__, **self._sizes)
        systemd.notify("STATUS=connecting")

    def ready(self) -> None:
        """Report that every source is connected, and that the sink takes writes."""
        self._announced = True
        log.info("bridge.ready", **self._sizes)
        systemd.notify("READY=1\nSTATUS=running")

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
        total = Counts()
        for source, source_counts in counts.items():
            if source_counts.lost:
                log.error(
                    "source.lost",
                    source=source,
                    events=source_counts.lost,
                    cause="not written, and no broker redelivers them",
                )
            log.info("source.counts", source=source, **asdict(source_counts))
            total.add(source_counts)
        log.info("bridge.stopped", **asdict(total))

    def _on_signal(self, number: int, stop: Callable[[], None], kill: Callable[[], None]) -> None:
        name = signal.Signals(number).name
        if self._stopping:
            # Brokers keep unacknowledged events; events that come once are lost unless they are written or spooled.
            log.warning("bridge.stopped_at_once", signal=name)
            kill()
            logs.flush()
            os._exit(1)
        self._stopping = True
        log.info("bridge.stopping", signal=name)
        systemd.notify("STOPPING=1\nSTATUS=draining")
        stop()
