"""Reloads, one at a time: load, check, compare, prepare, and then swap. Unless all of that succeeds, nothing changes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from bridge.config import Config
from bridge.errors import ConfigError, describe_error
from bridge.model.control import Reloaded
from bridge.observe import logs
from bridge.process.changes import Changes, compare
from bridge.process.lifecycle import Lifecycle
from bridge.process.loader import Prepared

log = logs.logger()
#: So many mistakes, and changes, stand in the log.
_MAX_MISTAKES: Final = 5
_MAX_CHANGES: Final = 20
_STOPPING: Final = "the bridge stops"
#: Makes a configuration live whose changes can be made live.
Swap = Callable[[Prepared, Changes], Awaitable[None]]
#: Calls what it is given whenever the configuration is to be loaded again, for ever.
Watch = Callable[[Callable[[], Awaitable[object]]], Coroutine[Any, Any, None]]


class Stopping(Exception):
    """The bridge stops, and a reload comes too late."""


class Reloader:
    """Reloads a bridge that runs `prepared`: `load` returns the present content of its file, and `swap` makes it live.

    `lifecycle` tells the service manager. `on_reloaded` gets each answer.
    """

    def __init__(
        self,
        load: Callable[[], Prepared],
        prepared: Prepared,
        swap: Swap,
        lifecycle: Lifecycle,
        on_reloaded: Callable[[Reloaded], None] = lambda _: None,
    ) -> None:
        self._load = load
        self._lifecycle = lifecycle
        self._on_reloaded = on_reloaded
        self._prepared = prepared
        self._swap = swap
        self._lock = asyncio.Lock()
        self._next: asyncio.Task[Reloaded] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stopping = False

    @property
    def config(self) -> Config:
        """The configuration that runs."""
        return self._prepared.config

    async def reload(self) -> Reloaded:
        """Load the file again; see `bridge.model.control.Controlled`."""
        if self._stopping:
            return Reloaded("failed", cause=_STOPPING)
        task = self.reload_soon()
        await asyncio.wait([task])
        return Reloaded("failed", cause=_STOPPING) if task.cancelled() else task.result()

    def reload_soon(self) -> asyncio.Task[Reloaded]:
        """Reload once those that have begun are over; calls until then share one."""
        if self._next is None:
            self._next = asyncio.create_task(self._reload_in_turn(), name="bridge:reload")
            self._tasks.add(self._next)
            self._next.add_done_callback(self._tasks.discard)
        return self._next

    def begin(self, watch: Watch | None) -> None:
        """Reload whenever `watch` says so too, until `stop`."""
        if watch is not None:
            self._tasks.add(asyncio.create_task(watch(self.reload), name="bridge:watch"))

    def stop(self) -> None:
        """Begin no reload any more, and give up the one that has begun: a stop wins."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()

    async def _reload_in_turn(self) -> Reloaded:
        async with self._lock:
            self._next = None  # the file may change from now on: who calls now wants another load
            self._lifecycle.reloading()
            try:
                reloaded = await self._reload()
            except Exception as error:
                # A fault of ours must not end the bridge that runs, nor the watch over its files.
                log.exception("bridge.reload_broken")
                reloaded = Reloaded("failed", cause=describe_error(error))
            self._lifecycle.reloaded(self.config)
            self._on_reloaded(reloaded)
            _say(reloaded)
            return reloaded

    async def _reload(self) -> Reloaded:
        try:
            loaded = await asyncio.to_thread(self._load)
        except ConfigError as error:
            return Reloaded("invalid", cause=_describe(error))
        except Exception as error:  # noqa: BLE001 - a fault of loading must not end the bridge that runs
            return Reloaded("failed", cause=describe_error(error))
        before = self._prepared
        # Before the first line that may quote one; those before may still be quoted by connections that end.
        secrets = loaded.config.secrets() | before.config.secrets()
        logs.set_secrets(secrets)
        changes = compare(before.config, loaded.config)
        if changes.refused:
            return Reloaded("refused", cause=changes.refused)
        logs.reconfigure(loaded.log_format, loaded.log_level, secrets=secrets)
        try:
            await self._swap(loaded, changes)
        except Exception as error:
            logs.reconfigure(before.log_format, before.log_level, secrets=secrets)
            if isinstance(error, Stopping):
                return Reloaded("failed", cause=_STOPPING)
            raise
        self._prepared = loaded
        return Reloaded("ok", list(changes.words))


def _say(reloaded: Reloaded) -> None:
    if reloaded.result == "ok":
        changes = reloaded.changes
        more = [f"and {len(changes) - _MAX_CHANGES} more"] if len(changes) > _MAX_CHANGES else []
        log.info("bridge.reloaded", changes=[*changes[:_MAX_CHANGES], *more])
    elif reloaded.result == "refused":
        log.error("bridge.reload_refused", cause=f"{reloaded.cause}; nothing has changed")
    else:
        cause = reloaded.cause.replace("\n", " | ")
        log.error("bridge.reload_failed", result=reloaded.result, cause=f"{cause}; nothing has changed")


def _describe(error: ConfigError) -> str:
    """Return the first mistakes, each on a line with its place, without the lines of the file."""
    found = error.diagnostics
    texts = [
        f"{each.file}:{each.line}:{each.column}: {f'{each.where}: ' if each.where else ''}{each.message}"
        f"{f'; {each.hint}' if each.hint else ''}"
        for each in found[:_MAX_MISTAKES]
    ]
    more = f"\nand {len(found) - _MAX_MISTAKES} more" if len(found) > _MAX_MISTAKES else ""
    return "\n".join(texts) + more
