"""Answers that are streamed, on real sockets: parts as they come, and clients that leave, stall or crowd."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, cast

import pytest
import structlog
from aiohttp import web

from bridge.admin import answers, connections
from bridge.admin.access import Refused
from bridge.admin.answers import Answer, Streamed
from bridge.admin.connections import BoundedServer, Connection
from bridge.config import AdminSettings
from tests.support.admin import TOKEN, Client, FakeBridge, parsed, serving, until
from tests.support.children import patient

HEAD: Final = b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Feed:
    """A stream of a test: it sends the parts of `queue` until None, and notes how it ended."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.begun = self.ended = 0

    async def parts(self) -> AsyncGenerator[bytes, None]:
        """Send them."""
        self.begun += 1
        try:
            while (part := await self.queue.get()) is not None:
                yield part
        finally:
            self.ended += 1


class Watcher(Client):
    """A client whose connections end with the test."""

    def __init__(self, settings: AdminSettings) -> None:
        super().__init__(settings)
        self.writers: list[asyncio.StreamWriter] = []

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return an open connection."""
        reader, writer = await super().connect()
        self.writers.append(writer)
        return reader, writer


@asynccontextmanager
async def streaming(parts: Callable[[], AsyncGenerator[bytes, None]], **more: Any) -> AsyncIterator[Client]:
    """Serve these parts to every client; whoever asks for /other has a short answer."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        connection = cast("Connection", request.protocol)
        connection.requested = True
        if request.path == "/other":
            return connection.respond(Answer.text(200, "other"))
        try:
            connection.begin_stream()
        except Refused as refused:
            return connection.respond(Answer.text(refused.status, refused.words, refused.headers))
        return await connection.stream(request, Streamed("application/jsonl", parts(), {"X-Test": "yes"}, **more))

    bounded = BoundedServer(handle)
    listening = socket.create_server(("127.0.0.1", 0))
    server = await asyncio.get_running_loop().create_server(bounded, sock=listening)
    client = Watcher(AdminSettings(listen=f"127.0.0.1:{listening.getsockname()[1]}"))
    try:
        yield client
    finally:
        for writer in client.writers:
            writer.transport.abort()
        bounded.abort_all()
        server.close()
        await asyncio.sleep(0)


async def lines(reader: asyncio.StreamReader, count: int) -> list[bytes]:
    """Return the next chunks."""
    found: list[bytes] = []
    async with asyncio.timeout(patient(10)):
        while len(found) < count:
            size = int(await reader.readline(), 16)
            found.append((await reader.readexactly(size + 2))[:-2])
    return found


async def opened(client: Client, head: bytes = HEAD) -> tuple[bytes, asyncio.StreamReader, asyncio.StreamWriter]:
    """Ask for the stream; return the head of its answer."""
    reader, writer = await client.connect()
    writer.write(head)
    async with asyncio.timeout(patient(10)):
        return await reader.readuntil(b"\r\n\r\n"), reader, writer


async def test_parts_arrive_as_they_come() -> None:
    """The head comes before the first part, each part at once, and the end with its own sign."""
    feed = Feed()
    async with streaming(feed.parts) as client:
        head, reader, _ = await opened(client)
        assert b"HTTP/1.1 200 OK" in head
        for line in (b"Content-Type: application/jsonl", b"X-Test: yes", b"Cache-Control: no-store", b"chunked"):
            assert line in head
        for number in range(5):
            feed.queue.put_nowait(b"part %d\n" % number)
            assert await lines(reader, 1) == [b"part %d\n" % number]
        feed.queue.put_nowait(None)
        assert await reader.read() == b"0\r\n\r\n"
        await until(lambda: feed.ended == 1)


async def test_an_old_client_gets_the_parts_as_they_are() -> None:
    """HTTP/1.0 has no chunks: the end of the connection is the end of the stream."""
    feed = Feed()
    async with streaming(feed.parts) as client:
        for part in (b"one\n", b"two\n", None):
            feed.queue.put_nowait(part)
        head, reader, _ = await opened(client, HEAD.replace(b"1.1", b"1.0"))
        assert b"chunked" not in head
        assert await reader.read() == b"one\ntwo\n"


async def test_a_client_that_leaves_ends_its_stream_at_once() -> None:
    """Also while no part comes: nothing is kept for it."""
    feed = Feed()
    async with streaming(feed.parts) as client:
        for leave in ("close", "abort"):
            feed.begun = feed.ended = 0
            _, _, writer = await opened(client)
            assert (feed.begun, feed.ended) == (1, 0)
            writer.close() if leave == "close" else writer.transport.abort()
            await until(lambda: feed.ended == 1)


