"""Servers that are no Redis, and a Redis Sentinel."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from tests.support.brokers import Redis

#: The answers to every command, by their kinds.
ANSWERS = {
    "OK": b"+OK\r\n",
    "a number": b":1\r\n",
    "nothing": b"$-1\r\n",
    "a text": b"$5\r\nhello\r\n",
    "a list": b"*1\r\n:1\r\n",
    "an error": b"-ERR no such thing here\r\n",
    "fields without sense": b"$17\r\nused_memory:hello\r\n",
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
}
_COMMAND = re.compile(rb"\*\d+\r\n\$")


@dataclass
class OddServer:
    """Where such a server listens."""

    port: int

    @property
    def url(self) -> str:
        """As that of `Redis`."""
        return f"redis://127.0.0.1:{self.port}"

    def url_of(self, db: int) -> str:
        """As that of `Redis`."""
        return f"{self.url}/{db}"


@contextmanager
def odd_server(reply: bytes) -> Iterator[OddServer]:
    """Answer every command with `reply`."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_accept, args=(listening, reply), daemon=True).start()
        yield OddServer(listening.getsockname()[1])
        listening.shutdown(socket.SHUT_RDWR)


def _accept(listening: socket.socket, reply: bytes) -> None:
    with suppress(OSError):
        while True:
            link, _ = listening.accept()
            threading.Thread(target=_serve, args=(link, reply), daemon=True).start()


def _serve(link: socket.socket, reply: bytes) -> None:
    with suppress(OSError), link:
        while data := link.recv(1 << 16):
            link.sendall(reply * len(_COMMAND.findall(data)))


class Sentinel(Redis):
    """redis-server as a Sentinel, which watches nobody."""

    def _command(self) -> list[str]:
        lines = {"bind": "127.0.0.1", "dir": self.directory, "port": self.port, **self.config}
        return [super()._command()[0], self._write("sentinel.conf", lines), "--sentinel"]
