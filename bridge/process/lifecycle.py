"""What is said of a bridge as a whole, once, however many processes it has; and how it is told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Final

import bridge
from bridge.config import Config
from bridge.observe.logs import logger
from bridge.process import systemd
from bridge.routing.router import Counts

log = logger()
_LOOK_EVERY_S: Final = 5.0


class Lifecycle:
    """Speaks for a bridge, to its log and to the service manager; `processes` are told where there are several."""

    def __init__(self, config: Config, processes: int | None = None) -> None:
        self._sizes = {"sources": len(config.sources), "routes": len(config.routes), "processes": processes}
        self._stopping = False

    def begin(self, stop: Callable[[], None], kill: Callable[[], None] = lambda: None) -> None:
        """Say that the bridge starts; from now on the first signal calls `stop`, a second one `kill` and ends it."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number, stop, kill)
        log.info("bridge.starting", version=bridge.__version__, **self._sizes)
        systemd.notify("READY=1\nSTATUS=running")

    def ready(self) -> None:
        """Say that everything is connected."""
        log.info("bridge.ready", **self._sizes)

    async def watch(self, stuck: Callable[[], Sequence[str]]) -> None:
        """Tell the service manager's watchdog that all is well, for ever, unless sources are `stuck`."""
        within_s = systemd.watchdog_s()
        every_s = _LOOK_EVERY_S if within_s is None else min(within_s / 3, _LOOK_EVERY_S)
        well = True
        while True:
            names = stuck()
            if bool(names) == well:
                well = not names
                if names:
                    log.error("bridge.not_ready", stuck=list(names))
                systemd.notify(f"STATUS={'running' if well else 'stuck: ' + ', '.join(names)}")
                if well:
                    self.ready()
            if well and within_s is not None:
                systemd.notify("WATCHDOG=1")
            await asyncio.sleep(every_s)

    def end(self, counts: Mapping[str, Counts]) -> None:
        """Say what has become of the events of each source, and of all together."""
        total = Counts()
        for source, its in counts.items():
            if its.lost:
                log.error("source.lost", source=source, events=its.lost, cause="not written before the stop")
            log.info("source.counts", source=source, **asdict(its))
            total.add(its)
        log.info("bridge.stopped", **asdict(total))

    def _on_signal(self, number: int, stop: Callable[[], None], kill: Callable[[], None]) -> None:
        name = signal.Signals(number).name
        if self._stopping:
            # Nothing is lost by it: what is not settled stays with its broker.
            log.warning("bridge.stopped_at_once", signal=name)
            kill()
            os._exit(1)
        self._stopping = True
        log.info("bridge.stopping", signal=name)
        systemd.notify("STOPPING=1\nSTATUS=draining")
        stop()
