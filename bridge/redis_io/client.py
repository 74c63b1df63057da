"""redis-py's connection, which only logs in: the bridge opens its socket, and takes it back."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Final

from redis.asyncio.connection import AbstractConnection, DefaultParser, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from bridge.config import Connection, tls
from bridge.connecting.attempt import Attempt, Server

try:
    from redis.driver_info import DriverInfo
except ImportError:  # an older redis-py finds its version once, when it is imported
    DriverInfo = None  # type: ignore[assignment, misc]

#: Everything that connecting can raise when the connection or the server is at fault.
#: uvloop raises RuntimeError for a transport that has been closed.
FAULTS: Final = (RedisError, OSError, TimeoutError, ssl.SSLError, RuntimeError)
#: Made once: for each connection redis-py would look for its own version on the disk, which takes 1 ms of CPU (8.1.0, observed).
_DRIVER: Final[dict[str, Any]] = {"driver_info": DriverInfo()} if DriverInfo is not None else {}

#: How the errors begin by which a server refuses a connection. redis-py knows one of them alone; others it would take for
#: replies to CLIENT SETINFO, and ignore.
_REFUSALS: Final = ("DENIED", "ERR max number of clients")


class _Parser(DefaultParser):  # type: ignore[valid-type, misc] # one of two classes
    @classmethod
    def parse_error(cls, response: str) -> Exception:
        """Return an error reply as redis-py does; a refused connection has ended."""
        if response.startswith(_REFUSALS):
            return RedisConnectionError(response.removeprefix("ERR "))
        return super().parse_error(response)  # type: ignore[no-any-return]


class Login(AbstractConnection):
    """Logs in as the user of `connection`, and selects its database; `timeout_s` bounds every reply.

    CLIENT SETNAME is not called: the minimal ACL does not allow it.
    """

    def __init__(self, connection: Connection, *, timeout_s: float) -> None:
        parts: dict[str, Any] = dict(parse_url(connection.url))
        self._parts, self._config = parts, connection
        password = connection.password
        super().__init__(
            db=parts.get("db", 0),
            username=connection.username if connection.username is not None else parts.get("username"),
            password=password.get_secret_value() if password is not None else parts.get("password"),
            # No retry by the client: a command whose reply was lost would push twice (redis-py#3554, #3559).
            retry=Retry(NoBackoff(), 0),
            socket_timeout=timeout_s,
            socket_connect_timeout=connection.connect_timeout / 1000,
            protocol=2,  # RESP3's replies have other shapes
            parser_class=_Parser,
            **_DRIVER,
        )
        self._unsent: list[bytes] = []

    async def log_in(self, attempt: Attempt) -> asyncio.Transport:
        """Return the transport of a connection whose user is logged in.

        Raises:
            TlsFault: a file of `tls` can't be used.
        """
        loop = asyncio.get_running_loop()
        self._reader = asyncio.StreamReader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(self._reader, loop=loop)
        transport = await attempt.connect(protocol, self._server())
        self._writer = asyncio.StreamWriter(transport, protocol, self._reader, loop)
        await self.on_connect()
        return transport

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:  # noqa: ARG002, FBT001, FBT002 - redis-py's
        """Keep a command until a reply is waited for.

        A server that refuses the connection says why, and closes it: a second write would fail, and its words be lost.
        """
        self._unsent += command

    def read_response(self, *args: Any, **options: Any) -> Any:
        """Send the commands that are kept, and return the next reply, to be awaited.

        No coroutine: an error that redis-py raises keeps itself by the frames that it went through.
        """
        if self._unsent:
            assert self._writer is not None  # noqa: S101 - the connection is open
            self._writer.write(b"".join(self._unsent))
            self._unsent.clear()
        return super().read_response(*args, **options)

    def _server(self) -> Server:
        if "path" in self._parts:
            return Server(path=str(self._parts["path"]))
        settings = self._config.tls
        return Server(
            self._parts.get("host", "localhost"),
            self._parts.get("port", 6379),
            tls=tls.context(settings) if self._config.url.startswith("rediss") else None,
            name=settings.server_name if settings else None,
        )

    async def _connect(self) -> None:
        raise NotImplementedError  # redis-py's own way to open the socket

    def _host_error(self) -> str:
        return "the server"

    def repr_pieces(self) -> list[tuple[str, Any]]:
        """Return nothing: a secret could be among it."""
        return []


def user_of(connection: Connection) -> str:
    """Return the name by which Redis knows the user of a connection."""
    given = connection.username if connection.username is not None else parse_url(connection.url).get("username")
    return str(given) if given else "default"


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
