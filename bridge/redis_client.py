"""Clients of Redis, made the one way that loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Any, Final

import redis.asyncio as redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from bridge.config import Connection, Tls
from bridge.errors import Disconnected, words

#: Everything that a command can raise when the connection or the server is at fault.
#: RuntimeError is uvloop's word for a transport that has been closed.
FAULTS: Final = (RedisError, OSError, TimeoutError, ssl.SSLError, RuntimeError)
_CLOSE_S: Final = 2.0


def client(connection: Connection, *, timeout_s: float) -> redis.Redis:
    """Return a client for `connection`; `timeout_s` bounds every reply.

    It has no name in Redis's CLIENT LIST: the least of users may not set one.
    """
    options: dict[str, Any] = {
        # No client retry: one whose reply was lost would push twice (redis-py#3554, #3559).
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": timeout_s,
        "socket_connect_timeout": connection.connect_timeout / 1000,
        "socket_keepalive": True,
        "health_check_interval": 0,
        "protocol": 2,  # RESP3 changes the shapes of replies
    }
    if connection.username is not None:
        options["username"] = connection.username
    if connection.password is not None:
        options["password"] = connection.password.get_secret_value()
    if connection.tls is not None:
        options |= _tls_options(connection.tls)
    made = redis.Redis.from_url(connection.url, **options)
    if connection.tls is not None and connection.tls.server_name is not None:
        # `from_url` lets the URL's scheme decide about the class, whatever it is told.
        made.connection_pool.connection_class = _named_connection(connection.tls.server_name)
    return made


class Link:
    """Exactly one connection of a source; once it has failed it stays so.

    redis-py's client and its PubSub reconnect silently, and what was published in the gap is
    lost without a sign (6 of 22 messages, observed).
    """

    def __init__(self, connection: Connection, *, timeout_s: float) -> None:
        self._connect_timeout_s = connection.connect_timeout / 1000
        self._connection = client(connection, timeout_s=timeout_s).connection_pool.make_connection()
        self._failed: Disconnected | None = None

    async def open(self) -> None:
        """Connect and log in, within the connection's `connect_timeout`.

        Raises:
            Disconnected: it could not be done.
        """
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                await self._connection.connect()
        except FAULTS as error:
            raise self._fail(error) from None

    async def send(self, *words: str | bytes | int) -> None:
        """Send a command; its reply is for `read`."""
        if self._failed is not None:
            raise self._failed
        try:
            await self._connection.send_command(*words)
        except FAULTS as error:
            raise self._fail(error) from None

    async def read(self) -> Any:
        """Return the next reply, as RESP2 has it: bytes, int, None, or a list of these.

        Raises:
            Disconnected: no reply within the link's timeout, or the connection has ended.
            ResponseError: the reply is an error; the link goes on.
        """
        if self._failed is not None:
            raise self._failed
        try:
            return await self._connection.read_response(disable_decoding=True)
        except ResponseError:
            raise
        except FAULTS as error:
            raise self._fail(error) from None

    async def command(self, *words: str | bytes | int) -> Any:
        """Send a command and return its reply; for links on which nobody else reads."""
        await self.send(*words)
        return await self.read()

    async def close(self) -> None:
        """Close the connection."""
        self._failed = self._failed or Disconnected("closed")
        with contextlib.suppress(Exception):
            await asyncio.wait_for(self._connection.disconnect(nowait=True), _CLOSE_S)

    def _fail(self, error: BaseException) -> Disconnected:
        timed_out = isinstance(error, (TimeoutError, RedisTimeoutError))
        self._failed = Disconnected("timed out" if timed_out else words(error))
        return self._failed


def _tls_options(tls: Tls) -> dict[str, Any]:
    options: dict[str, Any] = {
        "ssl_ca_certs": tls.ca,
        "ssl_certfile": tls.cert,
        "ssl_keyfile": tls.key,
        "ssl_cert_reqs": "required" if tls.verify else "none",
        "ssl_check_hostname": tls.verify,
    }
    return {key: value for key, value in options.items() if value is not None}


def _named_connection(name: str) -> type[redis.SSLConnection]:
    class NamedConnection(redis.SSLConnection):
        """redis-py knows the server by its address only."""

        def _connection_arguments(self) -> dict[str, Any]:
            return {**super()._connection_arguments(), "server_hostname": name}

    return NamedConnection


def same_server(one: str, other: str) -> bool:
    """Tell whether two URLs name the same database of the same server, as far as their text shows."""
    return _identity(one) == _identity(other)


def _identity(url: str) -> tuple[str, int, int]:
    parts = parse_url(url)
    if "path" in parts:
        return str(parts["path"]), 0, int(parts.get("db", 0))
    host = str(parts.get("host", "localhost")).lower()
    if host in ("127.0.0.1", "::1"):
        host = "localhost"
    return host, int(parts.get("port", 6379)), int(parts.get("db", 0))
