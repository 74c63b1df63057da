"""The admin port under attack: pages of strangers, guesses, tricks with paths, slow and endless clients, and crowds."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest
import structlog

from bridge.admin import access, connections
from bridge.admin.listening import BACKLOG
from bridge.config import AdminSettings
from tests.support.admin import TOKEN, FakeBridge, parsed, serving, state_of, until
from tests.support.children import patient

BEARER: Final = f"Bearer {TOKEN}"
UNCHECKED: Final = ("/livez", "/readyz", "/metrics")
OWN_NAMES: Final = (
    "localhost",
    "LOCALHOST:9464",
    "127.0.0.1",
    "127.8.9.1:1",
    "[::1]:9464",
    "[::ffff:127.0.0.1]",
    "Bridge.example.com",
    "[2001:db8::1]:80",
)
WRONG_TOKENS: Final = (
    "Bearer wrong-wrong-wrong-wrong",
    f"Bearer {TOKEN}x",
    f"Bearer {TOKEN[:-1]}",
    f"Basic {TOKEN}",
    TOKEN,
    "Bearer",
    "Bearer ",
    "",
    f"Bearer {TOKEN} {TOKEN}",
    "Bearer é" + TOKEN,
    f"Bearer {TOKEN.upper()}",
    "Bearer " + "x" * 7000,
)
SPELLINGS: Final = (
    "//status",
    "/status/",
    "/./status",
    "/x/../status",
    "/%73tatus",
    "/status%00",
    "/status;x",
    "/STATUS",
    "/livez/../status",
    "/livez/..;/status",
    "/livez%2f..%2fstatus",
    "/livez%23/status",
    "\\status",
    "/metrics/../../etc/passwd",
    "/status#x",
    "http://localhost/status",
    "http://evil.example/livez",
    "*",
    "status",
    "//evil.example/livez",
    "/livez\\..\\status",
)


# Pages in somebody's browser


@pytest.mark.parametrize("target", ["/status", "/pause?name=orders", "/unknown"])
@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "192.0.2.7", "0x7f000001", "2130706433", "[::2]"],
)
async def test_a_strangers_name_is_refused(target: str, host: str) -> None:
    """DNS rebinding: a page binds its own name to 127.0.0.1; also with the right token nothing is shown or changed."""
    bridge = FakeBridge()
    async with serving(bridge, token=TOKEN) as client:
        method = "POST" if "?" in target else "GET"
        reply = await client.ask(target, method, Host=host, Authorization=BEARER)
        assert reply.status == 403
        assert "hosts" in reply.text
        assert b"orders" not in reply.body
        assert bridge.orders == []


@pytest.mark.parametrize("path", UNCHECKED)
async def test_probes_and_prometheus_come_by_any_address(path: str) -> None:
    """A kubelet sends the pod's address as Host."""
    async with serving(FakeBridge()) as client:
        assert (await client.ask(path, Host="10.42.0.17:9464", Origin="http://evil.example")).status == 200


@pytest.mark.parametrize("host", OWN_NAMES)
async def test_names_of_its_own_are_served(host: str) -> None:
    """Localhost, loopback addresses, and the names in `hosts:`, in any case and with any port."""
    async with serving(FakeBridge(), hosts=["bridge.EXAMPLE.com", "[2001:db8::1]"]) as client:
        assert (await client.ask("/status", Host=host)).status == 200


def test_the_address_that_a_client_has_connected_to_is_its_own() -> None:
    """A server on 0.0.0.0 knows it from the connection, also as a mapped IPv6 address; no other one is."""
    rules = access.Access(AdminSettings(listen="[::]:9464"))
    rules.check_names(["10.1.2.3:9464"], [], "::ffff:10.1.2.3")
    rules.check_names(["[fe80::1]"], [], "fe80::1%eth0")
    with pytest.raises(access.Refused):
        rules.check_names(["10.1.2.4:9464"], [], "::ffff:10.1.2.3")


@pytest.mark.parametrize(
    "host", ["", "a b", "a/b", "user@localhost", "localhost:", "localhost:x", "[::1", "a" * 300, "é"]
)
async def test_a_host_that_is_none_is_400(host: str) -> None:
    """No parser has to guess what it means."""
    async with serving(FakeBridge()) as client:
        assert (await client.ask("/status", Host=host)).status == 400


