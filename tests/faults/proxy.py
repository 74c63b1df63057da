"""A TCP proxy that breaks connections in ways that a broker itself can't be made to."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

from tests.support.children import free_port

_CHUNK: Final = 1 << 16
_LOOK_AGAIN_S: Final = 0.01
_ANSWER_S: Final = 10.0


class Proxy:
    """Forwards a loopback port of its own to the loopback port `target`; use it as a context manager.

    All of this may be changed while connections are open:
    `target`: where new connections lead; `latency_s`: how much later replies arrive;
    `stalled`: sockets stay open and nothing is forwarded; `holding`: requests are kept back, replies pass;
    `bytes_per_s`: how many bytes of requests pass on each connection; `most_bytes`: after how many it ends;
    `cut_after`: (least, most) bytes of replies, a random number between which a new connection lives;
    `idle_s`: after how many seconds without a byte in either direction a connection is ended, as many proxies do;
    `rewrite`: the bytes of replies that take the place of those that came.
    """

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self.target = target
        self.latency_s = 0.0
        self.stalled = False
        self.holding = False
        self.bytes_per_s: float | None = None
        self.most_bytes: int | None = None
        self.cut_after: tuple[int, int] | None = None
        self.idle_s: float | None = None
        self.rewrite: Callable[[bytes], bytes] | None = None
        #: How many connections `cut_after` or `idle_s` has ended.
        self.cuts = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._open: set[asyncio.StreamWriter] = set()
        self._frozen: set[asyncio.StreamWriter] = set()
        self._moved_at: dict[asyncio.StreamWriter, float] = {}

    def listen(self) -> None:
        """Take connections (again)."""
        self._do(self._listen())

    def refuse(self) -> None:
        """Refuse new connections, as where nobody listens; those that are open stay."""
        self._do(self._refuse())

    def freeze(self) -> None:
        """Forward nothing more on the connections that are open now; their sockets stay open, and new ones work."""
        self._frozen |= self._open

    def thaw(self) -> None:
        """Forward what frozen connections have brought meanwhile, also those that were closed at the near end."""
        self._frozen.clear()

    def reset(self) -> None:
        """End every connection by RST."""
        self._do(self._reset())

    def close(self) -> None:
        """End everything."""
        self._do(self._refuse())
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_ANSWER_S)
        self._loop.close()

    def __enter__(self) -> Self:
        self._thread.start()
        self.listen()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_ANSWER_S)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=_CHUNK)

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _reset(self) -> None:
        for writer in list(self._open):
            _abort(writer)

    async def _end(self) -> None:
        await self._reset()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, client_reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        budget = None if self.cut_after is None else random.randint(*self.cut_after)
        try:
            server_reader, server = await asyncio.open_connection("127.0.0.1", self.target, limit=_CHUNK)
        except OSError:
            _abort(client)
            return
        self._open |= {client, server}
        self._moved_at[client] = time.monotonic()
        pumps = [
            asyncio.ensure_future(self._requests(client_reader, server, client)),
            asyncio.ensure_future(self._replies(server_reader, client, budget)),
            asyncio.ensure_future(self._end_if_idle(client)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._open -= {client, server}
            self._frozen -= {client, server}
            del self._moved_at[client]
            for writer in (client, server):
                writer.close()

    async def _end_if_idle(self, client: asyncio.StreamWriter) -> None:
        while self.idle_s is None or time.monotonic() < self._moved_at[client] + self.idle_s:  # noqa: ASYNC110 - as below
            await asyncio.sleep(_LOOK_AGAIN_S)
        self.cuts += 1

    async def _requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, client: asyncio.StreamWriter
    ) -> None:
        passed = 0
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                self._moved_at[client] = time.monotonic()
                passed += len(data)
                if self.most_bytes is not None and passed > self.most_bytes:
                    return
                while self.stalled or self.holding or writer in self._frozen:  # noqa: ASYNC110 - set by another thread
                    await asyncio.sleep(_LOOK_AGAIN_S)
                if self.bytes_per_s is not None:
                    await asyncio.sleep(len(data) / self.bytes_per_s)
                writer.write(data)
                await writer.drain()

    async def _replies(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, budget: int | None) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                self._moved_at[writer] = time.monotonic()
                if self.rewrite is not None:
                    data = self.rewrite(data)
                await asyncio.sleep(self.latency_s)
                while self.stalled or writer in self._frozen:  # noqa: ASYNC110 - as above
                    await asyncio.sleep(_LOOK_AGAIN_S)
                if budget is not None and len(data) > budget:
                    self.cuts += 1
                    writer.write(data[:budget])
                    return
                budget = None if budget is None else budget - len(data)
                writer.write(data)
                await writer.drain()


def _abort(writer: asyncio.StreamWriter) -> None:
    # Lingering for no time at all is what makes the kernel say RST instead of FIN.
    plain: socket.socket | None = writer.get_extra_info("socket")
    if plain is not None:
        with suppress(OSError):
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
