"""What one setup costs: a bridge, or several, moves a backlog, and the CPU of bridge, broker and Dramatiq's Redis is counted.

Beside `throughput.py`, which compares one rule of all contestants, the bridge alone varies here: its queues, topics, sources,
routes, processes and replicas. A first start of the bridge makes queues, sessions and groups; then they are filled.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final

from bench import load, usage
from bench.backlogs import AllCores
from bench.sides import AmqpSide, MqttSide, Side, StreamSide
from tests.support.brokers import Mosquitto, Redis
from tests.support.processes import BridgeProcess

#: Share of the events before the measurement begins, and the wait after the last one: acknowledgements take CPU too.
_WARM_UP: Final = 0.02
_ACKNOWLEDGE_S: Final = 0.5
#: A larger share before the measurement leaves too few events for it.
_MOST_BEFORE: Final = 0.8
_POLL_S: Final = 0.05
_TIMEOUT_S: Final = 120.0


@dataclass(frozen=True)
class Setup:
    """The source's kind, the number of each thing, and the bytes of a body."""

    kind: str
    events: int
    queues: int = 1
    topics: int = 1
    sources: int = 1
    routes: int = 1
    size: int = load.EVENT_BYTES
    processes: int = 1
    replicas: int = 1
    window: int | None = None
    #: One event in so many becomes a message.
    every: int = 1

    @property
    def messages(self) -> int:
        """How many messages the events become."""
        return self.events // self.every

    @property
    def queue_keys(self) -> list[str]:
        """The lists of Dramatiq's queues."""
        return [f"dramatiq:{load.QUEUE}{number}" for number in range(self.queues)]


@dataclass(frozen=True)
class Cost:
    """CPU seconds per 100,000 events; `sink` is Dramatiq's Redis. Events/s beside: they also measure what else the machine does."""

    events_per_s: float
    bridge: float
    broker: float
    sink: float


@dataclass(frozen=True)
class Stage:
    """Dramatiq's Redis and one kind's broker; of a stream they are the same."""

    kind: str
    sink: Redis
    side: Side

    @property
    def pids(self) -> dict[str, int]:
        """The servers' process ids."""
        return {"broker": self.side.broker.pid, "sink": self.sink.pid}


@contextmanager
def stage(kind: str) -> Iterator[Stage]:
    """Start the servers for a kind of source."""
    with ExitStack() as stack:
        sink = stack.enter_context(Redis())
        if kind == "redis-stream":
            yield Stage(kind, sink, StreamSide(sink))
        elif kind == "amqp":
            yield Stage(kind, sink, AmqpSide(stack.enter_context(AllCores())))
        else:
            yield Stage(kind, sink, MqttSide(stack.enter_context(Mosquitto({"autosave_interval": 0}))))


def configs(on: Stage, setup: Setup) -> list[dict[str, Any]]:
    """Return the configuration of each replica: a route per topic, and among them `routes - 1` that fit no event."""
    side = on.side
    routes = []
    for place in range(max(setup.topics, setup.sources)):
        queue = f"{load.QUEUE}{place % setup.queues}"
        routes.append(_route(side.topic(place, "{plant}"), f"r{place}", f"s{place % setup.sources}", queue))
    others = [
        _route(side.topic(-1 - number, "{plant}"), f"o{number}", "s0", "other") for number in range(setup.routes - 1)
    ]
    sources = {f"s{number}": side.source(number, setup.sources) for number in range(setup.sources)}
    if setup.window:
        sources = {name: {**source, "window": {"events": setup.window}} for name, source in sources.items()}
    written = []
    for replica in range(setup.replicas):
        own = {"consumer": f"replica-{replica}"} if on.kind == "redis-stream" else {}
        written.append(
            {
                "dramatiq": {"url": on.sink.url_of(0)},
                "processes": setup.processes,
                "sources": {name: {**source, **own} for name, source in sources.items()},
                "routes": others[: len(others) // 2] + routes + others[len(others) // 2 :],
            }
        )
    return written


def _route(topic: str, name: str, source: str, queue: str) -> dict[str, Any]:
    return {**load.route(load.DOTTED_TOPIC), "name": name, "from": source, "topic": topic, "queue": queue}


def move(on: Stage, setup: Setup, changed: Callable[[dict[str, Any]], dict[str, Any]] = lambda config: config) -> Cost:
    """Measure how the bridge moves a backlog, with a `changed` configuration; the messages stay in Redis.

    Raises:
        AssertionError: an event is missing.
    """
    on.side.run += 1
    written = [changed(config) for config in configs(on, setup)]
    with on.sink.client() as client:
        client.flushall()
        for config in written:
            with BridgeProcess({**config, "processes": 1}) as bridge:
                bridge.ready(60)
                bridge.terminate()
                bridge.wait()
        publisher = on.side.publisher([on.side.topic(place) for place in range(max(setup.topics, setup.sources))])
        publisher.publish(load.bodies(setup.events, setup.size))
        publisher.close()
        with ExitStack() as stack:
            # All at once: the first would have moved the events before the last is ready.
            bridges = [stack.enter_context(BridgeProcess(config)) for config in written]
            cost = _watch(client, on, bridges, setup)
        assert sum(_counts(client, setup)) == setup.messages, f"{_counts(client, setup)} of {setup.messages} messages"
        return cost


def _watch(client: Any, on: Stage, bridges: Sequence[BridgeProcess], setup: Setup) -> Cost:
    def used() -> tuple[float, float, float]:
        broker, sink = usage.cpu_s(on.pids["broker"]), usage.cpu_s(on.pids["sink"])
        return sum(usage.cpu_s(bridge.pid) for bridge in bridges), broker, sink

    deadline = time.monotonic() + _TIMEOUT_S
    for bridge in bridges:
        bridge.ready(60)  # a start costs half a second of CPU, which is not the events'
    while (first := sum(_counts(client, setup))) < setup.messages * _WARM_UP:
        _may_go_on(bridges, deadline)
        time.sleep(_POLL_S / 10)
    began, before = time.monotonic(), used()
    assert first < setup.messages * _MOST_BEFORE, (
        f"{setup.events} events are too few: {first} moved before the measurement"
    )
    while sum(_counts(client, setup)) < setup.messages:
        _may_go_on(bridges, deadline)
        time.sleep(_POLL_S)
    took = time.monotonic() - began
    time.sleep(_ACKNOWLEDGE_S)
    moved = setup.events - first * setup.every
    share = 100_000 / moved
    costs = [share * (end - start) for end, start in zip(used(), before, strict=True)]
    return Cost(moved / took, *costs)


def _counts(client: Any, setup: Setup) -> list[int]:
    with client.pipeline(transaction=False) as all_at_once:
        for key in setup.queue_keys:
            all_at_once.llen(key)
        return list(map(int, all_at_once.execute()))


def _may_go_on(bridges: Sequence[BridgeProcess], deadline: float) -> None:
    assert all(bridge.running for bridge in bridges), bridges[0].log_tail()
    assert time.monotonic() < deadline, f"the bridge stopped\n{bridges[0].log_tail()}"
