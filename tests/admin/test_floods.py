"""The admin port under load: bodies without an end, clients that are slow, and crowds."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import psutil
import pytest
import structlog

from bridge.admin import connections
from bridge.admin.listening import BACKLOG
from tests.support.admin import TOKEN, Client, FakeBridge, parsed, serving, state_of, until
from tests.support.children import patient

BEARER: Final = f"Bearer {TOKEN}"


# Bodies


@pytest.mark.parametrize("length", ["Content-Length: 1000000000", "Transfer-Encoding: chunked"])
async def test_a_large_body_is_refused_unread(length: str) -> None:
    """413 at once; a client that goes on sending is cut off at 64 KiB, and nothing was carried out."""
    bridge = FakeBridge()
    async with serving(bridge, token=TOKEN) as client:
        head = f"POST /reload HTTP/1.1\r\nHost: localhost\r\nAuthorization: {BEARER}\r\n{length}\r\n\r\n".encode()
        chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"
        received = await client.send(head, *[chunk] * 5_000)
        assert received == b"" or parsed(received).status == 413  # cut off, a client may not see it
        assert bridge.orders == []
        assert (await client.ask("/livez")).status == 200


@pytest.mark.parametrize("length", ["Content-Length: 5000", "Transfer-Encoding: chunked"])
async def test_no_order_is_carried_out_before_its_large_body(length: str) -> None:
    """413 as soon as the head has come."""
    bridge = FakeBridge()
    async with serving(bridge, token=TOKEN) as client:
        head = f"POST /reload HTTP/1.1\r\nHost: localhost\r\nAuthorization: {BEARER}\r\n{length}\r\n\r\n".encode()
        assert parsed(await client.send(head)).status == 413
        assert bridge.orders == []


async def test_bytes_behind_a_request_are_bounded() -> None:
    """A client that goes on sending while it waits for its answer is cut off at 64 KiB; its order is carried through."""
    assert connections.MAX_INPUT == 64 * 1024
    bridge = FakeBridge()
    bridge.gate.clear()
    async with serving(bridge, token=TOKEN) as client:
        order = f"POST /reload HTTP/1.1\r\nHost: localhost\r\nAuthorization: {BEARER}\r\n\r\n".encode()
        _, writer = await client.connect()
        writer.write(order)
        await until(lambda: bridge.orders)
        writer.write(order * 1_000)
        await until(lambda: not _open_connections(client))
        writer.transport.abort()
        bridge.gate.set()
        assert (await client.ask("/livez")).status == 200
        assert bridge.orders == ["reload"]


async def test_a_small_body_is_no_harm() -> None:
    """`curl -d ''` and a few bytes that nobody reads: the order is carried out, and the answer arrives."""
    bridge = FakeBridge()
    async with serving(bridge, token=TOKEN) as client:
        for length in (0, 10, 4_000):
            head = f"POST /reload HTTP/1.1\r\nHost: localhost\r\nAuthorization: {BEARER}\r\nContent-Length: {length}\r\n\r\n"
            assert parsed(await client.send(head.encode(), b"x" * length)).status == 200
        assert bridge.orders == ["reload"] * 3


# Slow clients, and many


async def test_a_head_has_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sends a byte now and then is cut off; here after a part of them."""
    assert connections.HEAD_S == 10
    monkeypatch.setattr(connections, "HEAD_S", 0.3)
    async with serving(FakeBridge()) as client:
        reader, writer = await client.connect()
        with suppress(ConnectionError):
            async with asyncio.timeout(patient(10)):
                while not reader.at_eof():
                    writer.write(b"G")
                    await writer.drain()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(0.05):
                            await reader.read(1)
        writer.close()
        assert (await client.ask("/livez")).status == 200


async def test_a_connection_lives_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that never reads its answer is cut off, and nothing is kept for it; here after a part of it."""
    assert connections.LIFE_S == 60
    monkeypatch.setattr(connections, "LIFE_S", 1.5)
    state = state_of()
    state.routes |= {f"{n:0200}": state.routes["a"] for n in range(30_000)}
    bridge = FakeBridge(state)
    async with serving(bridge) as client:
        with await _lazy(client) as lazy:
            await until(lambda: bridge.snapshots)
            await until(lambda: not _open_connections(client))
            received = await _rest(lazy)
            length = int(received.split(b"Content-Length: ")[1].split(b"\r")[0]) if received else 1
            assert len(received) < length


async def test_answers_that_nobody_takes_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many lazy clients of a large bridge the oldest are cut off; the newest one gets its answer."""
    assert connections.MAX_OUTPUT == 16 * 1024 * 1024
    monkeypatch.setattr(connections, "LIFE_S", 1_000.0)
    state = state_of()
    state.routes |= {f"{n:0200}": state.routes["a"] for n in range(20_000)}
    async with serving(FakeBridge(state)) as client:
        size = len((await client.ask("/status")).body)
        room = connections.MAX_OUTPUT // size
        assert 0 < room < 3
        with ExitStack() as ends:
            for number in range(1, 7):
                ends.enter_context(await _lazy(client))
                await until(partial(_has_open, client, min(number, room)))
            assert len((await client.ask("/status")).body) == size


