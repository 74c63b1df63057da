"""The connection: replies are parsed however they arrive, and every way to end is noticed."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from redis.exceptions import ResponseError

from bridge import garbage
from bridge.config import Dramatiq
from bridge.errors import Disconnected
from bridge.redis_io.connection import RedisConnection, encode_command
from tests.support.brokers import Redis
from tests.support.garbage import uncollected

#: A reply's bytes, and its value.
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


def new_connection(url: str, timeout_s: float = 5.0) -> RedisConnection:
    """Return a connection that is not open yet."""
    return RedisConnection(Dramatiq.model_validate({"url": url, "connect_timeout": "5s"}), timeout_s=timeout_s)


def shown(replies: list[Any]) -> list[Any]:
    """Return replies with errors as their text."""
    return [str(reply) if isinstance(reply, ResponseError) else reply for reply in replies]


@asynccontextmanager
async def served(
    answer: Callable[[asyncio.StreamWriter], Awaitable[None]], timeout_s: float = 5.0
) -> AsyncIterator[RedisConnection]:
    """Open a connection to a server that answers OK to everything until PING comes, and then runs `answer`."""
    serving: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        while True:
            data = await reader.read(4096)
            if not data or b"PING" in data:
                break
            writer.write(b"+OK\r\n" * sum(line.startswith(b"*") for line in data.split(b"\r\n")))
        await answer(writer)
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    made = new_connection(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout_s)
    try:
        await made.open()
        made.send(encode_command("PING"))
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
        made = new_connection("redis://localhost")
        made.data_received(raw[:cut])
        made.data_received(raw[cut:])
        assert shown(list(made._replies)) == expected
    made = new_connection("redis://localhost")
    for byte in raw:
        made.data_received(bytes([byte]))
    assert shown(list(made._replies)) == expected


async def test_an_error_is_raised_and_the_connection_continues(redis_server: Redis) -> None:
    """An error reply is raised as ResponseError, without its ERR; other replies follow."""
    made = new_connection(redis_server.url)
    await made.open()
    with pytest.raises(ResponseError, match=r"^unknown command"):
        await made.command("NONSENSE")
    assert await made.command("PING") == b"PONG"
    with pytest.raises(ResponseError, match=r"^WRONGPASS"):
        await made.command("AUTH", "nobody", "nothing")
    await made.close()
    assert made.failed
    with pytest.raises(Disconnected):
        made.send(encode_command("PING"))


async def test_no_error_keeps_a_command(redis_server: Redis) -> None:
    """Neither one that Redis replies with, nor that of a connection that has ended, however often it is raised."""
    made, value = new_connection(redis_server.url), b"x" * 500_000
    await made.open()
    with uncollected() as grown:
        for _ in range(10):
            with suppress(ResponseError):
                await made.command("NONSENSE", value)
        with suppress(Disconnected, ResponseError):
            await made.command("QUIT")
            await made.command("SET", "k", value)
        for _ in range(10):
            with suppress(Disconnected):
                await made.command("SET", "k", value)
        assert made.failed
        assert grown() < 400_000
    await made.close()


@pytest.mark.parametrize("answers", [True, False])
async def test_no_end_of_a_connection_keeps_a_command(redis_server: Redis, answers: bool) -> None:
    """It ends by a timeout or by the server; the command was sent, or not yet."""

    async def serve(writer: asyncio.StreamWriter) -> None:
        if answers:
            writer.close()

    with uncollected() as grown:
        for _ in range(5):
            async with served(serve, timeout_s=0.1) as made:
                for _ in range(3):
                    with suppress(Disconnected):
                        await made.command("SET", "k", b"x" * 500_000)
        assert grown() < 400_000


async def test_all_replies_that_have_arrived_are_read_at_once(redis_server: Redis) -> None:
    """A reply of megabytes, and a thousand small ones in a few reads, at most as many as asked for."""
    made = new_connection(redis_server.url)
    await made.open()
    large = b"x" * 5_000_000
    made.send(encode_command("SET", "k", large) + encode_command("GET", "k"))
    assert [await made.read(), await made.read()] == [b"OK", large]
    made.send(encode_command("PING") * 1000)
    replies: list[Any] = []
    while len(replies) < 1000:
        some = await made.read_all(300)
        assert 1 <= len(some) <= 300
        replies += some
    assert replies == [b"PONG"] * 1000
    await made.close()


async def test_unread_replies_wait_in_the_server() -> None:
    """A connection holds a bounded number of unread replies; TCP holds the others back."""
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


async def test_a_silent_server_ends_the_connection() -> None:
    """Without a reply within the timeout the connection has failed."""

    async def nothing(writer: asyncio.StreamWriter) -> None:
        pass

    async with served(nothing, timeout_s=0.2) as made:
        with pytest.raises(Disconnected, match="timed out"):
            await made.read()
        assert made.failed


async def test_a_server_that_closes_ends_the_connection() -> None:
    """Replies that had arrived are read; then the connection has ended."""

    async def leave(writer: asyncio.StreamWriter) -> None:
        writer.write(b"+one\r\n$5\r\ntw")
        writer.close()

    async with served(leave) as made:
        assert await made.read() == b"one"
        with pytest.raises(Disconnected, match="closed"):
            await made.read()


async def test_another_protocol_ends_the_connection() -> None:
    """The connection to a server of another protocol fails, and its bytes are no reply."""

    async def nonsense(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with served(nonsense) as made:
        with pytest.raises(Disconnected, match="Protocol error"):
            await made.read()


async def test_a_cancellation_is_never_swallowed(redis_server: Redis) -> None:
    """A task that is cancelled at any point while it opens a connection ends."""
    ended = []
    for steps in range(40):
        opened = new_connection(redis_server.url)
        opening = asyncio.create_task(opened.open())
        for _ in range(steps):
            await asyncio.sleep(0)
        if not opening.done():
            opening.cancel()
            await asyncio.wait([opening], timeout=60)
            ended.append(opening.cancelled())
        await opened.close()
    assert ended
    assert all(ended)


async def test_a_connection_that_is_closed_leaves_little_behind(
    redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """redis-py leaves 10 KB in rings: in an outage of hours, with an attempt a second, nothing else would collect them."""
    monkeypatch.setattr(garbage, "_AFTER_S", 0.05)
    with uncollected() as grown:
        for _ in range(20):
            connection = new_connection(redis_server.url)
            await connection.open()
            await connection.close()
            await connection.close()
            del connection
            await asyncio.sleep(0.15)
        assert grown() < 20 * 4096


@pytest.mark.parametrize("path", ["", "/2", "user"])
async def test_a_server_without_room_for_another_client_is_named(new_redis: Callable[..., Redis], path: str) -> None:
    """Redis says so at once and closes the connection: its words are the cause, and not a guess about TLS."""
    server = new_redis()
    url = f"redis://u:p@127.0.0.1:{server.port}" if path == "user" else f"{server.url}{path}"
    with server.client() as client:
        client.config_set("maxclients", "1")
        for _ in range(20):
            refused = new_connection(url)
            with pytest.raises(Disconnected, match="max number of clients reached"):
                await refused.open()
            await refused.close()


@pytest.mark.parametrize(
    "words",
    [
        "DENIED Redis is running in protected mode because no password is set.",
        "ERR max number of clients + cluster connections reached",
    ],
)
async def test_a_redis_that_refuses_a_connection_is_named(words: str) -> None:
    """In protected mode, or as a node of a cluster without room, it answers before it is asked."""

    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"-{words}\r\n".encode())
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        refused = new_connection(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(Disconnected, match=re.escape(words.removeprefix("ERR "))):
            await refused.open()
        await refused.close()