@pytest.mark.parametrize("lines", ["", "Host: localhost\r\nHost: localhost\r\n"])
async def test_exactly_one_host_is_needed(lines: str) -> None:
    """None, in HTTP/1.0, and two are 400."""
    async with serving(FakeBridge()) as client:
        assert parsed(await client.send(f"GET /status HTTP/1.0\r\n{lines}\r\n".encode())).status == 400


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "http://localhost:3000",
        "file://",
        "http://localhost@evil.example",
        "",
        "localhost",
    ],
)
async def test_a_page_of_another_server_is_refused(origin: str) -> None:
    """Also one of another port of this machine, and one without an origin; also with the right token."""
    bridge = FakeBridge()
    async with serving(bridge, token=TOKEN) as client:
        host = f"localhost:{client.settings.port}"
        for target, method in (("/status", "GET"), ("/pause?name=orders", "POST")):
            assert (await client.ask(target, method, Host=host, Origin=origin, Authorization=BEARER)).status == 403
        assert bridge.orders == []


async def test_a_page_of_its_own_is_served() -> None:
    """Its origin is the Host, or one of `hosts:`, behind a proxy that ends TLS."""
    async with serving(FakeBridge(), hosts=["bridge.example.com"]) as client:
        host = f"localhost:{client.settings.port}"
        assert (await client.ask("/status", Host=host, Origin=f"http://{host}")).status == 200
        assert (await client.ask("/status", Host=host, Origin="https://bridge.example.com")).status == 200


async def test_no_answer_lets_a_page_read_it() -> None:
    """A preflight is refused, and no header of CORS is sent."""
    async with serving(FakeBridge(), token=TOKEN) as client:
        for reply in (
            await client.ask("/pause", "OPTIONS", Access_Control_Request_Method="POST"),
            await client.ask("/status"),
            await client.ask("/metrics", Origin="http://evil.example"),
        ):
            assert not any(name.startswith("access-control") for name in reply.headers)
            assert reply.headers["x-content-type-options"] == "nosniff"


# Tokens


@pytest.mark.parametrize("authorization", WRONG_TOKENS)
async def test_a_wrong_token_changes_nothing(authorization: str) -> None:
    """401, in every form; the answer names the form that is right, and the log has the address, and no token."""
    bridge = FakeBridge()
    async with serving(bridge, token=TOKEN) as client:
        with structlog.testing.capture_logs() as logs:
            for target in ("/reload", "/reload?wait=0", "/pause?name=orders", "/resume?name=orders"):
                reply = await client.ask(target, "POST", Authorization=authorization)
                assert reply.status == 401
                assert reply.headers["www-authenticate"].startswith("Bearer")
        assert bridge.orders == []
        assert {"event": "admin.refused", "peer": "127.0.0.1", "path": "/reload"}.items() <= logs[0].items()
        assert TOKEN not in str(logs)


async def test_no_token_and_two_tokens_change_nothing() -> None:
    """401 either way."""
    bridge = FakeBridge()
    async with serving(bridge, token=TOKEN) as client:
        assert (await client.ask("/reload", "POST")).status == 401
        two = f"POST /reload HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\nAuthorization: {BEARER}\r\n\r\n"
        assert parsed(await client.send(two.encode())).status == 401
        assert bridge.orders == []


async def test_an_address_without_a_token_only_shows() -> None:
    """403 with the remedy, whatever the request brings."""
    bridge = FakeBridge()
    async with serving(bridge) as client:
        for authorization in ("", "Bearer None", "Bearer ", BEARER):
            reply = await client.ask("/reload", "POST", Authorization=authorization)
            assert reply.status == 403
            assert "set admin: {token: ...}" in reply.text
        assert (await client.ask("/status")).status == 200
        assert bridge.orders == []


def test_tokens_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """By `hmac.compare_digest`: the time tells nobody how much of a guess is right."""
    compared = []
    monkeypatch.setattr("hmac.compare_digest", lambda one, other: compared.append((one, other)))
    with pytest.raises(access.Refused):
        access.Access(AdminSettings(token=TOKEN)).check_change([BEARER])  # type: ignore[arg-type]
    assert compared == [(TOKEN.encode(), TOKEN.encode())]


async def test_no_answer_has_a_secret() -> None:
    """Neither the token nor the password of a URL is in any answer, nor in the log."""
    bridge = FakeBridge(state_of(sink_url="redis://user:hunter2-hunter2@localhost/0"))
    with structlog.testing.capture_logs() as logs:
        async with serving(bridge, token=TOKEN) as client:
            replies = [await client.ask(path) for path in ("/livez", "/readyz", "/metrics", "/status", "/nothing")]
            replies += [await client.ask("/pause?name=x", "POST", Authorization=BEARER)]
    texts = [str(reply.headers) + reply.text for reply in replies] + [str(logs)]
    assert not any(secret in text for text in texts for secret in (TOKEN, "hunter2"))


# Paths and methods


