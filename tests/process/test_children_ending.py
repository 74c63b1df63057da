"""`processes: N`: how several processes end, with their parent and without it."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from bridge.config import Config, Dramatiq, RedisPubsub
from bridge.process.orders import STOP, Order
from tests.support.batches import numbers
from tests.support.brokers import Redis
from tests.support.child_processes import SHARED, children, several, wait_for_messages, wait_gone
from tests.support.children import wait_until
from tests.support.feeds import Feed, StreamFeed
from tests.support.processes import BridgeProcess


@pytest.mark.parametrize(("word", "is_orphaned"), [(STOP, False), (b"", True)], ids=["stopped", "parent-died"])
def test_a_process_tells_a_stop_from_the_death_of_its_parent(
    redis_server: Redis, word: bytes, is_orphaned: bool
) -> None:
    """By the end of its input, which comes before it has another parent: here it keeps its own."""
    source = RedisPubsub.model_validate({"type": "redis-pubsub", "url": redis_server.url, "channels": ["c"]})
    config = Config(dramatiq=Dramatiq(url=redis_server.url), sources={"s": source}, routes=[])
    order = pickle.dumps(Order(1, config, "json", "info"))
    command = [sys.executable, "-m", "bridge.process.child", "1"]
    ended = subprocess.run(command, input=order + word, capture_output=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    assert (b"process.orphaned" in ended.stderr) == is_orphaned


@SHARED
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_under_load_drains(
    feed: Feed, redis_server: Redis, new_bridge: Callable[..., BridgeProcess], number: signal.Signals
) -> None:
    """One signal to the whole group, as Ctrl-C and systemd send it, drains: exit code 0, nothing lost, nothing twice."""
    bridge = new_bridge(several(feed.config(redis_server))).ready()
    running = children(bridge)
    publisher = threading.Thread(target=feed.publish, args=([{"n": n} for n in range(5000)],))
    publisher.start()
    wait_for_messages(redis_server, 500)
    os.killpg(bridge.pid, number)
    assert bridge.wait() == 0
    wait_gone(running)
    publisher.join(60)
    assert not bridge.events("process.ended")
    written = bridge.wait_for("bridge.stopped")["messages"]
    with redis_server.client() as client:
        assert len(numbers(client)) == written
    bridge.start().ready()
    assert Counter(wait_for_messages(redis_server, 5000)) == Counter(range(5000))


def test_a_second_signal_stops_every_process_at_once(
    stream: StreamFeed, new_redis: Callable[..., Redis], new_bridge: Callable[..., BridgeProcess]
) -> None:
    """Whoever does not want to wait for the drain sends the signal again; no process is left."""
    sink = new_redis()
    bridge = new_bridge(several(stream.config(sink))).ready()
    running = children(bridge)
    sink.stop()
    stream.publish([{"n": n} for n in range(10)])
    bridge.wait_for("sink.unavailable")
    bridge.terminate()
    bridge.wait_for("bridge.stopping")
    bridge.terminate()
    assert bridge.wait() == 1
    wait_gone(running)
    assert stream.unacknowledged() == 10


def test_a_process_that_hangs_does_not_hold_up_a_stop(
    stream: StreamFeed, redis_server: Redis, new_bridge: Callable[..., BridgeProcess]
) -> None:
    """A process that does not end soon after `drain_timeout` is killed; the exit code says that not all was well."""
    bridge = new_bridge(several(stream.config(redis_server), drain_timeout="1s")).ready()
    running = children(bridge)
    running[1].suspend()
    bridge.terminate()
    assert bridge.wait() == 1
    wait_gone(running)
    assert bridge.wait_for("process.ended")["process"] == 1
    bridge.wait_for("bridge.stopped")


def test_a_parent_that_is_killed_leaves_no_process(
    stream: StreamFeed, redis_server: Redis, new_bridge: Callable[..., BridgeProcess]
) -> None:
    """Kill -9 of the parent ends its processes too: they finish what they have, and the next bridge does the rest."""
    bridge = new_bridge(several(stream.config(redis_server))).ready()
    running = children(bridge)
    publisher = threading.Thread(target=stream.publish, args=([{"n": n} for n in range(5000)],))
    publisher.start()
    wait_for_messages(redis_server, 500)
    bridge.signal(signal.SIGKILL)
    wait_gone(running)
    publisher.join(60)
    bridge.wait()
    assert {log["process"] for log in bridge.events("process.orphaned")} == {0, 1}
    bridge.start().ready()
    assert Counter(wait_for_messages(redis_server, 5000)) == Counter(range(5000))


def test_a_parent_that_is_killed_while_its_processes_start(
    stream: StreamFeed, redis_server: Redis, new_bridge: Callable[..., BridgeProcess]
) -> None:
    """However early the parent dies, no process stays, and none leaves a traceback."""
    bridge = new_bridge(several(stream.config(redis_server)))
    wait_until(lambda: len(children(bridge)) == 2, 20, "two processes")
    running = children(bridge)
    bridge.signal(signal.SIGKILL)
    wait_gone(running)
    bridge.wait()
    assert "Traceback" not in "\n".join(bridge.lines)


def test_a_stop_while_the_processes_start(
    stream: StreamFeed, redis_server: Redis, new_bridge: Callable[..., BridgeProcess]
) -> None:
    """Ctrl-C right after the start ends everything with exit code 0 and without a traceback."""
    bridge = new_bridge(several(stream.config(redis_server)))
    wait_until(lambda: len(children(bridge)) == 2, 20, "two processes")
    os.killpg(bridge.pid, signal.SIGINT)
    assert bridge.wait() == 0
    assert "Traceback" not in "\n".join(bridge.lines)


def test_the_service_manager_knows_one_process(
    stream: StreamFeed, redis_server: Redis, new_bridge: Callable[..., BridgeProcess], tmp_path: Path
) -> None:
    """READY=1 and STOPPING=1 are sent once each, by the parent; before, its status, and that it needs more time."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        config = several(stream.config(redis_server))
        bridge = new_bridge(config, env={"NOTIFY_SOCKET": str(tmp_path / "notify")}).ready()
        bridge.terminate()
        assert bridge.wait() == 0
        manager.setblocking(False)
        told = []
        with suppress(BlockingIOError):
            while True:
                told.append(manager.recv(1000).split(b"\n")[0])
        assert [line for line in told if not line.startswith(b"EXTEND")] == [
            b"STATUS=connecting",
            b"READY=1",
            b"STOPPING=1",
        ]
