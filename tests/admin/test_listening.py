"""The addresses and the Unix sockets that the admin server listens on, also where that is not possible."""

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

import pytest
import structlog

from bridge.admin import server
from bridge.admin.server import AdminServer
from bridge.config import AdminSettings
from tests.support.admin import TOKEN, Client, FakeBridge, answers, serving, until
from tests.support.children import free_port, patient


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
