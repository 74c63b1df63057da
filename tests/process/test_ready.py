"""Ready means that every source is connected, and that the sink takes writes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.batches import answer
from tests.support.brokers import RabbitMQ, Redis
from tests.support.children import wait_until
from tests.support.feeds import AmqpFeed, LibraryAmqpFeed, PubsubFeed
from tests.support.processes import Bridges

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