def _has_open(client: Client, number: int) -> bool:
    return _open_connections(client) == number


def _open_connections(client: Client) -> int:
    """Return how many connections the server has open."""
    found = psutil.Process().net_connections("tcp")
    return sum(each.laddr.port == client.settings.port and each.status == psutil.CONN_ESTABLISHED for each in found)


async def _lazy(client: Client) -> socket.socket:
    """Ask for the status on a connection whose end here takes almost nothing."""
    loop = asyncio.get_running_loop()
    lazy = socket.socket()
    lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    lazy.setblocking(False)
    await loop.sock_connect(lazy, ("127.0.0.1", client.settings.port))
    await loop.sock_sendall(lazy, b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return lazy


async def _rest(lazy: socket.socket) -> bytes:
    received = b""
    with suppress(ConnectionError):
        while data := await asyncio.get_running_loop().sock_recv(lazy, 2**20):
            received += data
    return received


async def test_a_crowd_hurts_nobody() -> None:
    """Of 1,000 connections that say nothing 64 are open; probes are answered meanwhile, and the log says it once."""
    async with serving(FakeBridge()) as client:
        before = _descriptors()
        opened: list[Any] = []
        with structlog.testing.capture_logs() as logs:
            for _ in range(50):
                opened += await asyncio.gather(*(client.connect() for _ in range(20)), return_exceptions=True)
                assert (await client.ask("/livez")).status == 200
                assert _descriptors() - before <= len(opened) + connections.MAX_CONNECTIONS + 2
        writers = [each[1] for each in opened if isinstance(each, tuple)]
        assert [line["event"] for line in logs if line["event"] == "admin.crowded"] == ["admin.crowded"]
        for writer in writers:
            writer.transport.abort()
        await until(lambda: _descriptors() <= before)
        assert (await client.ask("/readyz")).status == 200


async def test_a_crowd_of_requests_is_cheap() -> None:
    """1,000 requests, 50 at a time, take little of the processor's time, and no descriptor afterwards."""
    async with serving(FakeBridge()) as client:
        before, begin = _descriptors(), time.process_time()
        statuses = set()
        for _ in range(20):
            replies = await asyncio.gather(*(client.ask("/metrics") for _ in range(50)), return_exceptions=True)
            statuses |= {reply.status for reply in replies if not isinstance(reply, BaseException)}
        assert statuses == {200}
        assert time.process_time() - begin < 20
        await until(lambda: _descriptors() <= before)


CROWD: Final = """
import resource, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (1100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
crowd = [socket.socket() for _ in range(1000)]
for each in crowd:
    each.setblocking(False)
    each.connect_ex(("127.0.0.1", int(sys.argv[1])))
print("all", flush=True)
sys.stdin.read()
"""


async def test_a_thousand_at_once_take_few_descriptors() -> None:
    """The bridge has 64 of them and those that it is about to accept; and a probe is answered while they are there."""
    bound = connections.MAX_CONNECTIONS + 3 * BACKLOG + 10
    async with serving(FakeBridge()) as client:
        before, port = _descriptors(), str(client.settings.port)
        crowd = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", CROWD, port), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            assert crowd.stdout is not None
            reading = asyncio.create_task(crowd.stdout.readline())
            while not reading.done():
                assert _descriptors() - before < bound
                await asyncio.sleep(0)
            assert (await client.ask("/livez")).status == 200
            assert _descriptors() - before < bound
        finally:
            crowd.kill()
            await crowd.wait()
        await until(lambda: _descriptors() <= before)


async def test_an_order_survives_a_crowd() -> None:
    """Whoever waits for a reload is not closed in favour of strangers."""
    bridge = FakeBridge()
    bridge.gate.clear()
    async with serving(bridge, token=TOKEN) as client:
        asked = asyncio.create_task(client.ask("/reload", "POST", Authorization=BEARER))
        await until(lambda: bridge.orders)
        opened = [await client.connect() for _ in range(connections.MAX_CONNECTIONS * 2)]
        bridge.gate.set()
        assert (await asked).status == 200
        for _, writer in opened:
            writer.transport.abort()


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
