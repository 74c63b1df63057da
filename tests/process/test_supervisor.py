"""`processes: N`: several processes under one parent that is one bridge to everybody else."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.brokers import Mosquitto, Redis
from tests.support.child_processes import SHARED, children, several, wait_for_messages
from tests.support.children import REPOSITORY, Child, wait_until
from tests.support.feeds import AmqpFeed, Feed, MqttFeed, PubsubFeed, StreamFeed
from tests.support.processes import BridgeProcess, Bridges
from tests.support.unix_http import UnixConnection

WINDOW = 1000


@SHARED
def test_the_events_of_one_source_are_shared(
    feed: Feed, redis_server: Redis, new_bridge: Callable[..., BridgeProcess]
) -> None:
    """Both processes consume, and of 5,000 events each becomes one message; the counts are one bridge's."""
    bridge = new_bridge(several(feed.config(redis_server))).ready()
    if isinstance(feed, AmqpFeed):
        consumers = [line for line in feed.broker.ctl("list_consumers", "--silent").splitlines() if feed.name in line]
        assert len(consumers) == 2
    feed.publish([{"n": n} for n in range(5000)])
    assert Counter(wait_for_messages(redis_server, 5000)) == Counter(range(5000))
    if isinstance(feed, StreamFeed):
        with feed.broker.client() as client:
            found: Any = client.xinfo_consumers(feed.name, "bridge")
        host = socket.gethostname()
        assert {one["name"].decode() for one in found} == {host, f"{host}-1"}
    bridge.terminate()
    assert bridge.wait() == 0
    assert len(bridge.events("source.counts")) == 1
    stopped = bridge.wait_for("bridge.stopped")
    assert stopped["received"] == stopped["enqueued"] == stopped["messages"] == 5000
    assert feed.unacknowledged() == 0


def test_a_shared_subscription_of_mqtt_is_shared(
    mosquitto: Mosquitto, redis_server: Redis, new_bridge: Callable[..., BridgeProcess]
) -> None:
    """Each process is a client of its own in the same group, and each message arrives once."""
    feed = MqttFeed(mosquitto)
    config = feed.config(redis_server, topics=[f"$share/bridge/{feed.name}"])
    bridge = new_bridge(several(config)).ready()
    assert {log["process"] for log in bridge.events("source.connected")} == {0, 1}
    feed.publish([{"n": n} for n in range(2000)])
    assert Counter(wait_for_messages(redis_server, 2000)) == Counter(range(2000))
    bridge.terminate()
    assert bridge.wait() == 0


@pytest.mark.parametrize(("processes", "more"), [(1, []), (2, []), (3, ["status/#"])], ids=["one", "two", "not shared"])
def test_with_fewer_processes_nothing_stays_behind(
    mosquitto: Mosquitto, redis_server: Redis, new_bridge: Bridges, processes: int, more: list[str]
) -> None:
    """What mosquitto has dealt to the clients that are left arrives, and it deals nothing to them any more."""
    feed = MqttFeed(mosquitto)
    config = feed.config(redis_server, topics=[f"$share/bridge/{feed.name}"])
    bridge = new_bridge({**config, "processes": 3}).ready()
    records = f"dramatiq-bridge:subscriptions:feed:{feed.name}*"
    with redis_server.client() as client:
        wait_until(lambda: len(client.keys(records)) == 3, 20, "three records")
    bridge.terminate()
    assert bridge.wait() == 0
    feed.publish([{"n": n} for n in range(300)])
    config["sources"]["feed"]["topics"] += more
    bridge.configure({**config, "processes": processes})
    unsubscribed = 2 if more else 3 - processes
    for start in (300, 600):
        bridge.start().ready()
        bridge.wait_for("source.connected", times=3)
        if start == 300:
            bridge.wait_for("source.unsubscribed", times=unsubscribed)
        feed.publish([{"n": n} for n in range(start, start + 300)])
        assert Counter(wait_for_messages(redis_server, start + 300)) == Counter(range(start + 300))
        bridge.terminate()
        assert bridge.wait() == 0
        (counts,) = bridge.events("source.counts")
        assert counts["received"] == counts["enqueued"] == (600 if start == 300 else 300)
    assert bridge.events("source.unsubscribed") == []


def test_what_cannot_be_shared_runs_once(
    stream: StreamFeed, redis_server: Redis, new_bridge: Callable[..., BridgeProcess]
) -> None:
    """Beside a stream that two processes share, a channel is listened to by one: its events come once."""
    channel = PubsubFeed(redis_server)
    config = stream.config(redis_server)
    config["sources"]["channel"] = channel.source
    config["routes"].append({"from": "channel", "actor": "record", "args": ["$payload.n"]})
    bridge = new_bridge(several(config)).ready()
    assert [log["process"] for log in bridge.events("source.connected") if log["source"] == "channel"] == [0]
    channel.publish([{"n": n} for n in range(100)])
    stream.publish([{"n": n} for n in range(100, 200)])
    assert Counter(wait_for_messages(redis_server, 200)) == Counter(range(200))


