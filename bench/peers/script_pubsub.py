"""A user's script: redis-py's pub/sub, Dramatiq's `enqueue` per message."""

from __future__ import annotations

import sys

import redis
from dramatiq.brokers.redis import RedisBroker

from bench.load import DOTTED_TOPIC, QUEUE
from bench.peers.rule import message

SETTINGS = "listen(), orjson"


def main(source: str, sink: str) -> None:
    """Consume until killed."""
    broker = RedisBroker(url=sink)
    broker.declare_queue(QUEUE)
    subscription = redis.Redis.from_url(source).pubsub(ignore_subscribe_messages=True)
    subscription.subscribe(DOTTED_TOPIC)
    for event in subscription.listen():
        built = message(event["channel"].decode(), event["data"])
        if built is not None:
            broker.enqueue(built)


if __name__ == "__main__":
    main(*sys.argv[1:])
