"""redis-py's clients, configured so that no write is lost or repeated without a sign."""

from __future__ import annotations

import ssl
from typing import Any, Final

import redis.asyncio as redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from bridge.config import Connection, Tls

#: Everything that connecting can raise when the connection or the server is at fault.
#: uvloop raises RuntimeError for a transport that has been closed.
FAULTS: Final = (RedisError, OSError, TimeoutError, ssl.SSLError, RuntimeError)


def client(connection: Connection, *, timeout_s: float) -> redis.Redis:
    """Return a client for `connection`; `timeout_s` bounds every reply.

    CLIENT SETNAME is not called: the minimal ACL does not allow it.
    """
    options: dict[str, Any] = {
        # No retry by the client: a command whose reply was lost would push twice (redis-py#3554, #3559).
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": timeout_s,
        "socket_connect_timeout": connection.connect_timeout / 1000,
        "socket_keepalive": True,
        "health_check_interval": 0,
        "protocol": 2,  # RESP3's replies have other shapes
    }
    if connection.username is not None:
        options["username"] = connection.username
    if connection.password is not None:
        options["password"] = connection.password.get_secret_value()
    if connection.tls is not None:
        options |= _tls_options(connection.tls)
    configured = redis.Redis.from_url(connection.url, **options)
    if connection.tls is not None and connection.tls.server_name is not None:
        # `from_url` chooses the class by the URL's scheme, and ignores an option for it.
        configured.connection_pool.connection_class = _named_connection(connection.tls.server_name)
    return configured


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
        """Checks the certificate against `name`; redis-py itself checks it against the address."""

        def _connection_arguments(self) -> dict[str, Any]:
            return {**super()._connection_arguments(), "server_hostname": name}

    return NamedConnection


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