@SHARED
@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_is_killed_is_replaced(
    feed: Feed, redis_server: Redis, new_bridge: Callable[..., BridgeProcess], victim: int
) -> None:
    """Kill -9 of a process in the middle of 5,000 events loses none; one line says which and why, and the next one runs."""
    bridge = new_bridge(several(feed.config(redis_server))).ready()
    before = children(bridge)
    publisher = threading.Thread(target=feed.publish, args=([{"n": n} for n in range(5000)],))
    publisher.start()
    wait_for_messages(redis_server, 500)
    before[victim].kill()
    publisher.join(60)
    found = wait_for_messages(redis_server, 5000)
    assert set(found) == set(range(5000))
    assert len(found) - 5000 <= (0 if isinstance(feed, StreamFeed) else WINDOW)
    bridge.wait_for("process.recovered", process=victim)
    (ended,) = bridge.events("process.ended")
    assert (ended["process"], ended["cause"], ended["level"]) == (victim, "killed by SIGKILL", "error")
    assert ended["retry_in"] < 1
    after = children(bridge)
    assert after[1 - victim] == before[1 - victim]
    assert after[victim] != before[victim]
    bridge.terminate()
    assert bridge.wait() == 0
    assert feed.unacknowledged() == 0
    assert bridge.wait_for("bridge.stopped")["received"] > 0


def _status(socket: Path) -> dict[str, Any]:
    connection = UnixConnection(socket, 30)
    connection.request("GET", "/status")
    answer = connection.getresponse()
    assert answer.status == 200
    status: dict[str, Any] = json.loads(answer.read())
    connection.close()
    return status


def test_counts_go_on_over_the_death_of_a_process(
    stream: StreamFeed, redis_server: Redis, new_bridge: Callable[..., BridgeProcess], tmp_path: Path
) -> None:
    """At each look the events that came are accounted for, and no number of them decreases, though one process is killed."""
    config = several(stream.config(redis_server))
    config["admin"] = {"listen": f"unix:{tmp_path}/admin.sock"}
    bridge = new_bridge(config).ready()
    publisher = threading.Thread(target=stream.publish, args=([{"n": n} for n in range(8000)],))
    publisher.start()
    before: Counter[str] = Counter()
    for look in range(40):
        if look == 4:
            children(bridge)[1].kill()
        source = _status(tmp_path / "admin.sock")["sources"].get("feed")
        if source is not None:
            assert source["accounting_error"] == 0
            counts = Counter({name: value for name, value in source["counts"].items() if isinstance(value, int)})
            assert not before - counts, (before, counts)
            before = counts
        time.sleep(0.2)
    publisher.join(60)
    assert set(wait_for_messages(redis_server, 8000)) == set(range(8000))
    bridge.wait_for("process.recovered", process=1)
    assert before["received"] > 0
    status = _status(tmp_path / "admin.sock")
    assert (status["restarts"], status["cpu_s"] > 0) == (1, True)
    assert status["memory_bytes"] > 3 * 10_000_000, "three processes or more have it"


def test_the_counts_of_many_routes_are_reported(
    stream: StreamFeed, redis_server: Redis, new_bridge: Callable[..., BridgeProcess], tmp_path: Path
) -> None:
    """Those of 2,000 routes take more than a pipe holds: they arrive all the same, and the log names a hundred."""
    config = several(stream.config(redis_server))
    config["admin"] = {"listen": f"unix:{tmp_path}/admin.sock"}
    config["routes"] = [
        {"name": f"route-{n}", "from": "feed", "actor": "record", "args": ["$payload.n"], "when": f"payload.n == {n}"}
        for n in range(2000)
    ]
    bridge = new_bridge(config).ready()
    stream.publish([{"n": n} for n in range(2000)])
    assert set(wait_for_messages(redis_server, 2000)) == set(range(2000))

    def all_reported() -> bool:
        routes = _status(tmp_path / "admin.sock")["sources"]["feed"]["counts"]["routes"]
        return len(routes) == 2000 and all(route["matched"] == 1 for route in routes.values())

    wait_until(all_reported, what="the counts of all routes")
    bridge.terminate()
    assert bridge.wait() == 0
    assert len(bridge.events("route.counts")) == 101


def test_a_process_that_is_replaced_runs_what_the_others_do(
    stream: StreamFeed, redis_server: Redis, new_bridge: Callable[..., BridgeProcess]
) -> None:
    """A file that was changed since the start, or is broken now, makes no process different from the others."""
    bridge = new_bridge(several(stream.config(redis_server))).ready()
    bridge.configure("sources: {}\n")
    children(bridge)[0].kill()
    bridge.wait_for("process.recovered", process=0)
    children(bridge)[1].kill()
    bridge.wait_for("process.recovered", process=1)
    stream.publish([{"n": n} for n in range(100)])
    assert Counter(wait_for_messages(redis_server, 100)) == Counter(range(100))


def test_several_processes_speak_as_one(
    stream: StreamFeed, redis_server: Redis, new_bridge: Callable[..., BridgeProcess]
) -> None:
    """What is said of the bridge is said once, by the parent; what a process says has its number, in the same log."""
    bridge = new_bridge(several(stream.config(redis_server), 3)).ready()
    assert sorted(children(bridge)) == [0, 1, 2]
    bridge.terminate()
    assert bridge.wait() == 0
    assert len(bridge.logs) == len(bridge.lines), "every line is an event"
    whole = [log["event"] for log in bridge.logs if "process" not in log]
    assert whole == ["bridge.starting", "bridge.ready", "bridge.stopping", "source.counts", "bridge.stopped"]
    assert bridge.wait_for("bridge.ready")["processes"] == 3
    for number in range(3):
        said = {log["event"] for log in bridge.logs if log.get("process") == number}
        assert said - {"sink.not_durable"} == {"sink.connected", "source.connected"}
        connected = bridge.wait_for("source.connected", process=number)
        # Each process writes its lines by a thread of its own: their times tell the order.
        assert connected["timestamp"] < bridge.wait_for("bridge.ready")["timestamp"]


def test_a_wrong_configuration_starts_no_process(new_bridge: Callable[..., BridgeProcess]) -> None:
    """The parent checks the file before it starts anything: every mistake once, exit code 78."""
    bridge = new_bridge("sources:\n  a: {type: amq, url: amqp://localhost/, queue: q}\nprocesses: 65\n")
    assert bridge.wait() == 78
    text = "\n".join(bridge.lines)
    assert text.count("bridge.yaml:2:13: sources.a.type:") == 1
    assert text.count("bridge.yaml:3:12: processes:") == 1
    assert "Traceback" not in text


def test_one_process_has_no_parent(
    redis_server: Redis, stream: StreamFeed, new_bridge: Callable[..., BridgeProcess]
) -> None:
    """Without `processes` there is one process, and its lines have no process's number."""
    bridge = new_bridge(stream.config(redis_server)).ready()
    assert not psutil.Process(bridge.pid).children()
    assert not [log for log in bridge.logs if "process" in log or "processes" in log]


def test_nothing_to_share_is_one_process(redis_server: Redis, new_bridge: Callable[..., BridgeProcess]) -> None:
    """Where no source can be shared there is one process, and that is said."""
    channel = PubsubFeed(redis_server)
    bridge = new_bridge(several(channel.config(redis_server), 4)).ready()
    assert not psutil.Process(bridge.pid).children()
    assert bridge.wait_for("bridge.one_process")["processes"] == 4
    channel.publish([{"n": 1}])
    assert wait_for_messages(redis_server, 1) == [1]


def test_lines_of_several_processes_do_not_mix() -> None:
    """Each line of the log, however long, is a single write: whole lines are all that processes can put in a row."""
    # A datagram is what one write makes.
    reading, writing = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with reading, writing:
        program = (
            "from bridge.observe import logs\nlogs.configure('json', process=3)\n"
            "for count in (1, 5, 20): logs.logger().warning('x', topics=['\\N{BULLET}' * 200] * count)"
        )
        subprocess.run([sys.executable, "-c", program], stderr=writing.fileno(), cwd=REPOSITORY, timeout=60, check=True)
        reading.settimeout(20)
        for count in (1, 5, 20):
            line = json.loads(reading.recv(100_000))
            assert (line["process"], len(line["topics"])) == (3, count)


def test_processes_find_their_modules_where_the_bridge_does(
    redis_server: Redis, stream: StreamFeed, tmp_path: Path
) -> None:
    """A file in the working directory is not taken for a module of the same name, as with the command itself."""
    (tmp_path / "redis.py").write_text("raise SystemExit('not this one')\n")
    (tmp_path / "bridge.yaml").write_text(json.dumps(several(stream.config(redis_server))))
    log = tmp_path / "log"
    with log.open("wb") as output:
        child = Child(
            [sys.executable, "-P", "-m", "bridge", "run", "bridge.yaml"],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            cwd=tmp_path,
            stderr=output,
        )
    try:
        wait_until(lambda: "bridge.ready" in log.read_text(), 30, "bridge.ready")
    finally:
        assert child.end(20) == 0, log.read_text()
    assert "process.ended" not in log.read_text()
