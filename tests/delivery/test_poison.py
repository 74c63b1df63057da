"""The event that ends the process whenever it is processed: found, and a dead letter in the end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bridge.config import Config
from bridge.delivery.poison import DEAD_LETTER_AFTER, ISOLATE_AFTER, PoisonGuard
from bridge.errors import SinkUnavailable
from bridge.model.accounting import Counts
from bridge.model.batch import Batch
from bridge.model.event import Event
from bridge.routing.compiler import compile_routes
from bridge.routing.router import make
from bridge.routing.trace_headers import Trace
from tests.support.brokers import Redis
from tests.support.children import wait_until, with_fault
from tests.support.feeds import REDELIVERING, AmqpStreamFeed, Feed, PubsubFeed, StreamFeed
from tests.support.processes import BridgeProcess, Bridges, queue_messages
from tests.support.routing import MQTT, event, router


@pytest.fixture
def crashing() -> dict[str, str]:
    """The environment of a bridge whose codec crashes."""
    return with_fault("crashing")


def _keep_alive(bridge: BridgeProcess, until: Callable[[], object]) -> int:
    """Start the bridge again whenever it ends, as a service manager does; return how often it was."""
    starts = 0
    deadline = time.monotonic() + 120
    while not until():
        assert time.monotonic() < deadline, f"still not, after {starts} starts\n{bridge.log_tail()}"
        if not bridge.running:
            bridge.start()
            starts += 1
        time.sleep(0.05)
    return starts


def _dead_letters(sink: Redis) -> list[dict[bytes, bytes]]:
    with sink.client() as client:
        entries: Any = client.xrange("dramatiq-bridge:dead-letters")
    return [fields for _, fields in entries]


@pytest.mark.parametrize("broker", REDELIVERING, ids=lambda feed: feed.kind, indirect=True)
def test_an_event_that_ends_the_process_is_a_dead_letter_after_ten_times(
    feed: Feed, redis_server: Redis, new_bridge: Bridges, crashing: dict[str, str]
) -> None:
    """Ten crashes at most after the first, then a dead letter with the raw body; every other event arrives once."""
    feed.publish([*({"n": n} for n in range(30)), {"n": 30, "what": "poison"}, *({"n": n} for n in range(31, 60))])
    bridge = new_bridge(feed.config(redis_server), env=crashing)
    with redis_server.client() as client:

        def done() -> bool:
            return client.llen("dramatiq:default") >= 59 and bool(_dead_letters(redis_server))

        starts = _keep_alive(bridge, done)
        assert ISOLATE_AFTER < starts <= DEAD_LETTER_AFTER + 1
        (letter,) = _dead_letters(redis_server)
        assert letter[b"reason"] == b"poison"
        assert b'"poison"' in letter[b"body"]
        numbers = [message["args"][0] for message in queue_messages(client, "default")]
        # What was written and not settled when the process ended comes again, as after any crash.
        assert sorted(set(numbers)) == [n for n in range(60) if n != 30]
        assert len(numbers) == 59 or not isinstance(feed, (StreamFeed, AmqpStreamFeed))
        bridge.wait_for("event.dead_lettered", reason="poison")


def test_a_connection_that_is_lost_again_and_again_makes_no_poison(
    redis_server: Redis, new_bridge: Bridges, crashing: dict[str, str], new_redis: Callable[..., Redis]
) -> None:
    """Only what was being routed when the process ended is counted: events that come again for another reason are not."""
    feed = StreamFeed(redis_server)
    feed.prepare()
    feed.publish([{"n": n} for n in range(50)])
    sink = new_redis()
    bridge = new_bridge(feed.config(sink), env=crashing).ready()
    for _ in range(DEAD_LETTER_AFTER + 3):
        sink.pause()
        feed.publish([{"n": 100}])
        wait_until(lambda: _pending(feed), 10, "something held")
        bridge.kill()
        sink.resume()
        bridge.start().ready()
    with sink.client() as client:
        wait_until(lambda: client.llen("dramatiq:default") == 50 + DEAD_LETTER_AFTER + 3, 20, "all of them")
    assert _dead_letters(sink) == []


def _pending(feed: Feed) -> int:
    broker = feed.broker
    assert isinstance(broker, Redis)
    with broker.client() as client:
        groups: Any = client.xinfo_groups(feed.name)
        return int(groups[0]["pending"])


def test_poison_in_the_spool_becomes_a_dead_letter(
    redis_server: Redis, new_redis: Callable[..., Redis], new_bridge: Bridges, crashing: dict[str, str], tmp_path: Path
) -> None:
    """Nor does it keep what is spooled behind it from being written."""
    feed = PubsubFeed(redis_server)
    sink = new_redis(appendonly=True)
    config = {**feed.config(sink), "spool": {"directory": str(tmp_path / "spool")}}
    bridge = new_bridge(config, env=crashing).ready()
    sink.stop()
    feed.publish([{"n": 0}])
    wait_until(lambda: bridge.state()["spooled"] == 1, what="something spooled, behind which everything goes")
    feed.publish([{"n": 1, "what": "poison"}, *({"n": n} for n in range(2, 40))])
    wait_until(lambda: bridge.state()["spooled"] == 40, what="all of it spooled")
    sink.start()
    with sink.client() as client:
        _keep_alive(bridge, lambda: client.llen("dramatiq:default") >= 39)
        numbers = [message["args"][0] for message in queue_messages(client, "default")]
    assert numbers == [0, *range(2, 40)]
    assert [letter[b"reason"] for letter in _dead_letters(sink)] == [b"poison"]


class _Failing:
    """Counts attempts; forgets only while Redis is there."""

    def __init__(self, before: int) -> None:
        self.before = before

    async def begin(self, source: str, events: Sequence[bytes], *, below: int) -> list[int]:
        return [self.before] * len(events)

    async def forget(self, source: str, events: Sequence[bytes]) -> None:
        raise SinkUnavailable("away")


class _Router:
    """Remembers how many events were routed together."""

    def __init__(self) -> None:
        self.parts: list[int] = []

    async def route_in_turns(self, batch: Batch) -> Counts:
        """See `Router`."""
        self.parts.append(len(batch.events))
        return Counts(received=len(batch.events))


@pytest.mark.parametrize(
    ("delivered", "parts"), [(ISOLATE_AFTER - 1, [6]), (ISOLATE_AFTER, [2, 1, 3]), (100, [2, 1, 3])]
)
async def test_the_brokers_count_isolates_and_makes_no_dead_letter(delivered: int, parts: list[int]) -> None:
    """An event that the broker has delivered often is routed by itself, though Redis knows of no attempt."""
    events = [event("a/log", b"%d" % n, redelivered=True) for n in range(6)]
    batch, router_ = Batch(events), _Router()
    guard = PoisonGuard("s", _Failing(0), lambda each: delivered if each is events[2] else 1)
    assert (await guard.route(batch, router_)).received == 6  # type: ignore[arg-type]
    assert router_.parts == parts
    assert batch.dead_letters == []


@pytest.mark.parametrize("before", [0, ISOLATE_AFTER])
async def test_attempts_that_cannot_be_forgotten_repeat_nothing(before: int) -> None:
    """Redis may go away between the two: what is routed stays routed, each event once and in order."""
    events = [event("a/log", b"%d" % n, redelivered=n % 2 == 0) for n in range(6)]
    batch = Batch(events)
    routes = [{"actor": "log", "args": ["$payload"]}]
    counts = await PoisonGuard("s", _Failing(before), None).route(batch, router(routes))
    assert counts.enqueued == 6
    column = batch.queues["default"]
    assert column.event_indexes == list(range(6))
    assert [json.loads(body)["args"] for _, body in column.messages] == [[n] for n in range(6)]


@pytest.mark.parametrize("before", [0, ISOLATE_AFTER])
async def test_a_redelivered_event_whose_time_is_up_is_known_as_that(before: int) -> None:
    """Routed by itself or with the others: whoever looks at the batch later sees which of its events have expired."""
    events = [event("t", b"%d" % n, redelivered=n == 1, raw=({}, {"expires_in": n % 2 or 2**32 - 1})) for n in range(4)]
    batch = Batch(events)
    counts = await PoisonGuard("s", _Failing(before), None).route(batch, router([{"actor": "log", "expires": True}]))
    assert (counts.enqueued, counts.expired, batch.expired) == (2, 2, [1, 3])


class _Spans:
    """Opens a span for each event, named by its body."""

    def open(self, event_: Event, trace: Trace, _queue: str) -> tuple[Trace, _Span]:
        """See `Spans`."""
        return trace, _Span(event_.body)


@dataclass
class _Span:
    body: bytes

    def end(self, outcome: str) -> None:
        """See `OpenSpan`."""


@pytest.mark.parametrize("before", [0, ISOLATE_AFTER])
async def test_spans_of_redelivered_events_stay_with_their_batch(before: int) -> None:
    """However it is routed: each event has one span, which ends with the batch, and a malformed trace is counted."""
    trace = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    headers = [trace, {"traceparent": "x"}, {}, trace]
    events = [event("t", b"%d" % n, redelivered=n % 2 == 0, raw=(each, {})) for n, each in enumerate(headers)]
    config = Config.model_validate({
        "tracing": {"propagate": ["w3c"]}, "sources": {"s": MQTT}, "routes": [{"from": "s", "actor": "a"}],
    })  # fmt: skip
    table = compile_routes(config)[0]["s"]
    assert table.tracing is not None
    table.tracing.spans = _Spans()
    batch = Batch(events)
    counts = await PoisonGuard("s", _Failing(before), None).route(batch, make(config.sources["s"], table))
    assert (counts.received, counts.invalid_traces) == (4, 1)
    assert list(batch.spans) == [_Span(b"0"), _Span(b"3")]
