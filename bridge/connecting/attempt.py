"""One attempt to connect: name, address, TLS and login, all within one time."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from bridge.config.connection import check_tls_name
from bridge.config.units import spell_duration
from bridge.connecting.race import Race
from bridge.connecting.resolver import Resolver

#: How long a TLS connection that is closed waits for its peer's farewell. asyncio would wait 30 s.
_TLS_SHUTDOWN_S: Final = 1.0

_resolver: Final = Resolver()


@dataclass(frozen=True)
class Server:
    """Where to connect: a host and its port, or the path of a Unix socket; with `tls` for a certificate of `name`."""

    host: str = ""
    port: int = 0
    path: str = ""
    tls: ssl.SSLContext | None = None
    name: str | None = None

    @property
    def certified_name(self) -> str:
        """The name that the certificate must have."""
        return self.name or self.host


class Attempt:
    """Use it as a context manager around everything up to the login; it opens one socket.

    Raises:
        OSError: the name was not resolved, or no address has answered, within `within_s`.
        TimeoutError: the server was reached, and `within_s` has passed.
    """

    def __init__(self, within_s: float) -> None:
        self._within_s = within_s
        self._describe: Callable[[], str] | None = None
        self._socket: socket.socket | None = None

    async def __aenter__(self) -> Self:
        """Begin to count the time."""
        self._timeout = await asyncio.timeout(self._within_s).__aenter__()
        # At the same time, and after it: a library that is cancelled then waits for no farewell of a silent server.
        self._timer = asyncio.get_running_loop().call_later(self._within_s, self._cut)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Say how far the attempt came, where its time was up; a library may have turned that into another error."""
        self._timer.cancel()
        is_cancelled = kind is not None and not issubclass(kind, Exception)
        with contextlib.suppress(TimeoutError):
            await self._timeout.__aexit__(kind, error, tb)
            if is_cancelled or not self._timeout.expired():
                return
        if error is None:
            return
        if self._describe is not None:
            within = spell_duration(round(self._within_s * 1000))
            raise OSError(f"{self._describe()} within {within}") from None
        raise TimeoutError("timed out") from None

    async def open(self, server: Server) -> socket.socket:
        """Return a socket that is connected, without TLS yet, and does not block.

        Raises:
            OSError: the name has no address or can't be that of a certificate, or no address could be connected to.
        """
        if server.path:
            addresses: list[Any] = [(socket.AF_UNIX, server.path)]
        else:
            self._describe = lambda: f"the name {server.host!r} was not resolved"
            addresses = await _resolver.resolve(server.host, server.port)
        if server.tls is not None:
            try:
                check_tls_name(server.tls, server.certified_name)
            except ValueError as error:
                raise OSError(f"TLS can't ask for a certificate of {server.certified_name!r}: {error}") from None
        race = Race(addresses)
        self._describe = race.describe
        self._socket = await race.run()
        self._describe = None
        return self._socket

    async def open_tls(self, server: Server) -> socket.socket:
        """Return a socket as `open` does, with TLS where `server` has it.

        Raises:
            OSError: as `open`, or the handshake failed.
        """
        sock = await self.open(server)
        if server.tls is None:
            return sock
        loop = asyncio.get_running_loop()
        self._socket = secure = server.tls.wrap_socket(
            sock, server_hostname=server.certified_name, do_handshake_on_connect=False
        )
        ready = asyncio.Event()
        try:
            while True:
                try:
                    secure.do_handshake()
                except ssl.SSLWantReadError:
                    loop.add_reader(secure.fileno(), ready.set)
                except ssl.SSLWantWriteError:
                    loop.add_writer(secure.fileno(), ready.set)
                else:
                    return secure
                await ready.wait()
                _forget(loop, secure)
                ready.clear()
        except BaseException:
            _forget(loop, secure)
            secure.close()
            raise

    async def connect(self, protocol: asyncio.BaseProtocol, server: Server) -> asyncio.Transport:
        """Return a transport of `protocol`, with TLS where `server` has it.

        Raises:
            OSError: as `open`, or the handshake failed.
        """
        options: dict[str, Any] = {}
        if server.tls is not None:
            # The attempt bounds the handshake; without these two, asyncio would as well, by other times.
            options = {"ssl": server.tls, "server_hostname": server.certified_name}
            options |= {"ssl_handshake_timeout": self._within_s, "ssl_shutdown_timeout": _TLS_SHUTDOWN_S}
        sock = await self.open(server)
        transport, _ = await asyncio.get_running_loop().create_connection(lambda: protocol, sock=sock, **options)
        return transport

    def _cut(self) -> None:
        """End the connection, whoever has its socket by now."""
        if self._socket is not None:
            with contextlib.suppress(OSError):  # closed, or ended by the peer
                # Not the method of an SSLSocket, which would go on as a socket without TLS.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


def _forget(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
    if sock.fileno() >= 0:
        loop.remove_reader(sock.fileno())
        loop.remove_writer(sock.fileno())
