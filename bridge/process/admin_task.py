"""The admin server of a bridge, as one of its tasks; without `admin:` nothing of it is loaded."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bridge.config import Config
from bridge.errors import describe_error
from bridge.model.control import Controlled
from bridge.observe.logs import logger

if TYPE_CHECKING:
    from bridge.admin.server import AdminServer

log = logger()


class AdminTask:
    """Serves `controlled` as `config` says; a fault of the server never ends the bridge."""

    def __init__(self, config: Config, controlled: Controlled) -> None:
        self._server: AdminServer | None = None
        self._task: asyncio.Task[None] | None = None
        if config.admin is None:
            return
        try:
            from bridge.admin.server import AdminServer  # noqa: PLC0415 - it loads aiohttp and prometheus-client
        except ImportError as error:
            log.warning("admin.unavailable", address=config.admin.listen, cause=describe_error(error))
            return
        self._server = AdminServer(config.admin, controlled)
        self._task = asyncio.create_task(self._serve(self._server), name="bridge:admin")

    def use(self, config: Config) -> None:
        """Take over the token and the names of a configuration that was loaded anew."""
        if self._server is not None and config.admin is not None:
            self._server.use(config.admin)

    async def end(self) -> None:
        """End the server."""
        if self._task is not None:
            if self._server is not None:
                await self._server.finish()
            self._task.cancel()
            await asyncio.wait([self._task], timeout=1)

    async def _serve(self, server: AdminServer) -> None:
        try:
            await server.serve()
        except Exception:
            log.exception("admin.failed")
