"""Clients of Redis, made the one way that loses nothing."""

from __future__ import annotations

import ssl
from typing import Any, Final
from urllib.parse import urlsplit

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from bridge.config import Connection, Tls
from bridge.errors import Disconnected

#: Everything that a command can raise when the connection or the server is at fault.
FAULTS: Final = (RedisError, OSError, TimeoutError, ssl.SSLError)


def client(connection: Connection, *, timeout_s: float, name: str) -> redis.Redis:
    """Return a client for `connection`; `timeout_s` bounds every reply, and must be above any BLOCK.

    `name` is shown by Redis's CLIENT LIST.
    """
    options: dict[str, Any] = {
        # No client retry: one whose reply was lost would push twice (redis-py#3554, #3559).
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": timeout_s,
        "socket_connect_timeout": connection.connect_timeout / 1000,
        "socket_keepalive": True,
        "client_name": name,
        "health_check_interval": 0,
        "protocol": 2,  # RESP3 changes the shapes of replies
    }
    if connection.username is not None:
        options["username"] = connection.username
    if connection.password is not None:
        options["password"] = connection.password.get_secret_value()
    if connection.tls is not None:
        options |= _tls_options(connection.tls)
    return redis.Redis.from_url(connection.url, **options)  # type: ignore[no-any-return, no-untyped-call, unused-ignore]


def _tls_options(tls: Tls) -> dict[str, Any]:
    options: dict[str, Any] = {
        "ssl_ca_certs": tls.ca,
        "ssl_certfile": tls.cert,
        "ssl_keyfile": tls.key,
        "ssl_cert_reqs": "required" if tls.verify else "none",
        "ssl_check_hostname": tls.verify,
    }
    if tls.server_name is not None:
        name = tls.server_name

        class NamedConnection(redis.SSLConnection):
            """redis-py knows the server by its address only."""

            def _connection_arguments(self) -> dict[str, Any]:  # type: ignore[override]
                return {**super()._connection_arguments(), "server_hostname": name}

        options["connection_class"] = NamedConnection
    return {key: value for key, value in options.items() if value is not None}


def same_server(one: str, other: str) -> bool:
    """Tell whether two URLs name the same database of the same server, as far as their text shows."""
    return _identity(one) == _identity(other)


def _identity(url: str) -> tuple[str, int, str]:
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return parts.path, 0, parts.query
    host = (parts.hostname or "localhost").lower()
    if host in ("127.0.0.1", "::1"):
        host = "localhost"
    return host, parts.port or 6379, parts.path.strip("/") or "0"


def disconnected(error: BaseException) -> Disconnected:
    """Return the fault of a source's connection to Redis as Disconnected, in words."""
    return Disconnected(str(error) or type(error).__name__)
