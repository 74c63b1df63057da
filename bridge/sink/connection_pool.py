"""The sink's connections: runs commands, and turns errors into those of the sink's contract."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from redis.exceptions import ResponseError

from bridge.config import Dramatiq
from bridge.errors import Disconnected, SinkUnavailable
from bridge.redis_io.connection import RedisConnection
from bridge.redis_io.servers import not_redis, with_remedy

#: After these errors the next command uses a new connection: a demoted master's name may lead to another server by now,
#: and Redis closes a connection after a protocol error.
_FATAL_REPLIES: Final = ("READONLY", "MASTERDOWN", "MOVED", "Protocol error")
#: These errors end only once somebody changes a password, a permission or the server. Redis sends the fourth one instead of
#: NOAUTH when the batch is large (observed).
_DENIED_REPLIES: Final = (
    *("NOAUTH", "NOPERM", "WRONGPASS", "Protocol error: unauthenticated"),
    *("unknown command", "CROSSSLOT"),
)


class Unanswered(SinkUnavailable):
    """A command was sent, and the connection has ended without its reply: Redis may have run it, or run it later."""


class ConnectionPool:
    """As many connections as there are commands at once; a connection that has failed is never used again."""

    def __init__(self, config: Dramatiq) -> None:
        self._config = config
        self._idle: list[RedisConnection] = []

    async def execute(self, encoded_command: bytes) -> Any:
        """Return the reply to a command (see `encode_command`).

        Raises:
            SinkUnavailable: Redis cannot be reached, or replies with an error.
        """
        reply = await self.execute_raw(encoded_command)
        if isinstance(reply, ResponseError):
            raise unavailable(reply)
        return reply

    async def execute_raw(self, encoded_command: bytes) -> Any:
        """Return the reply to a command (see `encode_command`); an error reply is returned as a ResponseError.

        It is not raised: its traceback would keep the frames of all callers, and with them the command, of up to
        megabytes.

        Raises:
            SinkUnavailable: Redis cannot be reached; it is `Unanswered` if the command was sent.
        """
        connection = await self._take_idle_or_connect()
        reusable = False
        try:
            connection.send(encoded_command)
            del encoded_command  # an error below keeps this frame
            (reply,) = await connection.read_all(1)
            reusable = not (isinstance(reply, ResponseError) and str(reply).startswith(_FATAL_REPLIES))
        except Disconnected as error:
            raise Unanswered(with_remedy(error.cause), denied=error.denied) from None
        finally:
            # Also when cancelled: the reply may still come, and the next command must not take it
            # for its own (CVE-2023-28858).
            if reusable:
                self._idle.append(connection)
            else:
                await connection.close()
        return reply

    async def close(self) -> None:
        """Close every idle connection; only once no command runs."""
        while self._idle:
            await self._idle.pop().close()

    async def _take_idle_or_connect(self) -> RedisConnection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.failed:
                return connection
            await connection.close()
        connection = RedisConnection(self._config, timeout_s=self._config.timeout / 1000)
        try:
            await connection.open()
        except Disconnected as error:
            await connection.close()
            raise SinkUnavailable(with_remedy(error.cause), denied=error.denied) from None
        except asyncio.CancelledError:
            await connection.close()
            raise
        return connection


def unavailable(error: ResponseError) -> SinkUnavailable:
    """Return an error reply about the server's state as the contract's error."""
    return SinkUnavailable(with_remedy(str(error)), denied=str(error).startswith(_DENIED_REPLIES))


def no_redis(reply: object) -> SinkUnavailable:
    """Return a reply that no Redis gives as the contract's error."""
    return SinkUnavailable(not_redis(reply))
