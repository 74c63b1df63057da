"""The spool where something else goes wrong too: a connection that breaks, a stop in the middle, a disk that fails."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from bridge.errors import SinkUnavailable
from bridge.model.accounting import Counts
from bridge.model.batch import Batch, DeadLetter, Written
from bridge.model.event import already_parsed
from bridge.spool import SpoolDirectory
from tests.faults.proxy import Proxy
from tests.spool.conftest import Logs
from tests.support.brokers import Mosquitto, Redis
from tests.support.children import REPOSITORY, wait_until
from tests.support.feeds import MqttFeed, PubsubFeed, connect
from tests.support.memory import MemorySink, MemorySource, pipeline, until
from tests.support.processes import Bridges, queue_messages
from tests.support.routing import event


def _config(feed: MqttFeed | PubsubFeed, sink: Redis, directory: Path, **settings: Any) -> dict[str, Any]:
    config = feed.config(sink, **settings)
    config["dramatiq"]["timeout"] = "1s"
    return {**config, "drain_timeout": "5s", "spool": {"directory": str(directory)}}


def _spooled(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*.spool"))


def _wait_for_numbers(sink: Redis, count: int) -> list[int]:
    """Wait for `count` different numbers, and return all that are there, those that came twice too."""
    with sink.client() as client:

        def numbers() -> list[int]:
            return [message["args"][0] for message in queue_messages(client, "default")]

        wait_until(lambda: client.llen("dramatiq:default") >= count, 30, f"{count} messages")
        wait_until(lambda: len(set(numbers())) >= count, 30, f"{count} different ones")
        return numbers()


def test_a_connection_that_breaks_in_an_outage_keeps_nothing_from_the_spool(
    mosquitto: Mosquitto, new_redis: Callable[..., Redis], new_bridge: Bridges, tmp_path: Path
) -> None:
    """At QoS 1, with the window not full yet: what comes by the next connection is spooled all the same."""
    feed = MqttFeed(mosquitto)
    feed.prepare()
    sink = new_redis(appendonly=True)
    with Proxy(mosquitto.port) as proxy:
        config = _config(feed, sink, tmp_path, window={"events": 100})
        config["sources"]["feed"]["url"] = f"mqtt://127.0.0.1:{proxy.port}"
        bridge = new_bridge(config).ready()
        feed.publish([{"n": n} for n in range(5)])
        assert _wait_for_numbers(sink, 5) == list(range(5))
        sink.stop()
        feed.publish([{"n": n} for n in range(5, 20)])
        bridge.wait_for("sink.unavailable")
        proxy.reset()
        bridge.wait_for("source.connected", times=2)
        feed.publish([{"n": n} for n in range(20, 1020)])
        wait_until(lambda: _spooled(tmp_path) > 20_000, 20, "most of it spooled")
        sink.start()
        assert sorted(set(_wait_for_numbers(sink, 1020))) == list(range(1020))


def test_what_comes_once_of_a_source_that_comes_again_is_kept_at_a_stop(
    mosquitto: Mosquitto, new_redis: Callable[..., Redis], new_bridge: Bridges, tmp_path: Path
) -> None:
    """Events of QoS 0 to a source at QoS 1: a stop while Redis is away loses none, and keeps their order."""
    feed = MqttFeed(mosquitto)
    feed.prepare()
    sink = new_redis(appendonly=True)
    bridge = new_bridge(_config(feed, sink, tmp_path)).ready()
    sink.stop()
    publisher = Client(CallbackAPIVersion.VERSION2, client_id=f"publisher-{uuid.uuid4().hex[:6]}")
    connect(publisher, mosquitto.port)
    for start in range(0, 600, 100):
        for info in [publisher.publish(feed.name, json.dumps({"n": start + n}), qos=0) for n in range(100)]:
            info.wait_for_publish(10)
        time.sleep(0.2)
    publisher.disconnect()
    publisher.loop_stop()
    wait_until(lambda: bridge.state()["spooled"] == 600, what="all of it spooled")
    bridge.terminate()
    assert bridge.wait() == 0
    sink.start()
    bridge.start()
    assert _wait_for_numbers(sink, 600) == list(range(600))


def test_a_stop_in_the_middle_of_catching_up_repeats_nothing(
    redis_server: Redis, new_redis: Callable[..., Redis], new_bridge: Bridges, tmp_path: Path
) -> None:
    """What is being written out of the spool when the bridge is told to stop is finished, and is not in the spool any more."""
    channel, sink = PubsubFeed(redis_server), new_redis(appendonly=True)
    with Proxy(sink.port) as proxy:
        config = _config(channel, sink, tmp_path)
        config["dramatiq"]["url"] = f"redis://127.0.0.1:{proxy.port}/0"
        bridge = new_bridge(config).ready()
        sink.stop()
        for start in range(0, 2000, 100):
            channel.publish([{"n": n} for n in range(start, start + 100)])
            time.sleep(0.03)
        wait_until(lambda: _spooled(tmp_path) > 0, 10, "something spooled")
        proxy.latency_s = 0.3
        sink.start()
        _wait_for_numbers(sink, 200)
        bridge.terminate()
        assert bridge.wait() == 0
        with sink.client() as client:
            # As if so much time had passed that Redis has forgotten which batch was the last.
            for key in client.scan_iter("dramatiq-bridge:batch:*"):
                client.delete(key)
        proxy.latency_s = 0
        bridge.start()
        numbers = _wait_for_numbers(sink, 2000)
    assert numbers == list(range(2000))


class _HalfAway(MemorySink):
    """Refuses a whole batch, takes its first event and makes a dead letter of its fourth, and goes away."""

    async def write(self, batch: Batch) -> Written:
        batch.halves = batch.split()
        first, second = batch.halves[0].halves = batch.halves[0].split()
        unread, refused = second.halves = second.split()
        refused.queues.clear()
        refused.dead_letters.append((0, DeadLetter(refused.events[0], "refused-by-redis", "WRONGTYPE")))
        refused.refused = [0]
        for part in (first, unread, refused):
            part.written = Written(messages=int(part is first), duplicates=0, refused=len(part.refused))
        raise SinkUnavailable("away")


async def test_the_written_half_of_a_batch_is_counted_by_its_own_outcome(tmp_path: Path) -> None:
    """Redis has refused a whole, taken one half, and gone away: the other half is counted when the spool is written."""
    source = MemorySource(redelivers=False)
    moved = pipeline(source, _HalfAway(source), [{"actor": "log", "when": "payload % 2 == 0"}])
    spools = SpoolDirectory(tmp_path, 1 << 20)
    assert await spools.own()
    await moved.open_spool(spools)
    running = asyncio.create_task(moved.run())
    session = await source.deliver(*(event("a/log", body) for body in [b"0", b"1", b"{", b"2"] + [b"4", b"1"] * 2))
    await until(lambda: session.held == 0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert moved.state().spooled == 4
    await spools.close()
    assert moved.counts == Counts(received=8, enqueued=1, filtered=1, dead_lettered=2, messages=1)


def test_a_disk_that_hangs_keeps_no_process_from_ending() -> None:
    """Not even what was being written."""
    script = "import time; from bridge.spool.thread import SpoolThread; SpoolThread().submit(time.sleep, 60)"
    subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, timeout=50, check=True)


@contextmanager
def _failing(monkeypatch: pytest.MonkeyPatch, call: str) -> Iterator[None]:
    def fail(_handle: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, call, fail)
        yield


@pytest.mark.parametrize("call", ["fsync", "fdatasync"])
@pytest.mark.parametrize("before", [0, 1])
def test_a_disk_that_fails_leaves_the_log_as_it_was(
    logs: Logs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, before: int
) -> None:
    """What could not be synced is not there, what was there is, and what comes later can be kept."""
    log = logs.open(tmp_path, 10_000)
    for _ in range(before):
        log.append([(b"a", 1)], sync=True)
    logs.close(log)
    log = logs.open(tmp_path, 10_000)
    with _failing(monkeypatch, call), pytest.raises(OSError, match="Input/output"):
        log.append([(b"x", 1)], sync=True)
    log.append([(b"y", 1)], sync=True)
    payloads = []
    while log.events:
        for entry in log.read(1000):
            payloads.append(entry.payload)
            log.remove(entry)
    assert payloads == [b"a"] * before + [b"y"]


def test_a_disk_that_fails_costs_no_descriptors(logs: Logs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it is tried."""
    log = logs.open(tmp_path, 100)
    log.append([(b"x" * 200, 1)], sync=False)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with _failing(monkeypatch, "fdatasync"):
        for _ in range(20):
            with pytest.raises(OSError, match="Input/output"):
                log.append([(b"x" * 200, 1)], sync=False)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


async def test_an_append_that_was_cancelled_is_not_repeated(tmp_path: Path) -> None:
    """It goes on in the thread. At a stop the same batch is spooled again: the next start finds its events once."""
    spools = SpoolDirectory(tmp_path, 1 << 20)
    assert await spools.own()
    spool = await spools.open("s", already_parsed)
    assert spool is not None
    batch = Batch([event("a/log", b"1"), event("a/log", b"2")])
    batch.assign_number()
    cut_short = asyncio.create_task(spool.append([batch], durable=False))
    await asyncio.sleep(0)
    cut_short.cancel()
    await asyncio.gather(cut_short, return_exceptions=True)
    await spool.append([batch], durable=False)
    assert spool.events == 2
    await spools.close()
    spools = SpoolDirectory(tmp_path, 1 << 20)
    assert await spools.own()
    found = await spools.open("s", already_parsed)
    assert found is not None
    assert found.events == 2
    await spools.close()
