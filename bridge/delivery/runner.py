"""The runner of one source: its connection, made again and again, and its dispatcher."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from bridge import sources
from bridge.backoff import Backoff
from bridge.config import Config, redacted_url
from bridge.delivery.outlet import SinkAvailability, SinkContext
from bridge.delivery.pipeline import Dispatcher
from bridge.errors import Disconnected
from bridge.observe.logs import LogThrottle, logger
from bridge.routing import router
from bridge.routing.routes import RouteTable
from bridge.sources.contract import Session, Source
from bridge.spool import SpoolDirectory

log = logger()
#: A connection that lasted this long has succeeded: the next attempt follows soon again.
_STEADY_S: Final = 10.0
_AGAIN_S: Final = 0.2


class Runner:
    """One source: its connection, made again and again, and its dispatcher.

    `left` is what is left of it from an earlier start, under a name of its own: see `sources.orphaned_sessions`.
    """

    def __init__(
        self, name: str, config: Config, table: RouteTable, outlet: SinkContext, left: tuple[str, Source] | None = None
    ) -> None:
        source_config = config.sources[name]
        self.source = name
        self.name, source = left or (
            name,
            sources.make(name, config, SinkAvailability(outlet, name)),
        )
        self.connected = asyncio.Event()
        self._config = source_config
        self._routes = len(table.routes)
        self._source = source
        self.dispatcher = Dispatcher(self.name, source, router.make(source_config, table), outlet)
        self._outlet = outlet
        self._session: Session | None = None
        self._throttle = LogThrottle()

    @property
    def moved(self) -> int:
        """See `Watched`."""
        return self.dispatcher.moved

    @property
    def due(self) -> bool:
        """See `Watched`."""
        held = self._session is not None and self._session.held > 0
        waits = not self._outlet.state.takes(self.name) or self._outlet.pressure.holds(self.name)
        return (held or self.dispatcher.busy) and not (waits or self.dispatcher.stopping)

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
                wait = max(backoff.next(denied=error.denied), error.retry_s)
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
        self.dispatcher.stopping = True
        while self._session is None and not task.done():
            await cancel([task], within_s=_AGAIN_S)
        if self._session is not None:
            await self._session.pause()

    def _must_end(self) -> bool:
        # Asked after each connect, because a library's can swallow a cancellation.
        task = asyncio.current_task()
        return self.dispatcher.stopping or (task is not None and task.cancelling() > 0)

    def _say_connected(self) -> None:
        self.connected.set()
        self._throttle = LogThrottle()
        url = redacted_url(self._config.url)
        log.info("source.connected", source=self.name, type=self._config.type, url=url, routes=self._routes)

    def _say_disconnected(self, cause: str, wait: float, *, connected: bool) -> None:
        event = "source.disconnected" if connected else "source.unavailable"
        suppressed = self._throttle.allow(event, cause)
        if suppressed is not None:
            url = redacted_url(self._config.url)
            log.error(event, source=self.name, url=url, cause=cause, retry_in=round(wait, 2), repeated=suppressed)


async def cancel(tasks: Sequence[asyncio.Task[None]], within_s: float) -> None:
    """Cancel until it takes, since a connect can swallow it (see `_must_end`)."""
    deadline = asyncio.get_running_loop().time() + within_s
    pending = {task for task in tasks if not task.done()}
    while pending and asyncio.get_running_loop().time() < deadline:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_AGAIN_S)
