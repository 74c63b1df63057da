"""Time: a process that stood still blames nobody for it, and a stepped wall clock is said and changes nothing."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from typing import Any

import pytest

from tests.support.brokers import Mosquitto, RabbitMQ, Redis
from tests.support.child_processes import children
from tests.support.children import wait_until
from tests.support.clocks import DAY_S, YEAR_S, SteppedClock
from tests.support.feeds import AmqpFeed, Feed, MqttFeed, PubsubFeed, StreamFeed
from tests.support.processes import Bridges, queue_messages

#: Longer than the watchdog's bound with `timeout: 1s` (12 s), and than a parent waits for a process that says nothing (30 s).
STOOD_STILL_S = {1: 15, 2: 33}


def _feeds(rabbitmq: RabbitMQ, mosquitto: Mosquitto, events: Redis) -> dict[str, Feed]:
    feeds: dict[str, Feed] = {
        "amqp": AmqpFeed(rabbitmq),
        "mqtt": MqttFeed(mosquitto),
        "pubsub": PubsubFeed(events),
        "stream": StreamFeed(events),
    }
    for feed in feeds.values():
        feed.prepare()
    return feeds


def _config(feeds: dict[str, Feed], sink: Redis, **more: Any) -> dict[str, Any]:
    # And a window of AMQP that is full at once, so that reading is paused.
    patient: dict[str, dict[str, Any]] = {
        "amqp": {"heartbeat": "5m", "window": {"events": 100, "bytes": "1KiB"}},
        "mqtt": {"keepalive": "5m"},
    }
    return {
        "dramatiq": {"url": sink.url, "timeout": "1s"},
        "sources": {name: {**feed.source, **patient.get(name, {})} for name, feed in feeds.items()},
        "routes": [{"from": name, "actor": "record", "queue": name, "args": ["$payload.n"]} for name in feeds],
        **more,
    }


def _arrived(sink: Redis, name: str) -> Counter[int]:
    with sink.client() as client:
        return Counter(message["args"][0] for message in queue_messages(client, name))


def _wait_for(sink: Redis, feeds: dict[str, Feed], count: int) -> None:
    with sink.client() as client:
        for name in feeds:
            wait_until(lambda name=name: client.llen(f"dramatiq:{name}") >= count, 60, f"{count} of {name}")  # type: ignore[misc]


def _publish(feeds: dict[str, Feed], numbers: range) -> None:
    for feed in feeds.values():
        feed.publish([{"n": n} for n in numbers])


@pytest.mark.parametrize("processes", [1, 2])
def test_a_bridge_that_stood_still_calls_no_source_stuck(
    rabbitmq: RabbitMQ,
    mosquitto: Mosquitto,
    new_redis: Callable[..., Redis],
    either_bridge: Bridges,
    processes: int,
) -> None:
    """SIGSTOP to all processes with events in flight, longer than any bound, and SIGCONT: said once, no reconnect, nothing twice."""
    events, sink = new_redis(), new_redis()
    feeds = _feeds(rabbitmq, mosquitto, events)
    bridge = either_bridge(_config(feeds, sink, processes=processes)).ready()
    _publish(feeds, range(50))
    _wait_for(sink, feeds, 50)
    running = children(bridge)
    sink.pause()
    _publish(feeds, range(50, 100))
    time.sleep(0.2)  # received, and in flight to Redis, which answers no more
    bridge.signal_group(SIGSTOP)
    sink.resume()
    time.sleep(STOOD_STILL_S[processes])
    bridge.signal_group(SIGCONT)
    assert bridge.wait_for("bridge.stalled", times=1 + len(running))["seconds"] > STOOD_STILL_S[processes] - 2
    _publish(feeds, range(100, 150))
    _wait_for(sink, feeds, 150)
    time.sleep(2)  # the watchdog has looked again
    for name in feeds:
        assert _arrived(sink, name) == Counter(range(150)), name
    for event in ("source.stuck", "source.disconnected", "process.silent", "process.ended", "source.gap"):
        assert not bridge.events(event), bridge.log_tail()
    assert children(bridge) == running
    bridge.terminate()
    assert bridge.wait() == 0
    stalls = [log.get("process") for log in bridge.events("bridge.stalled")]
    assert len(stalls) == len(set(stalls)) == (1 if processes == 1 else processes + 1)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_stepped_wall_clock_is_said_and_changes_nothing(  # noqa: PLR0917 - fixtures
    rabbitmq: RabbitMQ,
    mosquitto: Mosquitto,
    new_redis: Callable[..., Redis],
    new_bridge: Bridges,
    processes: int,
    tmp_path: Path,
) -> None:
    """A day forwards, a day back, ten years: one line for each step with its size, and every event once."""
    events, sink = new_redis(), new_redis()
    feeds = _feeds(rabbitmq, mosquitto, events)
    clock = SteppedClock(tmp_path)
    bridge = new_bridge(_config(feeds, sink, processes=processes), env=clock.env).ready()
    offsets = [0, DAY_S, 0, 10 * YEAR_S, 0]
    for number, offset in enumerate(offsets):
        clock.set(offset)
        if number:
            bridge.wait_for("bridge.clock_stepped", times=number)
        _publish(feeds, range(50 * number, 50 * number + 50))
        _wait_for(sink, feeds, 50 * number + 50)
    time.sleep(2)
    for name in feeds:
        assert _arrived(sink, name) == Counter(range(250)), name
    steps = [log["seconds"] for log in bridge.events("bridge.clock_stepped")]
    assert [round(step) for step in steps] == [DAY_S, -DAY_S, 10 * YEAR_S, -10 * YEAR_S]
    for event in ("source.stuck", "source.disconnected", "bridge.stalled", "process.ended"):
        assert not bridge.events(event), bridge.log_tail()
    bridge.terminate()
    assert bridge.wait() == 0


def test_a_delayed_message_is_due_by_the_wall_clock_of_its_making(
    stream: StreamFeed, redis_server: Redis, new_bridge: Bridges, tmp_path: Path
) -> None:
    """Its eta is of the clock as it is then, as Dramatiq's own is: after a step, of the stepped one; and the step was said."""
    clock = SteppedClock(tmp_path)
    config = stream.config(redis_server)
    config["routes"][0]["delay"] = "1h"
    bridge = new_bridge(config, env=clock.env).ready()
    with redis_server.client() as client:
        for offset in (0, DAY_S):
            clock.set(offset)
            if offset:
                bridge.wait_for("bridge.clock_stepped")
            stream.publish([{"n": offset}])
            wait_until(lambda offset=offset: client.llen("dramatiq:default.DQ") == 1 + bool(offset), 20, "its message")  # type: ignore[misc]
        first, second = (message["options"]["eta"] / 1000 for message in queue_messages(client, "default.DQ"))
    assert abs(first - time.time() - 3600) < 120
    assert abs(second - first - DAY_S) < 120
