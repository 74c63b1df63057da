"""The progress watchdog: a source that holds events and acknowledges none is reconnected, and then said to be stuck."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from signal import SIGCONT, SIGSTOP

import psutil
import pytest

from bridge.config import Config, load
from bridge.process import child_process, clock
from bridge.process.child_process import ChildProcess
from bridge.process.lifecycle import Lifecycle
from bridge.process.loader import Prepared
from bridge.process.supervisor import Supervisor
from bridge.process.watchdog import Watchdog
from tests.support.brokers import Redis
from tests.support.children import wait_until, with_fault
from tests.support.feeds import StreamFeed
from tests.support.processes import Bridges


class Still:
    """A source that holds events and moves none."""

    name = "still"

    def __init__(self) -> None:
        self.progress = 0
        self.has_pending_work = True
        self.reconnected: list[str] = []
        self.stuck: list[bool] = []
        self.watchdog: Watchdog | None = None

    def reconnect(self, cause: str) -> None:
        self.reconnected.append(cause)
        if self.watchdog is not None:
            self.stuck.append("still" in self.watchdog.stuck)


async def _wait(condition: Callable[[], object]) -> None:
    await asyncio.to_thread(wait_until, condition, 10)


async def test_it_watches_the_successors_after_a_reload() -> None:
    """A source that has retired is nobody's concern any more; of one that stays it remembers what it saw."""
    retired, stays, new = Still(), Still(), Still()
    stays.name = "stays"
    watchdog = Watchdog([retired, stays], stuck_after_s=0.3)
    task = asyncio.create_task(watchdog.run())
    try:
        await _wait(lambda: watchdog.stuck == ["still", "stays"])
        before = len(retired.reconnected)
        watchdog.watch([stays, new], stuck_after_s=0.3)
        assert watchdog.stuck == ["stays"]
        await _wait(lambda: new.reconnected)
        assert len(retired.reconnected) == before
    finally:
        task.cancel()


async def test_a_source_that_moves_none_gets_a_new_connection() -> None:
    """First a new connection; only if that does not help, the source is stuck; any progress ends it."""
    still = Still()
    watchdog = still.watchdog = Watchdog([still], stuck_after_s=1.0)
    task = asyncio.create_task(watchdog.run())
    try:
        await _wait(lambda: watchdog.stuck == ["still"])
        assert "nothing has moved for 1 s" in still.reconnected[0]
        assert still.stuck[:2] == [False, True]
        still.progress += 1
        await _wait(lambda: watchdog.stuck == [])
    finally:
        task.cancel()


async def _stall_again_and_again(until: Callable[[], object]) -> None:
    """Block the event loop for most of the time, until something is so, but for a minute at most."""
    for _ in range(35):
        if until():
            return
        await asyncio.sleep(0.5)
        time.sleep(1.2)  # noqa: ASYNC251 - a call that blocks


async def test_a_source_is_stuck_also_in_a_loop_that_stalls_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the time in which nothing ran is forgiven."""
    monkeypatch.setattr(clock, "_STALLED_S", 0.3)
    still = Still()
    watchdog = Watchdog([still], stuck_after_s=2.0)
    task = asyncio.create_task(watchdog.run())
    await _stall_again_and_again(lambda: watchdog.stuck)
    task.cancel()
    assert watchdog.stuck == ["still"]


async def test_a_silent_process_is_found_also_by_a_parent_that_stalls_again_and_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Only the time in which the parent did not run is forgiven."""
    monkeypatch.setattr(clock, "_STALLED_S", 0.3)
    monkeypatch.setattr(child_process, "_SILENCE_S", 2.0)
    killed: list[int] = []
    monkeypatch.setattr(ChildProcess, "kill", lambda child: killed.append(child.number))
    parent = Supervisor(
        Prepared(_config(tmp_path, processes=2), None, "info", {}), lambda: pytest.fail("nobody reloads")
    )
    child = parent._children[1]
    child.ready.set()
    child.excuse_silence(float("inf"))  # from now on
    task = asyncio.create_task(parent._kill_silent())
    await _stall_again_and_again(lambda: killed)
    task.cancel()
    assert set(killed) == {1}


async def test_nothing_is_stuck_while_nothing_is_pending() -> None:
    """A source without events, or whose sink is away, may rest for ever."""
    still = Still()
    still.has_pending_work = False
    watchdog = Watchdog([still], stuck_after_s=1.0)
    task = asyncio.create_task(watchdog.run())
    await asyncio.sleep(3.2)
    task.cancel()
    assert (still.reconnected, watchdog.stuck) == ([], [])


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The service manager's socket; it wants to be fed within 0.6 s."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(address)
        listening.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        monkeypatch.setenv("WATCHDOG_USEC", "600000")
        yield listening


