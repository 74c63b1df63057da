"""redis-py's connections, configured so that no write is lost or repeated without a sign."""

from __future__ import annotations

import ssl
from typing import Any, Final

import redis.asyncio as redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.driver_info import DriverInfo
from redis.exceptions import RedisError

from bridge.config import Connection, Tls, tls

#: Everything that connecting can raise when the connection or the server is at fault.
#: uvloop raises RuntimeError for a transport that has been closed.
FAULTS: Final = (RedisError, OSError, TimeoutError, ssl.SSLError, RuntimeError)
#: Made once: for each client redis-py would look for its own version on the disk, which takes 1 ms of CPU (8.1.0, observed).
_DRIVER_INFO: Final = DriverInfo()


def pool(connection: Connection, *, timeout_s: float) -> redis.ConnectionPool:
    """Return a pool that makes connections for `connection`; `timeout_s` bounds every reply.

    A whole client of redis-py costs twice as much, for tables of commands that nobody asks here. CLIENT SETNAME is not called: the minimal ACL does not allow it.
    """
    options: dict[str, Any] = {
        # No retry by the client: a command whose reply was lost would push twice (redis-py#3554, #3559).
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": timeout_s,
        "socket_connect_timeout": connection.connect_timeout / 1000,
        "socket_keepalive": True,
        "health_check_interval": 0,
        "protocol": 2,  # RESP3's replies have other shapes
        "driver_info": _DRIVER_INFO,
    }
    if connection.username is not None:
        options["username"] = connection.username
    if connection.password is not None:
        options["password"] = connection.password.get_secret_value()
    configured = redis.ConnectionPool.from_url(connection.url, **options)
    if connection.url.startswith("rediss"):
        # `from_url` chooses the class by the URL's scheme, and ignores an option for it.
        configured.connection_class = _tls_connection(connection.tls)
    return configured


def _tls_connection(settings: Tls | None) -> type[redis.SSLConnection]:
    class TlsConnection(redis.SSLConnection):
        """Connects with our context: redis-py has no name to check the certificate against, and no words for a bad file."""

        def _connection_arguments(self) -> dict[str, Any]:
            name = {"server_hostname": settings.server_name} if settings and settings.server_name else {}
            return {**redis.Connection._connection_arguments(self), "ssl": tls.context(settings), **name}  # noqa: SLF001

    return TlsConnection


def same_server(url: str, other: str) -> bool:
    """Tell whether two URLs name the same database of the same server, as far as their text shows."""
    return _database(url) == _database(other)


def _database(url: str) -> tuple[str, int, int]:
    parts = parse_url(url)
    if "path" in parts:
        return str(parts["path"]), 0, int(parts.get("db", 0))
    host = str(parts.get("host", "localhost")).lower()
    if host in ("127.0.0.1", "::1"):
        host = "localhost"
    return host, int(parts.get("port", 6379)), int(parts.get("db", 0))
