"""The admin port under attack: pages of strangers, guesses at the token, tricks with paths, and no HTTP at all."""

from __future__ import annotations

from typing import Final

import pytest
import structlog

from bridge.admin import access
from bridge.config import AdminSettings
from tests.support.admin import TOKEN, FakeBridge, parsed, serving, state_of

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


def test_contents_are_for_the_token_and_the_socket() -> None:
    """Without a token contents are hidden, a wrong one is an error; a Unix socket needs none, and without one nobody has it."""
    right, wrong = [BEARER], [f"Bearer {TOKEN}x"]
    settings = AdminSettings.model_validate({"listen": "127.0.0.1:9464", "token": TOKEN})
    with_token = access.Access(settings)
    assert with_token.may_see_contents(right)
    assert not with_token.may_see_contents([])
    for bad in (wrong, [*right, *right], [TOKEN]):
        with pytest.raises(access.Refused) as refused:
            with_token.may_see_contents(bad)
        assert refused.value.status == 401
    without = access.Access(AdminSettings(listen="127.0.0.1:9464"))
    assert not without.may_see_contents([])
    assert not without.may_see_contents(right)
    assert access.Access(AdminSettings(listen="unix:/run/x.sock")).may_see_contents([])
