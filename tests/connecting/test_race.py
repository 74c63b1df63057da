"""Connecting to several addresses: the first that answers wins, nothing is left open, and a failure names them all."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pytest

from bridge.connecting.race import Race, interleaved
from bridge.connecting.resolver import Address
from tests.connecting.conftest import Run
from tests.support.children import free_port
from tests.support.neighbours import BLACK, BlackHole

V4, V6 = socket.AF_INET, socket.AF_INET6


def at(host: str, port: int) -> Address:
    """An address of IPv4."""
    return V4, (host, port)


async def _winner(addresses: Iterable[Address]) -> str:
    sock = await Race(addresses).run()
    with sock:
        assert not sock.getblocking()
        return str(sock.getpeername()[0])


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_an_address_that_swallows_everything_does_not_keep_the_next_one(run: Run) -> None:
    """The other address is tried beside it, and wins; the first one's socket is closed."""
    with BlackHole() as hole, socket.create_server(("127.0.0.1", hole.port)):

        async def race() -> str:
            before = _descriptors()
            winner = await _winner([at(BLACK, hole.port), at("127.0.0.1", hole.port)])
            assert _descriptors() == before
            return winner

        assert run(race()) == "127.0.0.1"


def test_an_address_that_refuses_is_followed_by_the_next_one(run: Run) -> None:
    """Each of them, until one answers."""
    closed = free_port()
    with socket.create_server(("127.0.0.3", closed)):
        assert run(_winner([at("127.0.0.1", closed), at("127.0.0.2", closed), at("127.0.0.3", closed)])) == "127.0.0.3"


def test_a_refusal_that_comes_late_is_seen(run: Run) -> None:
    """Also on uvloop, which tells less of sockets that have failed."""
    with BlackHole() as hole:

        async def race() -> None:
            racing = asyncio.create_task(Race([at(BLACK, hole.port)]).run())
            await asyncio.sleep(0.3)
            hole.close()
            with pytest.raises(OSError, match=f"^{BLACK}:{hole.port}: Connection refused$"):
                await racing

        run(race())


def test_a_failure_names_every_address_once_with_its_cause(run: Run, tmp_path: Path) -> None:
    """Of one cause as of many; no more than four of them."""
    port = free_port()
    hosts = [f"127.0.0.{n}" for n in range(1, 8)]
    with pytest.raises(OSError, match=r"127\.0\.0\.4:\d+ and 3 more: Connection refused$") as caught:
        run(_winner([at(host, port) for host in hosts * 2]))
    assert str(caught.value).startswith(f"127.0.0.1:{port}, 127.0.0.2:{port}, ")
    with pytest.raises(OSError, match=r"/none: No such file or directory$"):
        run(_winner([(socket.AF_UNIX, str(tmp_path / "none"))]))
    with pytest.raises(OSError, match="the name has no address"):
        run(_winner([]))


def test_a_race_that_is_cancelled_leaves_no_socket(run: Run) -> None:
    """And says afterwards which addresses were silent, and which had failed."""
    closed = free_port()
    with BlackHole() as hole:

        async def race() -> str:
            before = _descriptors()
            made = Race([at("127.0.0.1", closed), at(BLACK, hole.port)])
            racing = asyncio.create_task(made.run())
            await asyncio.sleep(0.1)
            racing.cancel()
            with suppress(asyncio.CancelledError):
                await racing
            assert _descriptors() == before
            return made.describe()

        assert run(race()) == f"127.0.0.1:{closed}: Connection refused; no answer from {BLACK}:{hole.port}"


def test_a_unix_socket_whose_server_accepts_nobody(run: Run, tmp_path: Path) -> None:
    """A server that hangs is a cause in words, and no connection that never answers."""
    path = str(tmp_path / "full")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(path)
            with socket.socket(socket.AF_UNIX) as second:
                second.setblocking(False)
                assert second.connect_ex(path) == errno.EAGAIN
            with pytest.raises(OSError, match="the server accepts no connections"):
                run(_winner([(socket.AF_UNIX, path)]))


def test_families_take_turns() -> None:
    """As RFC 8305 orders them: a family that is broken delays the other by one step."""
    sixes: list[Address] = [(V6, ("::1", 1, 0, n)) for n in range(3)]
    fours = [at("127.0.0.1", 1), at("127.0.0.2", 1)]
    assert interleaved([*sixes, *fours, *sixes]) == [sixes[0], fours[0], sixes[1], fours[1], sixes[2]]