@pytest.mark.parametrize("target", SPELLINGS)
async def test_a_path_has_one_spelling(target: str) -> None:
    """Any other is not found, or no request: no trick reaches an endpoint past its checks."""
    async with serving(FakeBridge()) as client:
        for host in ("localhost", "evil.example"):
            reply = await client.ask(target, Host=host)
            assert reply.status in {400, 403, 404}
            assert b"orders" not in reply.body


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
async def test_an_order_needs_post(method: str) -> None:
    """Any other method is 405 with the right one, also with the token: a link or a picture gives no order."""
    bridge = FakeBridge()
    async with serving(bridge, token=TOKEN) as client:
        for target in ("/reload", "/pause?name=orders", "/resume?name=orders"):
            reply = await client.ask(target, method, Authorization=BEARER)
            assert (reply.status, reply.headers["allow"]) == (405, "POST")
        assert bridge.orders == []


@pytest.mark.parametrize("path", [*UNCHECKED, "/status"])
async def test_reading_takes_get_and_head_alone(path: str) -> None:
    """Anything else is 405."""
    async with serving(FakeBridge()) as client:
        for method in ("POST", "DELETE", "OPTIONS"):
            reply = await client.ask(path, method)
            assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")


NO_REQUESTS: Final = {
    "garbage": b"\x00\x01\x02\x03" * 100 + b"\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\r\n\r\n",
    "http2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no version": b"GET /status\r\n\r\n",
    "a version of its own": b"GET /status HTTP/9.9\r\nHost: localhost\r\n\r\n",
    "a space before the colon": b"GET /status HTTP/1.1\r\nHost : localhost\r\n\r\n",
    "a folded header": b"GET /status HTTP/1.1\r\nHost: localhost\r\n evil\r\n\r\n",
    "two lengths": b"POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
    "a negative length": b"POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    "length and chunks": b"POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a long line": b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a long header": b"GET /status HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
    "nul in a header": b"GET /status HTTP/1.1\r\nHost: local\0host\r\n\r\n",
}


@pytest.mark.parametrize("kind", NO_REQUESTS)
async def test_no_http_gets_nothing(kind: str) -> None:
    """It is refused in few words, without a traceback or a program's name; the next request is answered."""
    bridge = FakeBridge()
    async with serving(bridge, token=TOKEN) as client:
        received = await client.send(NO_REQUESTS[kind])
        if received:
            reply = parsed(received)
            assert 400 <= reply.status < 500
            assert len(reply.body) < 200
            assert not any(word in received.lower() for word in (b"traceback", b"aiohttp", b"python", b"orders"))
        assert bridge.orders == []
        assert (await client.ask("/livez")).status == 200


async def test_many_headers_are_bounded() -> None:
    """An endless head ends the connection, at 64 KiB."""
    async with serving(FakeBridge()) as client:
        begin = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"
        received = await client.send(begin, *(b"X-%d: %s\r\n" % (n, b"x" * 1000) for n in range(2_000)))
        assert received == b"" or parsed(received).status == 400
        assert (await client.ask("/livez")).status == 200


async def test_an_upgrade_is_no_way_around() -> None:
    """A request that asks for a WebSocket, or CONNECT, gets an ordinary answer, and the connection ends."""
    async with serving(FakeBridge()) as client:
        reply = await client.ask("/status", Connection="Upgrade", Upgrade="websocket", Host="evil.example")
        assert reply.status == 403
        received = await client.send(b"CONNECT localhost:22 HTTP/1.1\r\nHost: localhost\r\n\r\n", b"x" * 10_000)
        assert received == b"" or parsed(received).status in {400, 404}


async def test_a_second_request_of_a_connection_is_not_carried_out() -> None:
    """One connection, one request: none is smuggled behind another."""
    bridge = FakeBridge()
    async with serving(bridge, token=TOKEN) as client:
        order = f"POST /reload HTTP/1.1\r\nHost: localhost\r\nAuthorization: {BEARER}\r\n\r\n"
        received = await client.send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n" + order.encode() * 50)
        assert received.count(b"HTTP/1.1 ") == 1
        assert bridge.orders == []


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
    loop = asyncio.get_running_loop()
    async with serving(FakeBridge(state)) as client:
        with socket.socket() as lazy:
            lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            lazy.setblocking(False)
            before = _descriptors()
            await loop.sock_connect(lazy, ("127.0.0.1", client.settings.port))
            await until(lambda: _descriptors() > before)
            await loop.sock_sendall(lazy, b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await until(lambda: _descriptors() == before)
            received = b""
            with suppress(ConnectionError):
                while data := await loop.sock_recv(lazy, 2**20):
                    received += data
            length = int(received.split(b"Content-Length: ")[1].split(b"\r")[0]) if received else 1
            assert len(received) < length


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
    """Of 1,000 requests those that are not answered are closed, and they take little of the processor's time."""
    async with serving(FakeBridge()) as client:
        before, begin = _descriptors(), time.process_time()
        statuses = set()
        for _ in range(10):
            replies = await asyncio.gather(*(client.ask("/metrics") for _ in range(100)), return_exceptions=True)
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
