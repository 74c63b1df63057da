"""An attempt: all of it within its time, and the error tells how far it came."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from bridge.connecting.attempt import Attempt, Server
from tests.connecting.conftest import Run
from tests.support.certificates import Certificates
from tests.support.neighbours import BLACK, BlackHole, MuteTls


@asynccontextmanager
async def serving(certificates: Certificates | None) -> AsyncIterator[int]:
    """A server that says nothing, over TLS with `certificates`."""
    context = None
    if certificates:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.cert, certificates.key)
    ending = asyncio.Event()

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ending.wait()
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        ending.set()
        server.close()
        await asyncio.sleep(0.05)


def trusting(certificates: Certificates) -> ssl.SSLContext:
    """A client's context."""
    return ssl.create_default_context(cafile=certificates.ca)


def test_the_error_says_that_no_address_has_answered(run: Run) -> None:
    """With the address, and the time."""

    async def attempt(port: int) -> None:
        with pytest.raises(OSError, match=f"^no answer from {BLACK}:{port} within 300ms$"):
            async with Attempt(0.3) as made:
                await made.open(Server(BLACK, port))

    with BlackHole() as hole:
        run(attempt(hole.port))


def test_the_error_says_that_the_name_was_not_resolved(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the name, and the time."""

    async def attempt() -> None:
        with pytest.raises(OSError, match=r"^the name 'never\.test' was not resolved within 300ms$"):
            async with Attempt(0.3) as made:
                await made.open(Server("never.test", 1))

    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("bridge.connecting.attempt._resolver.resolve", never)
    run(attempt())


@pytest.mark.parametrize("way", ["open_tls", "connect"])
def test_a_handshake_that_does_not_end_is_in_the_time(run: Run, way: str, certificates: Certificates) -> None:
    """The server has accepted the connection, and says nothing: the attempt times out, and closes its socket."""

    async def connect(made: Attempt, server: Server) -> None:
        async with made:
            if way == "connect":
                await made.connect(asyncio.Protocol(), server)
            else:
                await made.open_tls(server)

    async def attempt() -> None:
        async with serving(None) as port:
            made = Attempt(0.3)
            with pytest.raises(TimeoutError, match=r"^timed out$"):
                await connect(made, Server("127.0.0.1", port, tls=trusting(certificates)))
            await asyncio.sleep(0.05)
            assert made._socket is not None
            assert made._socket.fileno() == -1

    run(attempt())


def test_a_silent_server_gets_no_time_for_its_farewell(run: Run, certificates: Certificates) -> None:
    """A library that closes its TLS connection when the time is up waits for the server: the attempt ends without it."""
    waited_s: list[float] = []

    async def connect(server: Server) -> None:
        loop, reader = asyncio.get_running_loop(), asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        async with Attempt(0.3) as made:
            writer = asyncio.StreamWriter(await made.connect(protocol, server), protocol, reader, loop)
            try:
                await asyncio.Event().wait()
            finally:
                began = loop.time()
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
                waited_s.append(loop.time() - began)

    with MuteTls(certificates) as server, pytest.raises(TimeoutError, match=r"^timed out$"):
        run(connect(Server("127.0.0.1", server.port, tls=trusting(certificates))))
    assert waited_s[0] < 10  # without a bound it takes 30


def test_a_cancelled_attempt_is_cancelled(run: Run) -> None:
    """Whoever cancels it gets no other error, also where the time is up at the same moment."""

    async def attempt(port: int) -> None:
        async with Attempt(0.2) as made:
            await made.open(Server(BLACK, port))

    async def cancel(port: int) -> None:
        for delay_s in (0.0, 0.1, 0.2):
            task = asyncio.create_task(attempt(port))
            await asyncio.sleep(delay_s)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled() or delay_s == 0.2

    with BlackHole() as hole:
        run(cancel(hole.port))


def test_a_certificate_is_checked_for_the_name(run: Run, certificates: Certificates) -> None:
    """On a socket for paho as on a transport: the host's, or the one that is set."""

    async def attempt(way: str, name: str | None) -> None:
        async with serving(certificates) as port, Attempt(5) as made:
            server = Server("127.0.0.1", port, tls=trusting(certificates), name=name)
            if way == "connect":
                (await made.connect(asyncio.Protocol(), server)).abort()
            else:
                (await made.open_tls(server)).close()

    for way in ("open_tls", "connect"):
        for name in (None, "localhost"):
            run(attempt(way, name))
        with pytest.raises(ssl.SSLCertVerificationError, match=r"other\.test"):
            run(attempt(way, "other.test"))


def test_sockets_are_kept_alive_and_send_at_once(run: Run) -> None:
    """Whichever client has them."""

    async def attempt() -> None:
        async with serving(None) as port, Attempt(5) as made:
            with await made.open(Server("localhost", port)) as sock:
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30

    run(attempt())


@pytest.mark.parametrize("name", [".example.test", "a..b", "x" * 64, "a\0b"])
@pytest.mark.parametrize("way", ["open_tls", "connect"])
def test_a_name_that_tls_refuses_is_a_failed_attempt(run: Run, way: str, name: str, certificates: Certificates) -> None:
    """As every other failure, and no error of another kind, which would end the bridge; no socket is opened."""

    async def attempt() -> None:
        async with serving(None) as port, Attempt(5) as made:
            server = Server("127.0.0.1", port, tls=trusting(certificates), name=name)
            with pytest.raises(OSError, match=r"^TLS can't ask for a certificate of "):
                await (made.connect(asyncio.Protocol(), server) if way == "connect" else made.open_tls(server))
            assert made._socket is None

    run(attempt())
