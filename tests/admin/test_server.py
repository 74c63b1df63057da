"""The admin server on real sockets: its endpoints, its orders, and the addresses that it listens on."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest
import structlog

from bridge.admin import answers as answers_module
from bridge.admin import server
from bridge.admin.server import AdminServer
from bridge.config import AdminSettings
from bridge.model.control import Reloaded
from tests.support.admin import TOKEN, Client, FakeBridge, answers, serving, state_of, until
from tests.support.children import free_port, patient

BEARER = f"Bearer {TOKEN}"


BAD_QUERIES: Final = (
    *("/pause", "/pause?name=", "/pause?name=a&name=b", "/pause?name=a&x=1", "/pause?name=%ff"),
    *("/reload?wait=2", "/reload?wait", "/pause?" + "&".join(f"a{i}=1" for i in range(100))),
)


async def test_a_bridge_that_works_is_alive_and_ready() -> None:
    """/livez and /readyz are 200; each answer says that nobody may keep it, and names no version of a program."""
    async with serving(FakeBridge()) as client:
        for path, text in (("/livez", "ok\n"), ("/readyz", "ready\n")):
            reply = await client.ask(path)
            assert (reply.status, reply.text) == (200, text)
            assert reply.headers["cache-control"] == "no-store"
            assert reply.headers["server"] == "dramatiq-bridge"
            assert reply.headers["content-type"] == "text/plain; charset=utf-8"
            assert reply.headers["connection"] == "close"


async def test_an_unready_bridge_is_alive() -> None:
    """/readyz is 503 with a line for each cause, and /livez is 200 still."""
    state = state_of(phase="starting")
    state.sources["plant"].connected, state.sources["plant"].cause = False, "connection refused"
    async with serving(FakeBridge(state)) as client:
        reply = await client.ask("/readyz")
        assert reply.status == 503
        assert reply.text.splitlines() == [
            "not ready",
            "the bridge starts: not everything was connected yet",
            "source plant: not connected: connection refused",
        ]
        assert (await client.ask("/livez")).status == 200


async def test_a_pause_is_named_in_the_ready_answer() -> None:
    """The answer is 200, and says that a person has paused something."""
    state = state_of()
    state.routes["a"].paused = True
    async with serving(FakeBridge(state)) as client:
        reply = await client.ask("/readyz")
        assert reply.status == 200
        assert reply.text == "ready\nroute a: paused by a person; source orders waits behind it\n"


async def test_metrics_come_in_the_format_that_the_client_likes() -> None:
    """Text for curl and an old Prometheus, OpenMetrics for one that asks for it; each from one snapshot."""
    bridge = FakeBridge()
    async with serving(bridge) as client:
        text = await client.ask("/metrics")
        assert text.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert b'dramatiq_bridge_events_received_total{source="orders"} 100.0\n' in text.body
        assert bridge.snapshots == 1
        accept = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
        openmetrics = await client.ask("/metrics", Accept=accept)
        assert openmetrics.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
        assert openmetrics.body.endswith(b"# EOF\n")
        assert bridge.snapshots == 2


async def test_status_is_json() -> None:
    """/status has the whole state."""
    async with serving(FakeBridge()) as client:
        reply = await client.ask("/status")
        assert reply.headers["content-type"] == "application/json"
        assert reply.json["sources"]["orders"]["identity"]["received"] == 100


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/status"])
async def test_head_is_get_without_the_body(path: str) -> None:
    """A probe that asks with HEAD gets the same head."""
    async with serving(FakeBridge()) as client:
        get, head = await client.ask(path), await client.ask(path, "HEAD")
        assert head.status == get.status
        assert head.body == b""
        assert head.headers["content-length"] == str(len(get.body))


async def test_a_reload_answers_once_it_is_over() -> None:
    """The answer has the changes in words."""
    bridge = FakeBridge()
    bridge.gate.clear()
    async with serving(bridge, token=TOKEN) as client:
        asked = asyncio.create_task(client.ask("/reload", "POST", Authorization=BEARER))
        await until(lambda: bridge.orders)
        assert not asked.done()
        bridge.gate.set()
        reply = await asked
        assert (reply.status, reply.json) == (200, {"result": "ok", "changes": ["route a changed"]})


@pytest.mark.parametrize(("result", "status"), [("refused", 409), ("invalid", 422), ("failed", 500)])
async def test_a_reload_that_changes_nothing_says_why(result: str, status: int) -> None:
    """Each kind has its own status, and the cause in words."""
    bridge = FakeBridge()
    bridge.reloaded = Reloaded(result, cause="line 3 is wrong")  # type: ignore[arg-type]
    async with serving(bridge, token=TOKEN) as client:
        reply = await client.ask("/reload", "POST", Authorization=BEARER)
        assert (reply.status, reply.json["result"], reply.json["cause"]) == (status, result, "line 3 is wrong")


async def test_a_reload_without_waiting_answers_at_once() -> None:
    """With wait=0 the answer is 202, and the reload goes on; of many only one waits behind the one that runs."""
    bridge = FakeBridge()
    bridge.gate.clear()
    async with serving(bridge, token=TOKEN) as client:
        for _ in range(5):
            reply = await client.ask("/reload?wait=0", "POST", Authorization=BEARER)
            assert (reply.status, reply.json) == (202, {"result": "running"})
        assert bridge.orders == ["reload"] * 2
        bridge.gate.set()
        reply = await client.ask("/reload", "POST", Authorization=BEARER)
        assert (reply.status, len(bridge.orders)) == (200, 3)


async def test_a_long_reload_goes_on_without_its_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection does not live for ever: the answer is 202 then, and the reload is not cut short."""
    monkeypatch.setattr(answers_module, "WAIT_S", 0.05)
    bridge = FakeBridge()
    bridge.gate.clear()
    async with serving(bridge, token=TOKEN) as client:
        reply = await client.ask("/reload", "POST", Authorization=BEARER)
        assert reply.status == 202
        assert "goes on" in reply.json["cause"]


