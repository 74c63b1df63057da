"""Memory under the worst input for each buffer: the table in ARCHITECTURE.md, and the rows of it that no other test measures."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from tests.faults.rows import every_row
from tests.support.brokers import Mosquitto, Redis
from tests.support.children import wait_until
from tests.support.feeds import MqttFeed, PubsubFeed, StreamFeed, connect
from tests.support.processes import BridgeProcess, Bridges

ROOT: Final = Path(__file__).parents[2]
TABLE: Final = (ROOT / "ARCHITECTURE.md").read_text().partition("## The bounds of all buffers")[2].partition("\n## ")[0]
LINES: Final = [line for line in TABLE.splitlines() if line.startswith("| ") and not line.startswith("| buffer")]


def _peak_until(bridge: BridgeProcess, condition: Callable[[], object], what: str) -> int:
    """Wait for `condition`, and return the most resident memory meanwhile, in bytes."""
    peak = 0

    def look() -> object:
        nonlocal peak
        peak = max(peak, bridge.rss_bytes())
        return condition()

    wait_until(look, 60, what)
    return peak


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.split("|")[1].strip())
def test_each_bound_is_measured_by_a_test(line: str) -> None:
    """The table names a test, or a row of the fault matrix, that fills the buffer; both exist."""
    measured = re.findall(r"\[`([^`]+)`\]\(([^)]+)\)", line.rsplit("|", 2)[1])
    assert measured, "the last column names no test"
    rows = {row.name for row in every_row()}
    for name, file in measured:
        known = name in rows if file.startswith("tests/faults/") else f"def {name}(" in (ROOT / file).read_text()
        assert known, f"{file} has no {name}"


def test_topics_that_are_all_different_fill_no_memory(
    redis_server: Redis, new_redis: Callable[..., Redis], new_bridge: Bridges
) -> None:
    """100,000 channels, each with a name of 200 characters, and captures of it."""
    feed = PubsubFeed(new_redis())
    source = {"type": "redis-pubsub", "url": feed.broker.url_of(0), "patterns": [f"{feed.name}:*"]}
    route = {"from": "feed", "topic": f"{feed.name}:*", "actor": "record", "args": ["$payload.n"]}
    config = {"dramatiq": {"url": redis_server.url_of(0)}, "sources": {"feed": source}, "routes": [route]}
    bridge = new_bridge(config).ready()
    before, peak = bridge.rss_bytes(), 0
    client: Any
    with feed.broker.client() as broker, redis_server.client() as client:
        for start in range(0, 100_000, 10_000):
            pipeline = broker.pipeline(transaction=False)
            for number in range(start, start + 10_000):
                pipeline.publish(f"{feed.name}:{number:0>180}", '{"n": 1}')
            pipeline.execute()
            arrived = start + 10_000
            peak = max(peak, _peak_until(bridge, lambda: client.llen("dramatiq:default") >= arrived, "the events"))  # noqa: B023
        assert client.llen("dramatiq:default") == 100_000
    assert peak - before < 32 << 20, f"grew by {(peak - before) / 2**20:.1f} MiB"


def test_entries_of_many_small_fields_fill_the_window(
    redis_server: Redis, new_redis: Callable[..., Redis], new_bridge: Bridges
) -> None:
    """While the sink hangs: 400 entries of 5,000 fields of a few bytes, which take ten times their bytes as Python's objects."""
    feed, sink = StreamFeed(redis_server), new_redis()
    feed.prepare()
    settings: dict[str, Any] = {"window": {"bytes": "4MiB"}}
    bridge = new_bridge(feed.config(sink, {"args": ["$len(headers)"]}, **settings)).ready()
    before = bridge.rss_bytes()
    fields: Any = {"data": '{"n": 1}', **{f"{number:x}": b"" for number in range(5000)}}
    sink.pause()
    try:
        with redis_server.client() as client:
            pipeline = client.pipeline(transaction=False)
            for _ in range(400):
                pipeline.xadd(feed.name, fields)
            pipeline.execute()
        wait_until(lambda: bridge.state()["held"], 20, "events held")
        time.sleep(3)  # for as many more as come
        assert bridge.state()["held"] < 100
        grown = bridge.rss_bytes() - before
    finally:
        sink.resume()
    assert grown < 64 << 20, f"grew by {grown / 2**20:.1f} MiB"
    with sink.client() as client:
        wait_until(lambda: client.llen("dramatiq:default") == 400, 60, "every event")


def test_messages_of_all_forms_fill_no_memory(mosquitto: Mosquitto, redis_server: Redis, new_bridge: Bridges) -> None:
    """10,000 MQTT messages with as many topics, and first bytes: the reader remembers 4,096 forms, and 8,192 topics."""
    feed = MqttFeed(mosquitto)
    feed.prepare()
    config = feed.config(redis_server, {"args": ["$len(payload)"]}, topics=[f"{feed.name}/#"], decode="text")
    bridge = new_bridge(config).ready()
    before = bridge.rss_bytes()
    client = Client(CallbackAPIVersion.VERSION2)
    client.max_queued_messages_set(0)
    connect(client, mosquitto.port)
    sent = [
        client.publish(f"{feed.name}/{'t' * (number % 100)}{number}", b"x" * (number // 10), qos=1)
        for number in range(10_000)
    ]
    for info in sent:
        info.wait_for_publish(60)
    client.disconnect()
    client.loop_stop()
    redis_client: Any
    with redis_server.client() as redis_client:
        peak = _peak_until(bridge, lambda: redis_client.llen("dramatiq:default") >= 10_000, "the events")
    assert peak - before < 32 << 20, f"grew by {(peak - before) / 2**20:.1f} MiB"
