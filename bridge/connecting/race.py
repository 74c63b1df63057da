"""Connects to the addresses of one name side by side (RFC 8305): an address that answers nothing delays the others by 250 ms.

asyncio can do so too (`happy_eyeballs_delay`), but uvloop refuses the option (0.23, observed).
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections import deque
from collections.abc import Iterable
from itertools import chain, zip_longest
from typing import Final

from bridge.connecting.resolver import Address

#: RFC 8305's "Connection Attempt Delay".
_DELAY_S: Final = 0.25
#: As redis-py sets them: a dead peer is noticed after 45 s, also where neither side says anything.
_KEEPALIVE: Final = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
#: How many addresses an error names.
_MOST_NAMED: Final = 4


class Race:
    """One race; the first socket that connects wins, and all others are closed."""

    def __init__(self, addresses: Iterable[Address]) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting = deque(interleaved(addresses))
        self._open: dict[socket.socket, Address] = {}
        self._failures: dict[str, str] = {}
        #: The connected socket; None: every address has failed.
        self._won: asyncio.Future[socket.socket | None] = self._loop.create_future()
        self._silent: list[str] = []
        self._next = self._loop.call_soon(lambda: None)

    async def run(self) -> socket.socket:
        """Return the connected socket, which does not block; the caller bounds the time.

        Raises:
            OSError: every address has failed; its text tells why each of them has.
        """
        try:
            self._begin()
            sock = await self._won
            if sock is None:
                raise OSError("; ".join(self._failed()) or "the name has no address")
            del self._open[sock]
            return sock
        finally:
            self._next.cancel()
            self._silent = [_spell(address) for address in self._open.values()]
            for sock in list(self._open):
                self._close(sock)

    def describe(self) -> str:
        """Return why a race that was cut short had no winner: which addresses have failed, and which were silent."""
        silent = [f"no answer from {_listed(self._silent)}"] if self._silent else []
        return "; ".join(self._failed() + silent)

    def _begin(self) -> None:
        """Try the next address, and later the one behind it; at once where this one fails at once."""
        self._next.cancel()
        while self._waiting and not self._won.done():
            address = self._waiting.popleft()
            if self._try(address):
                self._next = self._loop.call_later(_DELAY_S, self._begin)
                return
        if not self._open and not self._won.done():
            self._won.set_result(None)

    def _try(self, address: Address) -> bool:
        """Begin to connect; return whether that is under way."""
        try:
            sock = socket.socket(address[0], socket.SOCK_STREAM)
        except OSError as error:
            self._failures[_spell(address)] = error.strerror or str(error)
            return False
        self._open[sock] = address
        try:
            sock.setblocking(False)
            if address[0] != socket.AF_UNIX:
                _tune(sock)
            code = sock.connect_ex(address[1])
        except OSError as error:
            self._fail(sock, error.strerror or str(error))
            return False
        if code == 0:
            self._won.set_result(sock)
            return True
        if code == errno.EINPROGRESS:
            self._loop.add_writer(sock.fileno(), self._on_writable, sock)
            return True
        # A Unix socket connects at once, unless as many wait as the server lets wait.
        full = code == errno.EAGAIN and address[0] == socket.AF_UNIX
        self._fail(sock, "the server accepts no connections" if full else os.strerror(code))
        return False

    def _on_writable(self, sock: socket.socket) -> None:
        """Take a socket out of the race that is connected or has failed."""
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code != 0:
            self._fail(sock, os.strerror(code))
            self._begin()
        elif not self._won.done():
            self._loop.remove_writer(sock.fileno())
            self._won.set_result(sock)

    def _fail(self, sock: socket.socket, cause: str) -> None:
        self._failures[_spell(self._open[sock])] = cause
        self._close(sock)

    def _close(self, sock: socket.socket) -> None:
        del self._open[sock]
        self._loop.remove_writer(sock.fileno())
        sock.close()

    def _failed(self) -> list[str]:
        """Return a text for each cause, with its addresses."""
        causes: dict[str, list[str]] = {}
        for address, cause in self._failures.items():
            causes.setdefault(cause, []).append(address)
        return [f"{_listed(addresses)}: {cause}" for cause, addresses in causes.items()]


def interleaved(addresses: Iterable[Address]) -> list[Address]:
    """Return the addresses with their families in turn, each family in its own order, and each address once."""
    families: dict[int, list[Address]] = {}
    for address in dict.fromkeys(addresses):
        families.setdefault(address[0], []).append(address)
    return [one for one in chain.from_iterable(zip_longest(*families.values())) if one is not None]


def _tune(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        if (option := getattr(socket, name, None)) is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def _spell(address: Address) -> str:
    family, where = address
    if family == socket.AF_UNIX:
        return str(where)
    return f"[{where[0]}]:{where[1]}" if family == socket.AF_INET6 else f"{where[0]}:{where[1]}"


def _listed(addresses: list[str]) -> str:
    more = len(addresses) - _MOST_NAMED
    return ", ".join(addresses[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