async def test_a_client_that_leaves_does_not_cut_its_order_short() -> None:
    """The reload that it has asked for is carried through."""
    bridge = FakeBridge()
    bridge.gate.clear()
    finished = []

    async def reload() -> Reloaded:
        bridge.orders.append("reload")
        await bridge.gate.wait()
        finished.append(True)
        return bridge.reloaded

    bridge.reload = reload  # type: ignore[method-assign]
    async with serving(bridge, token=TOKEN) as client:
        _, writer = await client.connect()
        writer.write(f"POST /reload HTTP/1.1\r\nHost: localhost\r\nAuthorization: {BEARER}\r\n\r\n".encode())
        await until(lambda: bridge.orders)
        writer.transport.abort()
        await asyncio.sleep(0.05)
        bridge.gate.set()
        await until(lambda: finished)


async def test_a_source_and_a_route_are_paused_and_resumed() -> None:
    """The answer names the kind, and the state after it."""
    bridge = FakeBridge()
    async with serving(bridge, token=TOKEN) as client:
        reply = await client.ask("/pause?name=orders", "POST", Authorization=BEARER)
        assert (reply.status, reply.json) == (200, {"name": "orders", "kind": "source", "paused": True})
        reply = await client.ask("/resume?name=a", "POST", Authorization=BEARER)
        assert (reply.status, reply.json) == (200, {"name": "a", "kind": "route", "paused": False})
        assert bridge.orders == [("orders", True), ("a", False)]


async def test_a_name_may_have_any_characters() -> None:
    """It comes percent-encoded, as everywhere in an address."""
    bridge = FakeBridge()
    bridge.now.sources["größe & 1"] = bridge.now.sources["orders"]
    async with serving(bridge, token=TOKEN) as client:
        reply = await client.ask("/pause?name=gr%C3%B6%C3%9Fe+%26%201", "POST", Authorization=BEARER)
        assert reply.json["name"] == "größe & 1"


async def test_an_unknown_name_gets_the_known_ones() -> None:
    """404, and whoever has mistyped it sees the right one."""
    async with serving(FakeBridge(), token=TOKEN) as client:
        reply = await client.ask("/pause?name=order", "POST", Authorization=BEARER)
        assert reply.status == 404
        assert reply.json["known"] == ["orders", "plant", "a", "b", "c"]