async def test_the_service_manager_is_fed_until_a_source_is_stuck(tmp_path: Path, manager: socket.socket) -> None:
    """WATCHDOG=1 comes at least twice within WATCHDOG_USEC, and no more while a source is stuck."""
    stuck: list[str] = []
    config = _config(tmp_path)
    lifecycle = Lifecycle(config)
    lifecycle.ready()
    assert await asyncio.to_thread(manager.recv, 100) == b"READY=1\nSTATUS=running"
    task = asyncio.create_task(lifecycle.watch(lambda: stuck, lambda: ""))
    for _ in range(3):
        assert await asyncio.to_thread(manager.recv, 100) == b"WATCHDOG=1"
    stuck.append("still")
    while (said := await asyncio.to_thread(manager.recv, 100)) == b"WATCHDOG=1":
        pass
    assert said == b"STATUS=stuck: still"
    manager.settimeout(1)
    with pytest.raises(TimeoutError):
        await asyncio.to_thread(manager.recv, 100)
    manager.settimeout(20)
    stuck.clear()
    assert await asyncio.to_thread(manager.recv, 100) == b"READY=1\nSTATUS=running"
    assert await asyncio.to_thread(manager.recv, 100) == b"WATCHDOG=1"
    task.cancel()


async def test_a_start_takes_as_long_as_it_takes(tmp_path: Path, manager: socket.socket) -> None:
    """Until the bridge is ready, it asks the service manager for more time; a cause against it is no reason to restart."""
    cause = "the sink evicts"
    task = asyncio.create_task(Lifecycle(_config(tmp_path)).watch(list, lambda: cause))
    assert await asyncio.to_thread(manager.recv, 100) == b"STATUS=the sink evicts"
    for _ in range(2):
        assert await asyncio.to_thread(manager.recv, 100) == b"EXTEND_TIMEOUT_USEC=30000000"
        assert await asyncio.to_thread(manager.recv, 100) == b"WATCHDOG=1"
    # Not ready, as long as some source has not been connected.
    cause = ""
    for _ in range(2):
        assert await asyncio.to_thread(manager.recv, 100) == b"EXTEND_TIMEOUT_USEC=30000000"
        assert await asyncio.to_thread(manager.recv, 100) == b"WATCHDOG=1"
    task.cancel()


def _config(directory: Path, processes: int = 1) -> Config:
    path = directory / "bridge.yaml"
    path.write_text(f"sources: {{a: {{type: amqp, url: amqp://localhost, queue: a}}}}\nprocesses: {processes}\n")
    return load(str(path), environ={})


@pytest.mark.parametrize("processes", [1, 2])
def test_a_running_bridge_feeds_the_watchdog(
    stream: StreamFeed, redis_server: Redis, new_bridge: Bridges, tmp_path: Path, processes: int
) -> None:
    """Under systemd the bridge says that it lives, itself or for its processes."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(20)
        config = {**stream.config(redis_server), "processes": processes}
        new_bridge(config, env={"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "600000"}).ready()
        fed = 0
        while fed < 2:
            fed += manager.recv(100) == b"WATCHDOG=1"


def test_a_bridge_that_is_not_ready_no_longer_feeds_the_watchdog(
    stream: StreamFeed, redis_server: Redis, new_bridge: Bridges, tmp_path: Path
) -> None:
    """Held and not acknowledged: a new connection, and since that does not help, not ready; the watchdog is fed no more."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(20)
        config = stream.config(redis_server)
        config["dramatiq"]["timeout"] = "1s"
        bridge = new_bridge(
            config, env={**with_fault("hanging"), "NOTIFY_SOCKET": address, "WATCHDOG_USEC": "600000"}
        ).ready()
        stream.publish([{"n": 1}])
        stuck = bridge.wait_for("source.stuck", source="feed")
        assert "nothing has moved for 12 s" in stuck["cause"]
        bridge.wait_for("source.connected", times=2)
        while (said := manager.recv(100)) != b"STATUS=stuck: feed":
            assert said in (
                b"STATUS=connecting",
                b"EXTEND_TIMEOUT_USEC=30000000",
                b"READY=1\nSTATUS=running",
                b"WATCHDOG=1",
            )
        assert bridge.wait_for("bridge.not_ready")["stuck"] == ["feed"]
        manager.settimeout(2)
        with pytest.raises(TimeoutError):
            manager.recv(100)


def test_a_process_that_hangs_is_started_anew(stream: StreamFeed, redis_server: Redis, new_bridge: Bridges) -> None:
    """A process that says nothing for half a minute is killed; its successor takes over what it held."""
    bridge = new_bridge({**stream.config(redis_server), "processes": 2}).ready()
    children = psutil.Process(bridge.pid).children()
    assert len(children) == 2
    children[0].send_signal(SIGSTOP)
    try:
        bridge.wait_for("process.silent", timeout=60)
        bridge.wait_for("process.recovered", timeout=30)
    finally:
        if children[0].is_running():
            children[0].send_signal(SIGCONT)
    stream.publish([{"n": n} for n in range(200)])
    with redis_server.client() as client:
        wait_until(lambda: client.llen("dramatiq:default") == 200, 30, "all of them")
