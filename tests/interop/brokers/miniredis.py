"""miniredis, a Redis in the memory of a Go program."""

from __future__ import annotations

import socket
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, Final

from tests.interop import builds, golang
from tests.interop.broker import InteropBroker, Lack
from tests.support.brokers import Redis

_IN_MEMORY: Final = Lack(
    "keeps everything in memory: a key that redis-py has set is gone after a restart", "2026-11-27"
)


class Miniredis(InteropBroker, Redis):
    """miniredis 2.40; whatever it holds ends with it."""

    name = "miniredis-2.40.0"
    program = "miniredis"
    scheme = "redis"
    protocols = frozenset({"redis"})
    lacks = MappingProxyType({"broker-restart": _IN_MEMORY, "broker-kill": _IN_MEMORY})
    #: The folder of its program.
    built: ClassVar[Path]

    @classmethod
    def prepare(cls, cache: Path) -> None:
        """See InteropBroker."""
        cls.built = golang.build(cache)

    def _command(self) -> list[str]:
        return builds.command([f"{self.built}/miniredis", f"127.0.0.1:{self.port}"])

    def _hello(self, link: socket.socket) -> bool:
        # It takes no inline commands.
        link.sendall(b"*1\r\n$4\r\nPING\r\n")
        return link.recv(64).startswith(b"+PONG")


BROKERS = (Miniredis,)
