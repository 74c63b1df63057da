"""The sockets that the admin server listens on: those of an address, or a Unix socket that only this user and root may use."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from bridge.config.admin import AdminSettings

#: So many connections wait for the event loop at once. It accepts them all together, and closes those that are too many in
#: two further steps, so it has three times as many descriptors for a moment. Others try again after a second (TCP's own).
BACKLOG: Final = 64
#: How long the name of an address may take to resolve.
_RESOLVE_S: Final = 10.0
_MODE: Final = 0o600


@dataclass(frozen=True)
class Listener:
    """Sockets that listen, and the Unix socket's file with its device and inode."""

    sockets: list[socket.socket]
    path: str | None = None
    file: tuple[int, int] | None = None

    @classmethod
    async def open(cls, settings: AdminSettings) -> Self:
        """Listen where the settings say.

        Raises:
            OSError: that is not possible now.
        """
        if settings.unix_path is not None:
            return cls._open_unix(settings.unix_path)
        try:
            async with asyncio.timeout(_RESOLVE_S):
                return cls(await _bind_all(settings.host, settings.port))
        except UnicodeError:
            raise OSError(errno.EINVAL, "this is no name that can be resolved") from None
        except TimeoutError:
            raise TimeoutError(errno.ETIMEDOUT, f"its name was not resolved within {_RESOLVE_S:g} s") from None

    @property
    def in_place(self) -> bool:
        """Whether clients find it: somebody may have removed or replaced the file of a Unix socket."""
        return self.path is None or _file(self.path) == self.file

    def close(self) -> None:
        """Stop listening, and remove the Unix socket's file, unless it is somebody else's by now."""
        if self.path is not None and self.in_place:
            with suppress(OSError):
                Path(self.path).unlink()
        for each in self.sockets:
            each.close()

    @classmethod
    def _open_unix(cls, path: str) -> Self:
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listening.setblocking(False)
            # Linux gives the file the mode of the socket. A umask would be that of all threads, and a chmod comes too late.
            os.fchmod(listening.fileno(), _MODE)
            _bind_unix(listening, path)
            file = _file(path)
            if stat.S_IMODE(os.lstat(path).st_mode) != _MODE:
                Path(path).unlink()
                raise OSError(errno.EPERM, "the file system gives the socket other permissions than 0600")
            listening.listen(BACKLOG)
        except BaseException:
            listening.close()
            raise
        return cls([listening], path, file)


def _bind_unix(listening: socket.socket, path: str) -> None:
    try:
        listening.bind(path)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise OSError(error.errno, "its directory does not exist") from None
        if error.errno != errno.EADDRINUSE:
            raise
        _remove_stale(path)
        listening.bind(path)


def _remove_stale(path: str) -> None:
    """Remove the socket that a process has left when it was killed.

    Raises:
        OSError: something listens on it, or it is another kind of file.
    """
    before = _file(path)
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise OSError(errno.EADDRINUSE, "a file that is no socket has its name; remove it, or choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            if _file(path) == before:
                Path(path).unlink()
            return
        except OSError as error:  # also one that is too busy to answer is in use
            cause = "another process may use it"
            raise OSError(errno.EADDRINUSE, f"{cause}: {error.strerror}") from None
    raise OSError(errno.EADDRINUSE, "another process listens on it")


def _file(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


async def _bind_all(host: str, port: int) -> list[socket.socket]:
    """Listen on every address of a name; on those that this machine has, where it has not all of them.

    Raises:
        OSError: an address is in use or not allowed, or this machine has none of them.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, address in dict.fromkeys((each[0], each[4]) for each in found):
            try:
                sockets.append(_bind(family, address))
            except OSError as error:
                # /etc/hosts often has ::1 for localhost where IPv6 is off.
                if error.errno not in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
                    raise
                missing = error
        if not sockets:
            raise missing or OSError(errno.EADDRNOTAVAIL, "its name has no address")
    except BaseException:
        for each in sockets:
            each.close()
        raise
    return sockets


def _bind(family: int, address: tuple[str | int, ...] | tuple[int, bytes]) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setblocking(False)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # [::] is for clients with IPv4 too, as it is elsewhere.
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address[0] != "::"))
        listening.bind(address)
        listening.listen(BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening
