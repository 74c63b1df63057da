"""Starting, stopping, and what the bridge says about it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bridge.config import Config
from bridge.process.bridge import Bridge
from tests.support.brokers import Redis
from tests.support.children import free_port, wait_until
from tests.support.feeds import PubsubFeed, StreamFeed
from tests.support.processes import BridgeProcess, queue_messages


def test_start_and_stop_are_told_in_a_few_lines(
    stream: StreamFeed, redis_server: Redis, new_bridge: Callable[..., BridgeProcess]
) -> None:
    """Start-up says what is connected to what, the end says the counts; nothing is said per event."""
    bridge = new_bridge(stream.config(redis_server)).ready()
    stream.publish([{"n": n} for n in range(300)])
    with redis_server.client() as client:
        wait_until(lambda: client.llen("dramatiq:default") == 300, 20, "300 messages")
    bridge.terminate()
    assert bridge.wait() == 0
    events = [log["event"] for log in bridge.logs if log["event"] != "sink.not_durable"]  # this Redis keeps nothing
    assert events == [
        "bridge.starting",
        "sink.connected",
        "source.connected",
        "bridge.ready",
        "bridge.stopping",
        "source.counts",
        "route.counts",
        "bridge.stopped",
    ] or sorted(events[1:3]) == ["sink.connected", "source.connected"]
    assert len(events) == 8
    assert {"source": "feed", "route": "record", "matched": 300}.items() <= bridge.wait_for("route.counts").items()
    connected = bridge.wait_for("source.connected")
    assert connected["source"] == "feed"
    assert connected["type"] == "redis-stream"
    assert connected["url"] == redis_server.url_of(0)
    stopped = bridge.wait_for("bridge.stopped")
    assert stopped["received"] == stopped["enqueued"] == stopped["messages"] == 300
    assert all(set(log) >= {"timestamp", "level"} for log in bridge.logs)


@pytest.mark.parametrize(("given", "kept"), [(os.SCHED_OTHER, os.SCHED_BATCH), (os.SCHED_IDLE, os.SCHED_IDLE)])
def test_the_bridge_is_a_batch_process_unless_told_otherwise(
    stream: StreamFeed, redis_server: Redis, new_bridge: Callable[..., BridgeProcess], given: int, kept: int
) -> None:
    """Linux wakes it less eagerly; a policy that the service manager chose stays."""
    before = os.sched_getscheduler(0)
    os.sched_setscheduler(0, given, os.sched_param(0))
    try:
        bridge = new_bridge(stream.config(redis_server))
    finally:
        os.sched_setscheduler(0, before, os.sched_param(0))
    assert os.sched_getscheduler(bridge.ready().pid) == kept


@pytest.mark.parametrize("processes", [1, 2])
def test_sigusr1_logs_the_state(
    stream: StreamFeed, redis_server: Redis, new_bridge: Callable[..., BridgeProcess], processes: int
) -> None:
    """Without disturbing it: what each source holds and has done, and how many tasks there are."""
    bridge = new_bridge({**stream.config(redis_server), "processes": processes}).ready()
    stream.publish([{"n": n} for n in range(10)])
    with redis_server.client() as client:
        wait_until(lambda: client.llen("dramatiq:default") == 10, 20, "ten messages")
    bridge.signal(signal.SIGUSR1)
    bridge.wait_for("bridge.state", times=processes)
    states = bridge.events("source.state")
    assert sum(state["enqueued"] for state in states) == 10
    assert all((state["source"], state["connected"], state["held"]) == ("feed", True, 0) for state in states)
    assert all(0 < state["tasks"] < 30 for state in bridge.events("bridge.state"))
    assert bridge.running


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_bridge_stops_at_once(
    stream: StreamFeed, redis_server: Redis, new_bridge: Callable[..., BridgeProcess], number: signal.Signals
) -> None:
    """SIGTERM and SIGINT both end an idle bridge with exit code 0."""
    bridge = new_bridge(stream.config(redis_server)).ready()
    bridge.signal(number)
    assert bridge.wait() == 0
    assert not bridge.events("bridge.drain_timed_out")


def test_sigterm_drains_within_drain_timeout(
    stream: StreamFeed, new_redis: Callable[..., Redis], new_bridge: Callable[..., BridgeProcess]
) -> None:
    """With Redis away the drain ends by its timeout, exit code 0; what was not written is still the broker's."""
    sink = new_redis()
    bridge = new_bridge({**stream.config(sink), "drain_timeout": "2s"}).ready()
    sink.stop()
    stream.publish([{"n": n} for n in range(30)])
    bridge.wait_for("sink.unavailable")
    bridge.terminate()
    assert bridge.wait() == 0
    assert bridge.wait_for("bridge.drain_timed_out")["after"] == 2
    stopped = bridge.wait_for("bridge.stopped")
    assert (stopped["received"], stopped["returned"], stopped["lost"]) == (30, 30, 0)
    assert stream.unacknowledged() == 30
    sink.start()
    bridge.start().ready()
    with sink.client() as client:
        wait_until(lambda: client.llen("dramatiq:default") == 30, 20, "all thirty")


def test_what_a_stop_loses_is_said(new_redis: Callable[..., Redis], new_bridge: Callable[..., BridgeProcess]) -> None:
    """Events of a broadcast that could not be written before the stop are counted as lost, each of them."""
    broker, sink = new_redis(), new_redis()
    channel = PubsubFeed(broker)
    config = {**channel.config(sink, window={"events": 1000}), "drain_timeout": "2s"}
    bridge = new_bridge(config).ready()
    sink.stop()
    channel.publish([{"n": 0}])
    bridge.wait_for("sink.unavailable")
    channel.publish([{"n": n} for n in range(1, 700)])
    wait_until(lambda: bridge.state()["held"] == 700, what="all of it received")
    bridge.terminate()
    assert bridge.wait() == 0
    assert bridge.wait_for("source.lost", source="feed")["events"] == 700
    stopped = bridge.wait_for("bridge.stopped")
    assert (stopped["received"], stopped["lost"], stopped["messages"]) == (700, 700, 0)


def test_a_second_signal_stops_at_once(
    stream: StreamFeed, new_redis: Callable[..., Redis], new_bridge: Callable[..., BridgeProcess]
) -> None:
    """Whoever does not want to wait for the drain sends the signal again; the log tells what it has suppressed until then."""
    sink = new_redis()
    bridge = new_bridge(stream.config(sink)).ready()
    sink.stop()
    stream.publish([{"n": 1}])
    bridge.wait_for("sink.unavailable")
    time.sleep(1)  # the attempts in this time are no lines
    bridge.terminate()
    bridge.wait_for("bridge.stopping")
    bridge.terminate()
    assert bridge.wait() == 1
    assert bridge.events("sink.unavailable")[-1]["repeated"] > 0
    assert stream.unacknowledged() == 1


def test_a_stop_before_anything_is_connected(new_bridge: Callable[..., BridgeProcess]) -> None:
    """A bridge whose brokers are all away stops as promptly as any other."""
    url = f"redis://127.0.0.1:{free_port()}"
    source = {"type": "redis-stream", "url": url, "streams": ["s"], "group": "g"}
    bridge = new_bridge({"dramatiq": {"url": url}, "sources": {"away": source}, "routes": []})
    bridge.wait_for("source.unavailable")
    bridge.wait_for("sink.unavailable")
    bridge.terminate()
    assert bridge.wait() == 0
    assert not bridge.events("bridge.drain_timed_out")


def test_a_wrong_configuration_is_exit_code_78(new_bridge: Callable[..., BridgeProcess]) -> None:
    """A bridge that cannot run says every mistake with its place and ends with EX_CONFIG, without a traceback."""
    bridge = new_bridge("sources:\n  a: {type: amq, url: amqp://localhost/, queue: q}\nrooutes: []\n")
    assert bridge.wait() == 78
    text = "\n".join(bridge.lines)
    assert "bridge.yaml:2:13: sources.a.type:" in text
    assert "bridge.yaml:3:1: rooutes:" in text
    assert "Traceback" not in text


def test_the_service_manager_is_told(
    stream: StreamFeed,
    redis_server: Redis,
    new_redis: Callable[..., Redis],
    new_bridge: Callable[..., BridgeProcess],
    tmp_path: Path,
) -> None:
    """READY=1 once every source is connected, more time before that; before it drains STOPPING=1, and how long it may take."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        config = {**stream.config(redis_server), "drain_timeout": "42s"}
        away = new_redis()
        config["sources"]["away"] = {"type": "redis-pubsub", "url": away.url, "channels": ["c"]}
        away.stop()
        bridge = new_bridge(config, env={"NOTIFY_SOCKET": str(tmp_path / "notify")})
        bridge.wait_for("source.connected", source="feed")
        bridge.wait_for("source.unavailable", source="away")
        assert manager.recv(1000) == b"STATUS=connecting"
        assert manager.recv(1000).startswith(b"EXTEND_TIMEOUT_USEC=")
        away.start()
        while (said := manager.recv(1000)).startswith(b"EXTEND_TIMEOUT_USEC="):
            pass
        assert said == b"READY=1\nSTATUS=running"
        bridge.terminate()
        # drain_timeout, and at most 5 s.
        assert manager.recv(1000) == b"STOPPING=1\nSTATUS=draining\nEXTEND_TIMEOUT_USEC=47000000"
        assert bridge.wait() == 0


def test_a_repeated_dead_letter_is_one_line(
    stream: StreamFeed, redis_server: Redis, new_bridge: Callable[..., BridgeProcess]
) -> None:
    """A flood of bad events is one line with route and reason, never a body, and every one is kept."""
    bridge = new_bridge(stream.config(redis_server)).ready()
    stream.publish([{"secret": "in the body"} for _ in range(200)])
    with redis_server.client() as client:
        wait_until(lambda: client.xlen("dramatiq-bridge:dead-letters") == 200, 20, "200 dead letters")
        letters: Any = client.xrange("dramatiq-bridge:dead-letters", count=1)
    bridge.wait_for("event.dead_lettered")
    assert json.loads(letters[0][1][b"body"]) == {"secret": "in the body"}
    assert letters[0][1][b"reason"] == b"missing-field"
    lines = bridge.events("event.dead_lettered")
    assert len(lines) == 1
    assert lines[0]["route"] == "record"
    assert lines[0]["reason"] == "missing-field"
    assert "payload.n" in lines[0]["cause"]
    assert "in the body" not in "\n".join(bridge.lines)


def test_one_source_does_not_wait_for_another(
    stream: StreamFeed, redis_server: Redis, new_bridge: Callable[..., BridgeProcess]
) -> None:
    """Several sources in one bridge are written independently, each in its own order."""
    channel = PubsubFeed(redis_server)
    config = stream.config(redis_server)
    config["sources"]["channel"] = channel.source
    config["routes"].append({"from": "channel", "actor": "record", "queue": "other", "args": ["$payload.n"]})
    new_bridge(config).ready()
    publishers = [
        threading.Thread(target=one.publish, args=([{"n": n} for n in range(2000)],)) for one in (stream, channel)
    ]
    for publisher in publishers:
        publisher.start()
    for publisher in publishers:
        publisher.join()
    with redis_server.client() as client:
        for queue in ("default", "other"):
            wait_until(lambda queue=queue: client.llen(f"dramatiq:{queue}") == 2000, 30, queue)  # type: ignore[misc]
            assert [message["args"][0] for message in queue_messages(client, queue)] == list(range(2000))


async def test_a_stop_of_one_source_that_fails_ends_the_stops_of_the_others() -> None:
    """None goes on unattended while the process closes what it needs."""

    class Fails:
        drained = False

        async def stop(self, _deadline: float) -> None:
            await asyncio.sleep(0)
            raise RuntimeError("a bug")

    class Waits:
        drained = cancelled = False

        async def stop(self, _deadline: float) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled = True
                raise

    source = {"type": "redis-stream", "url": "redis://localhost", "streams": ["s"], "group": "g"}
    bridge = Bridge(Config.model_validate({"sources": {"s": source}}), on_ready=lambda: None)
    waits = Waits()
    bridge._pipelines._running = {"fails": Fails(), "waits": waits}  # type: ignore[dict-item]
    with pytest.raises(ExceptionGroup, match="unhandled errors"):
        await bridge._drain(deadline=asyncio.get_running_loop().time() + 20)
    assert waits.cancelled
