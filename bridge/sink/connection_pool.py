"""The sink's connections: a command, its reply, and what an error means for the one that has sent it."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from redis.exceptions import ResponseError

from bridge.config import Dramatiq
from bridge.errors import Disconnected, SinkUnavailable
from bridge.redis_io.connection import RedisConnection

#: After these a new connection is made: a demoted master's name may lead to another server by now, and a connection whose
#: protocol is in error is closed by Redis.
_LAST_WORDS: Final = ("READONLY", "MASTERDOWN", "MOVED", "Protocol error")
#: Those that end only once somebody changes a password or a permission. The last is what a large batch gets instead of
#: NOAUTH (observed).
_DENIED: Final = ("NOAUTH", "NOPERM", "WRONGPASS", "Protocol error: unauthenticated")


class ConnectionPool:
    """As many connections as there are commands at once; one that has failed is not used again."""

    def __init__(self, config: Dramatiq) -> None:
        self._config = config
        self._idle: list[RedisConnection] = []

    async def execute(self, packed_command: bytes) -> Any:
        """Return the reply to a command.

        Raises:
            SinkUnavailable: Redis cannot be reached, or does not do it now.
        """
        try:
            return await self.execute_raw(packed_command)
        except ResponseError as error:
            raise unavailable(error) from None

    async def execute_raw(self, packed_command: bytes) -> Any:
        """Return the reply to a command.

        Raises:
            SinkUnavailable: Redis cannot be reached.
            ResponseError: the reply is an error.
        """
        link = await self._link()
        keep = False
        try:
            link.send(packed_command)
            reply = await link.read()
            keep = True
        except ResponseError as error:
            keep = not str(error).startswith(_LAST_WORDS)
            raise
        except Disconnected as error:
            raise SinkUnavailable(error.cause, denied=error.denied) from None
        finally:
            # Also when cancelled: the reply may still come, and the next command must not take it
            # for its own (CVE-2023-28858).
            if keep:
                self._idle.append(link)
            else:
                await link.close()
        return reply

    async def close(self) -> None:
        """Close every connection."""
        while self._idle:
            await self._idle.pop().close()

    async def _link(self) -> RedisConnection:
        while self._idle:
            link = self._idle.pop()
            if not link.failed:
                return link
            await link.close()
        link = RedisConnection(self._config, timeout_s=self._config.timeout / 1000)
        try:
            await link.open()
        except Disconnected as error:
            await link.close()
            raise SinkUnavailable(error.cause, denied=error.denied) from None
        except asyncio.CancelledError:
            await link.close()
            raise
        return link


def unavailable(error: ResponseError) -> SinkUnavailable:
    """Return what an error reply that is about the server's state means for a writer."""
    return SinkUnavailable(str(error), denied=str(error).startswith(_DENIED))