@pytest.mark.parametrize("target", BAD_QUERIES)
async def test_a_query_with_a_mistake_is_400(target: str) -> None:
    """Nothing is paused or reloaded then."""
    bridge = FakeBridge()
    async with serving(bridge, token=TOKEN) as client:
        reply = await client.ask(target, "POST", Authorization=BEARER)
        assert reply.status == 400
        assert bridge.orders == []


async def test_an_unknown_path_gets_the_known_ones() -> None:
    """404 with the list."""
    async with serving(FakeBridge()) as client:
        reply = await client.ask("/")
        assert reply.status == 404
        assert all(path in reply.text for path in ("/livez", "/readyz", "/metrics", "/status", "/reload", "/pause"))


async def test_a_fault_of_the_bridge_is_500_and_logged() -> None:
    """The answer has no traceback and no words of the error; the log has the cause; and the next request is answered."""
    bridge = FakeBridge()
    bridge.fault = ValueError("inner words")
    async with serving(bridge) as client:
        with structlog.testing.capture_logs() as logs:
            reply = await client.ask("/status")
        assert (reply.status, reply.text) == (500, "the bridge could not answer; its log says why\n")
        assert [(line["event"], line["cause"]) for line in logs] == [("admin.failed", "ValueError: inner words")]
        bridge.fault = None
        assert (await client.ask("/status")).status == 200


async def test_a_flood_of_scrapes_takes_a_fifth_of_the_time_at_most() -> None:
    """Scrapes without a pause of a bridge with thousands of routes share an exposition that is a moment old."""
    state = state_of()
    state.routes |= {f"r{n}": state.routes["a"] for n in range(2_000)}
    bridge = FakeBridge(state)
    async with serving(bridge) as client:
        replies = await asyncio.gather(*(client.ask("/metrics") for _ in range(20)))
        assert {reply.status for reply in replies} == {200}
        assert bridge.snapshots < 10


# Where it listens


async def test_a_taken_port_is_a_warning_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bridge runs on without the server; once the port is free, the server listens."""
    monkeypatch.setattr(server, "RETRY_S", 0.1)
    port = free_port()
    client = Client(AdminSettings(listen=f"127.0.0.1:{port}"))
    with socket.create_server(("127.0.0.1", port)), structlog.testing.capture_logs() as logs:
        task = asyncio.create_task(AdminServer(client.settings, FakeBridge()).serve())
        await until(lambda: logs)
        assert (logs[0]["event"], logs[0]["log_level"]) == ("admin.unavailable", "warning")
        assert (logs[0]["cause"], logs[0]["address"]) == ("Address already in use", f"127.0.0.1:{port}")
    await answers(client)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("listen", "words"),
    [
        ("192.0.2.1:9464", "Cannot assign requested address"),
        (f"{'a' * 64}.example:9464", "no name that can be resolved"),
        ("unix:/nowhere/to/be/found/admin.sock", "its directory does not exist"),
        ("unix:/proc/admin.sock", ""),
    ],
)
async def test_an_address_that_is_not_to_be_had_is_a_warning(listen: str, words: str) -> None:
    """It has the cause in words."""
    with structlog.testing.capture_logs() as logs:
        task = asyncio.create_task(AdminServer(AdminSettings(listen=listen), FakeBridge()).serve())
        await until(lambda: logs or task.done())
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert logs[0]["event"] == "admin.unavailable"
    assert words in logs[0]["cause"]
    assert logs[0]["retry_in"] == 30.0


@pytest.mark.parametrize("listen", ["localhost:{}", "[::1]:{}", "0.0.0.0:{}", "[::]:{}"])
async def test_addresses_of_all_kinds(listen: str) -> None:
    """Names, IPv6 in brackets, all addresses."""
    if "::" in listen and not _has_ipv6():
        pytest.skip("this machine has no IPv6")
    async with serving(FakeBridge(), listen=listen.format(free_port())) as client:
        assert (await client.ask("/status")).status == 200
        if client.settings.host == "::":
            also = Client(AdminSettings(listen=f"127.0.0.1:{client.settings.port}"))
            assert (await also.ask("/status", Host="127.0.0.1")).status == 200


def _has_ipv6() -> bool:
    with suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


async def test_the_log_says_where_it_listens_and_who_may_change_something(tmp_path: Path) -> None:
    """Without a token an address only shows."""
    for settings, words in (
        ({}, "refused without a token"),
        ({"token": TOKEN}, "with the token"),
        ({"listen": f"unix:{tmp_path}/s"}, "by this user and root"),
    ):
        with structlog.testing.capture_logs() as logs:
            async with serving(FakeBridge(), **settings) as client:
                pass
        assert {"address": client.settings.listen, "changes": words}.items() <= logs[0].items()
        assert TOKEN not in str(logs)


async def test_a_unix_socket_needs_no_token(tmp_path: Path) -> None:
    """Only this user and root can use it; no Host or Origin is checked; the file is gone at the end."""
    path, bridge = tmp_path / "admin.sock", FakeBridge()
    async with serving(bridge, listen=f"unix:{path}") as client:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert (await client.ask("/pause?name=orders", "POST", Host="any.thing", Origin="null")).status == 200
        assert bridge.orders == [("orders", True)]
    assert not path.exists()


def test_a_unix_socket_has_its_mode_from_the_first_moment(tmp_path: Path) -> None:
    """Nobody else can connect between its creation and a chmod: the file has 0600 when it appears, whatever the umask."""
    program = (
        "import os, socket, sys\nos.umask(0)\n"
        "class Seen(socket.socket):\n"
        "    def bind(self, path):\n"
        "        super().bind(path)\n"
        "        print(oct(os.stat(path).st_mode & 0o777))\n"
        "socket.socket = Seen\n"
        "import asyncio\nfrom bridge.admin.listening import Listener\nfrom bridge.config import AdminSettings\n"
        "listener = asyncio.run(Listener.open(AdminSettings(listen='unix:' + sys.argv[1])))\n"
        "listener.close()\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "s")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=patient(20), check=True)
    assert done.stdout.split() == ["0o600"]


async def test_a_stale_socket_file_is_replaced(tmp_path: Path) -> None:
    """A bridge that was killed has left it."""
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with serving(FakeBridge(), listen=f"unix:{path}") as client:
        assert (await client.ask("/readyz")).status == 200


async def test_a_socket_in_use_is_left_alone(tmp_path: Path) -> None:
    """The second bridge warns, and the first one's socket stays, also when the second one ends."""
    path = tmp_path / "admin.sock"
    async with serving(FakeBridge(), listen=f"unix:{path}") as client:
        with structlog.testing.capture_logs() as logs:
            task = asyncio.create_task(AdminServer(client.settings, FakeBridge()).serve())
            await until(lambda: logs)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        assert logs[0]["cause"] == "another process listens on it"
        assert (await client.ask("/readyz")).status == 200


