"""The link: what Redis sends, however it arrives, and how a connection ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.exceptions import ResponseError

from bridge.config import Dramatiq
from bridge.errors import Disconnected
from bridge.redis_io.connection import RedisConnection, command
from tests.support.brokers import Redis

#: What a server sends, and what it means.
REPLIES: list[tuple[bytes, Any]] = [
    (b"+OK\r\n", b"OK"),
    (b":-7\r\n", -7),
    (b"$-1\r\n", None),
    (b"*-1\r\n", None),
    (b"$0\r\n\r\n", b""),
    (b"$7\r\na\r\n$1\r\n\r\n", b"a\r\n$1\r\n"),
    (b"*0\r\n", []),
    (b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$3\r\n\x00\xff\r\r\n", [b"message", b"c", b"\x00\xff\r"]),
    (b"*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*-1\r\n", [[b"s", [[b"1-1", None]]]]),
    (b"-WRONGTYPE Operation\r\n", "WRONGTYPE Operation"),
    (b"-ERR unknown\r\n", "unknown"),
]


def link(url: str, timeout_s: float = 5.0) -> RedisConnection:
    """Make a link that is not open yet."""
    return RedisConnection(Dramatiq.model_validate({"url": url, "connect_timeout": "5s"}), timeout_s=timeout_s)


def shown(replies: list[Any]) -> list[Any]:
    """Return replies with errors as their text."""
    return [str(reply) if isinstance(reply, ResponseError) else reply for reply in replies]


@asynccontextmanager
async def served(
    answer: Callable[[asyncio.StreamWriter], Awaitable[None]], timeout_s: float = 5.0
) -> AsyncIterator[RedisConnection]:
    """Open a link to a server that agrees to everything until PING comes, and then does `answer`."""
    serving: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        while True:
            said = await reader.read(4096)
            if not said or b"PING" in said:
                break
            writer.write(b"+OK\r\n" * sum(line.startswith(b"*") for line in said.split(b"\r\n")))
        await answer(writer)
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    made = link(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout_s)
    try:
        await made.open()
        made.send(command("PING"))
        yield made
    finally:
        await made.close()
        server.close()
        await asyncio.wait([task for task in serving if task], timeout=5)


def test_replies_are_the_same_wherever_they_are_cut() -> None:
    """The same bytes, cut at every position, are the same replies."""
    raw = b"".join(part for part, _ in REPLIES)
    expected = [value for _, value in REPLIES]
    for cut in range(len(raw) + 1):
        made = link("redis://localhost")
        made.data_received(raw[:cut])
        made.data_received(raw[cut:])
        assert shown(list(made._replies)) == expected
    made = link("redis://localhost")
    for byte in raw:
        made.data_received(bytes([byte]))
    assert shown(list(made._replies)) == expected


async def test_an_error_is_raised_and_the_link_goes_on(redis_server: Redis) -> None:
    """A reply that is an error is a ResponseError without its ERR; other replies follow."""
    made = link(redis_server.url)
    await made.open()
    with pytest.raises(ResponseError, match=r"^unknown command"):
        await made.command("NONSENSE")
    assert await made.command("PING") == b"PONG"
    with pytest.raises(ResponseError, match=r"^WRONGPASS"):
        await made.command("AUTH", "nobody", "nothing")
    await made.close()
    assert made.failed
    with pytest.raises(Disconnected):
        made.send(command("PING"))


async def test_all_replies_that_are_there_come_at_once(redis_server: Redis) -> None:
    """A reply of megabytes, and a thousand small ones in one go, at most as many as are asked for."""
    made = link(redis_server.url)
    await made.open()
    large = b"x" * 5_000_000
    made.send(command("SET", "k", large) + command("GET", "k"))
    assert [await made.read(), await made.read()] == [b"OK", large]
    made.send(command("PING") * 1000)
    replies: list[Any] = []
    while len(replies) < 1000:
        some = await made.read_all(300)
        assert 1 <= len(some) <= 300
        replies += some
    assert replies == [b"PONG"] * 1000
    await made.close()


async def test_what_nobody_reads_is_left_to_redis() -> None:
    """Replies that are not read are bounded: the rest waits in the server."""
    sent = 0

    async def flood(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        for _ in range(3000):
            writer.write(b"$10000\r\n%b\r\n" % (b"x" * 10_000))
            await writer.drain()
            sent += 1

    async with served(flood) as made:
        before = -1
        while sent != before:
            before = sent
            await asyncio.sleep(0.3)
        assert sent < 3000
        for _ in range(3000):
            assert len(await made.read()) == 10_000


async def test_a_silent_server_ends_the_link() -> None:
    """No reply within the timeout, and the link has failed."""

    async def nothing(writer: asyncio.StreamWriter) -> None:
        pass

    async with served(nothing, timeout_s=0.2) as made:
        with pytest.raises(Disconnected, match="timed out"):
            await made.read()
        assert made.failed


async def test_a_server_that_goes_ends_the_link() -> None:
    """What had come is read; then the link has ended."""

    async def leave(writer: asyncio.StreamWriter) -> None:
        writer.write(b"+one\r\n$5\r\ntw")
        writer.close()

    async with served(leave) as made:
        assert await made.read() == b"one"
        with pytest.raises(Disconnected, match="closed"):
            await made.read()


async def test_nonsense_ends_the_link() -> None:
    """A server that does not speak Redis's protocol is left, and its words are no reply."""

    async def nonsense(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with served(nonsense) as made:
        with pytest.raises(Disconnected, match="Protocol error"):
            await made.read()


async def test_a_cancellation_is_never_swallowed(redis_server: Redis) -> None:
    """Whenever it comes while the link is being opened: what waits for the task to end does not wait for ever."""
    ended = []
    for steps in range(40):
        opened = link(redis_server.url)
        opening = asyncio.create_task(opened.open())
        for _ in range(steps):
            await asyncio.sleep(0)
        if not opening.done():
            opening.cancel()
            await asyncio.wait([opening], timeout=30)
            ended.append(opening.cancelled())
        await opened.close()
    assert ended
    assert all(ended)
