"""Servers that are broken for ever: silent ones, ones that close, ones that speak another protocol, or whose certificate expired."""

from __future__ import annotations

import asyncio
import ssl
import threading
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Self

from tests.support.certificates import expire, make_certificates
from tests.support.children import free_port

#: Nobody listens; it accepts and says nothing; it closes at once; it speaks HTTP; or SSH, which speaks first; its certificate
#: expired.
WAYS: Final = ("refused", "silent", "closing", "http", "ssh", "expired")
_KINDS: Final[dict[str, dict[str, Any]]] = {
    "amqp": {"type": "amqp", "queue": "q"},
    "mqtt": {"type": "mqtt", "topics": ["t"]},
    "pubsub": {"type": "redis-pubsub", "channels": ["c"]},
    "stream": {"type": "redis-stream", "streams": ["s"], "group": "g"},
}
_SCHEMES: Final = {"amqp": "amqp", "mqtt": "mqtt", "pubsub": "redis", "stream": "redis"}


class BrokenServers:
    """One server for each of `ways` on a port of its own, in a thread."""

    def __init__(self, ways: tuple[str, ...] = WAYS) -> None:
        self._ways = ways
        self._ports = {way: free_port() for way in ways}
        self._directory = TemporaryDirectory(prefix="broken-")
        self._certificates = make_certificates(Path(self._directory.name))
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(
            target=lambda: self._loop.run_until_complete(self._run()), name="broken servers"
        )

    def sources(self, count: int) -> dict[str, dict[str, Any]]:
        """Return so many sources: of all four kinds, at each of the servers."""
        return dict(self._source(number) for number in range(count))

    def start(self) -> Self:
        """Return once all of them listen."""
        expire(self._certificates)
        self._thread.start()
        assert self._started.wait(30)
        return self

    def close(self) -> None:
        """End them."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
        self._loop.close()
        self._directory.cleanup()

    def _source(self, number: int) -> tuple[str, dict[str, Any]]:
        kind = list(_KINDS)[number % len(_KINDS)]
        way = self._ways[number // len(_KINDS) % len(self._ways)]
        secure = way == "expired"
        url = f"{_SCHEMES[kind]}{'s' if secure else ''}://127.0.0.1:{self._ports[way]}"
        trusted = {"tls": {"ca": str(self._certificates.ca)}} if secure else {}
        # A copy: YAML would write the same list again as an alias, which a configuration can't hold.
        return f"dead-{way}-{kind}-{number}", {**deepcopy(_KINDS[kind]), "url": url, **trusted}

    async def _run(self) -> None:
        self._loop.set_exception_handler(lambda *_: None)  # handshakes that fail
        secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        secure.load_cert_chain(self._certificates.cert, self._certificates.key)
        links: set[asyncio.StreamWriter] = set()
        servers = [
            await asyncio.start_server(
                _serve(way, links), "127.0.0.1", port, ssl=secure if way == "expired" else None, backlog=1000
            )
            for way, port in self._ports.items()
            if way != "refused"
        ]
        self._started.set()
        await self._stop.wait()
        for server in servers:
            server.close()
        for link in links:
            link.transport.abort()
        await asyncio.sleep(0.1)


def _serve(way: str, links: set[asyncio.StreamWriter]) -> Any:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        links.add(writer)
        with suppress(OSError):
            if way == "ssh":
                writer.write(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")
            if way == "silent":
                while await reader.read(4096):
                    pass
            elif way != "closing":
                await reader.read(4096)
            if way == "http":
                writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            writer.close()
        links.discard(writer)

    return serve