@pytest.mark.parametrize("kind", ["file", "directory", "link", "pipe"])
async def test_no_other_kind_of_file_is_ever_removed(kind: str, tmp_path: Path) -> None:
    """A path with a slip of the finger costs nobody a file."""
    path = tmp_path / "admin.sock"
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(tmp_path / "nothing")
    else:
        os.mkfifo(path)
    before = path.lstat()
    with structlog.testing.capture_logs() as logs:
        task = asyncio.create_task(AdminServer(AdminSettings(listen=f"unix:{path}"), FakeBridge()).serve())
        await until(lambda: logs)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert "a file that is no socket has its name" in logs[0]["cause"]
    assert (path.lstat().st_ino, path.lstat().st_mode) == (before.st_ino, before.st_mode)


async def test_a_socket_file_that_somebody_has_removed_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clean-up of old files does not cut the server off for ever, and the log says it."""
    monkeypatch.setattr(server, "RETRY_S", 0.1)
    path = tmp_path / "admin.sock"
    async with serving(FakeBridge(), listen=f"unix:{path}") as client:
        with structlog.testing.capture_logs() as logs:
            path.unlink()
            await until(path.exists)
        assert "removed its file" in logs[0]["cause"]
        await answers(client)


async def test_it_ends_at_once_also_with_open_connections() -> None:
    """A client that reads nothing does not hold a stop up, and its connection is closed."""
    async with serving(FakeBridge()) as client:
        reader, writer = await client.connect()
        writer.write(b"GET /met")
        await writer.drain()
        await asyncio.sleep(0.05)
        begin = time.monotonic()
    assert time.monotonic() - begin < patient(1)
    with suppress(ConnectionError):
        assert await reader.read() == b""
    writer.close()
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        await client.connect()
