"""What AMQP brokers do differently: the limits they tune, prefetch, names, declarations."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final

import aio_pika

from tests.faults import checker
from tests.faults.ledger import body
from tests.faults.publishers import amqp_connection
from tests.faults.stage import Brokers, Stage
from tests.interop.broker import STREAM
from tests.interop.outcome import HELD, Outcome, Outcomes
from tests.interop.trial import Trial, each
from tests.support.broker import Broker
from tests.support.children import wait_until
from tests.support.feeds import AmqpStreamFeed

#: Legal names that a library's own rules may refuse, each with an own end.
_NAMES: Final = ("with spaces", "ünï.cöde", "a|b", "orders[1]", "{tenant}.q", "a*b", "x=y", "a;b", '"quoted"', "$t#")
_TYPES: Final = ("direct", "topic", "fanout", "headers")
#: The filter values of a stream's events; the last one is wanted.
_WANTED: Final = "wanted"
_FILTERED: Final = ("other", _WANTED, "third", "other", _WANTED)
_PREFETCHED: Final = 300
_LARGE: Final = 30


def limits(trial: Trial) -> Outcomes:
    """With one channel a connection and frames of 8 KiB, where the broker can be told so, 30 bodies of 60 KB arrive whole."""
    trial.note("tunes " + asyncio.run(_tuned(trial.brokers.get("broker"))))
    if not trial.kind.limits:
        return _limited(trial, trial.brokers)
    kind: Callable[..., Broker] = trial.kind
    with Brokers(broker=lambda: kind(trial.kind.limits)) as brokers:
        outcomes = _limited(trial, brokers)
        trial.note("told to be narrow, tunes " + asyncio.run(_tuned(brokers.get("broker"))))
        return outcomes


def prefetch(trial: Trial) -> Outcomes:
    """While Redis is away no more than the window leaves the queue; then everything arrives."""

    def act(stage: Stage, _: Any) -> None:
        stage.sink.kill()
        for load in stage.loads.values():
            load.burst(_PREFETCHED)
        stage.bridge.wait_for("sink.unavailable")
        stage.wait(1, 1)
        for source, load in stage.loads.items():
            ready = asyncio.run(_ready(stage, source))
            if (held := len(load.ledger.confirmed) - ready) > stage.window_events:
                stage.failures.append(f"{source}: {held} events left the queue, more than {stage.window_events}")
        stage.sink.start()
        stage.bridge.wait_for("sink.recovered")

    return trial.experiment(act, stage={"rate": 0}, again=1, recovery_s=None)


def names(trial: Trial) -> Outcomes:
    """Queues with legal and odd names are declared, and an event that is published to each arrives."""
    sources = trial.sources()
    queues = {
        f"{source}-q{number}": f"{name} {uuid.uuid4().hex[:6]} {source}"
        for source in sources
        for number, name in enumerate(_NAMES)
    }
    asked = {key: (key.rpartition("-q")[0], {"queue": queue, "declare": {}}) for key, queue in queues.items()}
    with trial.answers(asked) as (sink, refused):
        taken = {key: queue for key, queue in queues.items() if key not in refused}
        asyncio.run(_publish_to(trial.brokers.get("broker"), list(taken.values())))
        with sink.client() as client:
            with suppress(AssertionError):  # the queues that stay empty are told below
                wait_until(lambda: min(checker.lengths(client, taken).values(), default=1))
            lengths = checker.lengths(client, taken)
    wrong = {key: f"{length} events arrived" for key, length in lengths.items() if length != 1} | refused

    def check(source: str) -> Outcome:
        own = {_NAMES[int(key.rpartition("-q")[2])]: words for key, words in wrong.items() if key.startswith(source)}
        if not own:
            return HELD
        first, words = next(iter(own.items()))
        return Outcome("FAILED", f"{len(own)} of {len(_NAMES)} legal names, as {first!r}: {words}")

    return each(sources, check)


def declarations(trial: Trial) -> Outcomes:
    """The bridge declares an exchange of each type, a queue and a binding, and gets what is published there."""
    outcomes = {}
    for source in trial.sources():
        failed = {kind: words for kind in _TYPES if (words := _declared(trial, source, kind))}
        outcomes[source] = HELD
        if failed:
            outcomes[source] = Outcome("FAILED", "; ".join(f"{kind}: {words}" for kind, words in failed.items()))
    return outcomes


def filter_(trial: Trial) -> Outcomes:
    """Of a stream with `filter`, the events of that value come, and no chunk of another one."""
    sources = tuple(source for source in trial.sources(streams=True) if source.startswith(STREAM))
    if not sources:
        return {}
    settings = {source: {"filter": [_WANTED]} for source in sources}
    with Stage(trial.brokers, sources, short=True, rate=0, per_source=settings) as stage:

        def check(source: str) -> Outcome:
            feed = stage.feeds[source]
            assert isinstance(feed, AmqpStreamFeed)
            # Each is confirmed before the next one is sent, and so has a chunk of its own.
            for number, value in enumerate(_FILTERED):
                feed.publish([{"n": number}], headers={"x-stream-filter-value": value})
            wanted = {number for number, value in enumerate(_FILTERED) if value == _WANTED}
            with stage.client() as client:
                wait_until(
                    lambda: wanted <= checker.look(client, [source])[source].queued.keys(), what="the wanted events"
                )
                queued = checker.look(client, [source])[source].queued
            if queued == Counter(wanted):
                return HELD
            plain = asyncio.run(_filtered(feed, max(wanted)))
            if queued == plain:
                return Outcome("broker", "knows no filters of streams: a plain client gets all events too")
            return Outcome("FAILED", f"the bridge got {dict(queued)}, a plain client {dict(plain)}")

        return each(sources, check)


async def _filtered(feed: AmqpStreamFeed, last: int) -> Counter[int]:
    """Return what a plain client gets of the filtered stream, up to the number `last`."""
    seen: Counter[int] = Counter()
    async with await amqp_connection(feed.broker.url) as connection, asyncio.timeout(60):
        channel = await connection.channel(publisher_confirms=False)
        await channel.set_qos(100)
        queue = await channel.get_queue(feed.name, ensure=False)
        arguments: Any = {"x-stream-offset": "first", "x-stream-filter": [_WANTED]}
        ended = asyncio.Event()

        async def take(message: Any) -> None:
            seen[json.loads(message.body)["n"]] += 1
            await message.ack()
            if last in seen:
                ended.set()

        await queue.consume(take, arguments=arguments)
        await ended.wait()
    return seen


def _declared(trial: Trial, source: str, kind: str) -> str:
    name = f"declared-{uuid.uuid4().hex[:8]}"
    binding: Any = {"arguments": {"x-match": "any", "kind": "event"}} if kind == "headers" else "a.key"
    declare = {"exchange": name, "type": kind, "bindings": [binding]}
    settings = {"queue": f"{name}-queue", "declare": declare}
    with Stage(trial.brokers, (source,), short=True, rate=0, per_source={source: settings}) as stage:
        asyncio.run(_publish(stage, name, "a.key"))
        with stage.client() as client:
            try:
                wait_until(lambda: checker.look(client, [source])[source].queued[1], what="the event")
            except AssertionError as error:
                return str(error)
    return ""


def _limited(trial: Trial, brokers: Brokers) -> Outcomes:
    sources = trial.sources()
    with Stage(brokers, sources, short=True, rate=0, body_bytes=60_000) as stage:
        for load in stage.loads.values():
            load.burst(_LARGE)

        def check(source: str) -> Outcome:
            ledger = stage.loads[source].ledger
            assert len(ledger.confirmed) == _LARGE, f"the broker took {len(ledger.confirmed)} of {_LARGE} bodies"
            with stage.client() as client:
                wait_until(lambda: not checker.look(client, [source])[source].missing(ledger), what="the bodies")
            return HELD

        return each(sources, check)


async def _publish(stage: Stage, exchange: str, key: str) -> None:
    async with await amqp_connection(stage.feeds[stage.sources[0]].broker.url) as connection:
        channel = await connection.channel(publisher_confirms=False)
        target = await channel.get_exchange(exchange, ensure=False)
        await target.publish(aio_pika.Message(body(1), headers={"kind": "event"}), key)


async def _publish_to(broker: Broker, queues: Iterable[str]) -> None:
    async with await amqp_connection(broker.url) as connection:
        channel = await connection.channel(publisher_confirms=False)
        for queue in queues:
            await channel.default_exchange.publish(aio_pika.Message(body(1)), queue)


async def _ready(stage: Stage, source: str) -> int:
    async with await amqp_connection(stage.feeds[stage.sources[0]].broker.url) as connection:
        channel = await connection.channel(publisher_confirms=False)
        queue = await channel.declare_queue(stage.feeds[source].name, passive=True)
        return int(queue.declaration_result.message_count or 0)


async def _tuned(broker: Broker) -> str:
    async with await amqp_connection(broker.url) as connection:
        tune = connection.transport.connection.connection_tune
        return f"channel_max {tune.channel_max}, frame_max {tune.frame_max}, heartbeat {tune.heartbeat}"