async def test_a_stream_lives_longer_than_other_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute is the life of the others; here a part of it."""
    monkeypatch.setattr(connections, "LIFE_S", 1.0)
    feed = Feed()
    async with streaming(feed.parts) as client:
        _, reader, _ = await opened(client)
        idle, _ = await client.connect()
        with suppress(ConnectionError):
            assert await idle.read() == b""  # the others have ended by now
        feed.queue.put_nowait(b"still here\n")
        assert await lines(reader, 1) == [b"still here\n"]


async def test_a_client_that_takes_nothing_is_ended() -> None:
    """After 15 s, here after a part of them; a few parts wait for it until then, and no more are asked for."""
    assert answers.STALL_S == 15
    made = 0
    ended = asyncio.Event()

    async def parts() -> AsyncGenerator[bytes, None]:
        nonlocal made
        try:
            while True:
                made += 1
                yield b"x" * 65_536
        finally:
            ended.set()

    async with streaming(parts, stall_s=0.5) as client:
        loop = asyncio.get_running_loop()
        with socket.socket() as lazy:
            lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            lazy.setblocking(False)
            await loop.sock_connect(lazy, ("127.0.0.1", client.settings.port))
            await loop.sock_sendall(lazy, HEAD)
            async with asyncio.timeout(patient(10)):
                await ended.wait()
        assert made < 200  # the kernel's buffer for it has 4 MiB at most
        assert parsed(await client.send(b"GET /other HTTP/1.1\r\nHost: localhost\r\n\r\n")).text == "other\n"


async def test_sixteen_streams_are_open_at_once() -> None:
    """The next one is refused with words; there is a place again once one has ended."""
    assert connections.MAX_STREAMS == 16
    feed = Feed()
    async with streaming(feed.parts) as client:
        writers = [(await opened(client))[2] for _ in range(16)]
        refused = parsed(await client.send(HEAD))
        assert refused.status == 503
        assert refused.text.startswith("16 clients watch this bridge")
        assert refused.headers["retry-after"] == "5"
        assert feed.begun == 16
        writers[3].close()
        await until(lambda: feed.ended == 1)
        assert b"200 OK" in (await opened(client))[0]


async def test_a_stream_survives_a_crowd() -> None:
    """200 connections that say nothing end each other, and not the streams."""
    feed = Feed()
    async with streaming(feed.parts) as client:
        _, reader, _ = await opened(client)
        for _ in range(200):
            await client.connect()
        feed.queue.put_nowait(b"still here\n")
        assert await lines(reader, 1) == [b"still here\n"]


async def test_a_stream_that_fails_has_no_end() -> None:
    """The client sees that the stream is not whole, and the log says why."""

    async def parts() -> AsyncGenerator[bytes, None]:
        yield b"one\n"
        raise ValueError("a fault of the bridge")

    with structlog.testing.capture_logs() as logs:
        async with streaming(parts) as client:
            received = await client.send(HEAD)
    assert not received.endswith(b"0\r\n\r\n")
    assert [(line["event"], line["cause"]) for line in logs] == [("admin.failed", "ValueError: a fault of the bridge")]


@pytest.mark.parametrize(
    "query",
    [
        *("a+b/c==d&e=f;g%68", "x=a+b/c==d&e=f;g%68", "x=a%2Bb/c==d&e=f;g%2568", "x=a+b/c==d%26e=f;g%2568"),
        *("x=a%2Bb%2Fc%3D%3Dd%26e%3Df%3Bg%2568", "x=a+b%2Fc%3D%3Dd%26e=f;g%2568"),
    ],
)
async def test_a_token_that_means_something_in_a_query_is_refused(query: str) -> None:
    """As many do that are made at random: encoded, in part, or as it is."""
    async with serving(FakeBridge(), token="a+b/c==d&e=f;g%68") as client:
        assert (await client.ask(f"/status?{query}")).status == 400


@pytest.mark.parametrize(
    "query",
    [
        *("token=abc", "TOKEN=abc", "access_token=abc", "api-key=x&apikey=x", "authorization=Bearer%20x", "bearer=x"),
        *(f"x={TOKEN}", f"{TOKEN}", f"x=a{TOKEN}b", f"x=%63{TOKEN[1:]}", "&".join(f"a{n}" for n in range(17))),
    ],
)
@pytest.mark.parametrize("path", ["/status", "/livez", "/pause", "/metrics"])
async def test_tokens_in_addresses_are_refused(path: str, query: str) -> None:
    """400, also with the right one in the header: addresses are kept in histories and in logs of proxies."""
    bridge = FakeBridge()
    async with serving(bridge, token=TOKEN) as client:
        method = "POST" if path == "/pause" else "GET"
        reply = await client.ask(f"{path}?{query}", method, Authorization=f"Bearer {TOKEN}")
        assert reply.status == 400
        assert "Authorization: Bearer TOKEN" in reply.text or "cannot be read" in reply.text
        assert TOKEN not in reply.text
        assert bridge.orders == []
