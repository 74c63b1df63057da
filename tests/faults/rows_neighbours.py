"""Rows in which others are broken, and must delay nobody: a publisher of garbage, an address, a resolver."""

from __future__ import annotations

import statistics
import threading
import time
from typing import Any, Final

from tests.faults.flood import Flood
from tests.faults.rows import Says, row
from tests.faults.sources import KINDS
from tests.faults.stage import Stage
from tests.support.neighbours import BLACK

#: How long an event of a good source may take from its publisher into its queue, 99 of 100 of them.
P99_S: Final = 0.1
#: How much Redis may grow: the dead letters' bound, and what is queued.
_MOST_GROWN: Final = 96 << 20
_PROBE_S: Final = 12.0
_PAUSE_S: Final = 0.03
_GOOD: Final = ("amqp", "stream-elsewhere")


def _flooded(stage: Stage, kind: str, port: int) -> None:
    with stage.client() as client:
        before = _used(stage)
        flood = Flood(kind, port, stage.feeds[kind].topic)
        # Ended only once the bridge has stopped beside it.
        stage.later(lambda: stage.notes.append(f"{flood.end():,} bad events were sent"))
        threads = []
        took: dict[str, list[float]] = {source: [] for source in _GOOD}
        for source in _GOOD:
            threads.append(threading.Thread(target=_probe, args=(stage, source, took[source])))
            threads[-1].start()
        for thread in threads:
            thread.join()
        for source, seconds in took.items():
            p99 = statistics.quantiles(seconds, n=100)[98]
            stage.notes.append(
                f"{source}: {len(seconds)} events, p50 {statistics.median(seconds):.3f} s, p99 {p99:.3f} s"
            )
            if not stage.short and p99 > P99_S:
                stage.failures.append(f"{source}: p99 {p99:.3f} s beside the garbage, more than {P99_S:g}")
        grown = _used(stage) - before
        letters: Any = client.xlen("dramatiq-bridge:dead-letters")
        stage.notes.append(f"Redis grew by {grown / 2**20:.1f} MiB; {letters} dead letters")
        if grown > _MOST_GROWN:
            stage.failures.append(f"Redis grew by {grown / 2**20:.1f} MiB, more than {_MOST_GROWN / 2**20:.0f}")
        if not letters:
            stage.failures.append("no dead letter: the garbage has not arrived")


def _probe(stage: Stage, source: str, took: list[float]) -> None:
    """Publish one event after the other, and time each until it is in its queue."""
    load, key = stage.loads[source], f"dramatiq:{source}"
    end = time.monotonic() + _PROBE_S
    with stage.client() as client:
        while time.monotonic() < end:
            arrived: Any = client.llen(key)
            began = time.monotonic()
            load.burst(1)
            while client.llen(key) == arrived and time.monotonic() < began + 10:
                time.sleep(0.001)
            took.append(time.monotonic() - began)
            time.sleep(_PAUSE_S)


def _used(stage: Stage) -> int:
    with stage.client() as client:
        memory: Any = client.info("memory")
        return int(memory["used_memory"])


_FLOODED: Final[dict[str, Any]] = {"stage": {"rate": 0}, "recovery_s": None}


@row(
    "neighbour-garbage-pubsub",
    sources=("pubsub", *_GOOD),
    says=(Says("event.dead_lettered", "pubsub", ("reason", "cause")),),
    **_FLOODED,
)
def garbage_pubsub(stage: Stage) -> None:
    """100,000 bad messages a second on a channel: others' p99 stays below 100 ms, Redis is bounded, a stop is a stop."""
    _flooded(stage, "pubsub", stage.events.port)


@row(
    "neighbour-garbage-mqtt",
    sources=("mqtt-qos0", *_GOOD),
    says=(Says("event.dead_lettered", "mqtt-qos0", ("reason", "cause")),),
    **_FLOODED,
)
def garbage_mqtt(stage: Stage) -> None:
    """100,000 bad messages a second on a topic at QoS 0: as above."""
    _flooded(stage, "mqtt-qos0", stage.mosquitto.port)


_SECOND: Final = [BLACK, "127.0.0.1"]
_DEAD: Final = 100


def _all_connect_again(stage: Stage) -> None:
    """End every connection of the bridge: both Redis die, the other brokers lose nothing of their own."""
    # The sink first, and until that is noticed: without a source no event would come to be written.
    stage.sink.kill()
    stage.bridge.wait_for("sink.unavailable")
    stage.sink.start()
    for name in sorted({KINDS[source].broker for source in stage.sources} - {"sink"}):
        if name == "rabbitmq":
            stage.rabbitmq.ctl("close_all_connections", "a neighbour is broken")
        elif name == "mosquitto":
            stage.mosquitto.restart()
        else:
            stage.events.kill()
            stage.events.start()


@row(
    "neighbour-black-hole",
    says=(Says("source.disconnected"), Says("sink.unavailable")),
    again=1,
    stage={"hosts": {"broker.test": _SECOND}},
)
def black_hole(stage: Stage) -> None:
    """The brokers' name has two addresses, and the first swallows every packet: all connect, and all connect again."""
    _all_connect_again(stage)


@row(
    "neighbour-dead-resolver",
    unready=("source neighbour-",),
    stays_unready=True,
    says=(Says("source.unavailable", "neighbour-0", cause="the name 'neighbour-0.test' was not resolved within 10s"),),
    again=1,
    recovery_s=10.0,
    stage={"hosts": {"broker.test": ["127.0.0.1"], "neighbour-*": ["127.0.0.1"]}, "neighbours": _DEAD},
)
def dead_resolver(stage: Stage) -> None:
    """The names of 100 other sources get no answer any more: all others connect again, and a stop is a stop."""
    assert stage.names is not None
    stage.names.set({"broker.test": ["127.0.0.1"], "neighbour-*": None})
    _all_connect_again(stage)
    stage.bridge.wait_for(
        "source.unavailable",
        source="neighbour-0",
        cause="the name 'neighbour-0.test' was not resolved within 10s",
        timeout=40,
    )
    _all_connect_again(stage)
