"""Ready means that every source is connected, and that the sink takes writes."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.support.batches import answer
from tests.support.brokers import RabbitMQ, Redis
from tests.support.children import wait_until
from tests.support.feeds import AmqpFeed, LibraryAmqpFeed, PubsubFeed
from tests.support.odd_servers import ANSWERS, Sentinel, odd_server
from tests.support.processes import BridgeProcess, Bridges

NewRedis = Callable[..., Redis]


@pytest.mark.parametrize("kind", [AmqpFeed, LibraryAmqpFeed], ids=["fast", "library"])
def test_a_sink_that_answers_and_takes_no_writes(
    kind: type[AmqpFeed], rabbitmq: RabbitMQ, new_redis: NewRedis, new_bridge: Bridges
) -> None:
    """CLIENT PAUSE WRITE, where PING answers: not ready, and no consumer takes events that a kill would count against."""
    feed, sink = kind(rabbitmq), new_redis()
    feed.prepare()
    feed.publish([{"n": n} for n in range(10)])
    with sink.client() as client:
        answer(client.client_pause(600_000, all=False))
        bridge = new_bridge(feed.config(sink))
        bridge.wait_for("sink.unavailable")
        bridge.wait_for("source.waiting", source="feed")
        assert not bridge.events("source.connected")
        assert not bridge.events("bridge.ready")
        answer(client.client_unpause())
        bridge.wait_for("bridge.ready")
        wait_until(lambda: answer(client.llen("dramatiq:default")) == 10, what="10 messages")


def test_a_replica_is_no_sink(redis_server: Redis, new_redis: NewRedis, new_bridge: Bridges) -> None:
    """A Redis that is read-only answers PING too: not ready until it takes writes."""
    sink = new_redis()
    with sink.client() as client:
        answer(client.replicaof("127.0.0.1", redis_server.port))
        bridge = new_bridge(PubsubFeed(redis_server).config(sink))
        assert "READONLY" in bridge.wait_for("sink.unavailable")["cause"]
        bridge.wait_for("source.connected")
        assert not bridge.events("bridge.ready")
        answer(client.replicaof("NO", "ONE"))
        bridge.wait_for("bridge.ready")


def refused(bridge: BridgeProcess, words: str) -> None:
    """Wait for two attempts; check that nobody was ready, and that the cause was said once."""
    said = bridge.wait_for("sink.unavailable")
    assert words in said["cause"]
    bridge.wait_for("source.connected")
    time.sleep(8)  # the second attempt follows after 5 s
    assert bridge.running
    assert not bridge.events("bridge.ready")
    assert [line["cause"] for line in bridge.events("sink.unavailable")] == [said["cause"]]


def test_a_sentinel_is_no_sink(redis_server: Redis, new_bridge: Bridges) -> None:
    """A Sentinel answers PING and INFO, and knows no script: not ready, said once, with the remedy."""
    feed = PubsubFeed(redis_server)
    with Sentinel() as sentinel:
        bridge = new_bridge(feed.config(sentinel))
        bridge.wait_for("source.connected")
        feed.publish([{"n": 1}])
        refused(bridge, "unknown command 'EVALSHA': the bridge needs it; is it renamed (rename-command)")


@pytest.mark.parametrize("kind", ["OK", "a number", "nothing", "a text"])
def test_a_server_that_answers_nonsense_is_no_sink(kind: str, redis_server: Redis, new_bridge: Bridges) -> None:
    """Whatever it answers, the bridge runs on, is not ready, and says once that this is no Redis."""
    feed = PubsubFeed(redis_server)
    with odd_server(ANSWERS[kind]) as server:
        bridge = new_bridge(feed.config(server))
        bridge.wait_for("source.connected")
        feed.publish([{"n": 1}])
        refused(bridge, "this is no Redis's port: it answers with")


@pytest.mark.parametrize("command", ["EVALSHA", "HSET"])
def test_a_redis_without_a_needed_command_is_no_sink(
    command: str, redis_server: Redis, new_redis: NewRedis, new_bridge: Bridges
) -> None:
    """A command that is renamed is named, whichever it is, also where an event comes first."""
    feed = PubsubFeed(redis_server)
    bridge = new_bridge(feed.config(new_redis({"rename-command": f'{command} ""'}, appendonly=True)))
    bridge.wait_for("source.connected")
    feed.publish([{"n": 1}])
    refused(bridge, f"unknown command '{command}': the bridge needs it")
