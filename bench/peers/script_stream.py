"""A user's script: XREADGROUP, Dramatiq's `enqueue` per entry, XACK after it."""

from __future__ import annotations

import sys
from typing import Any

import redis
from dramatiq.brokers.redis import RedisBroker

from bench.load import DOTTED_TOPIC, QUEUE, STREAM_FIELD, STREAM_GROUP
from bench.peers.rule import message

SETTINGS = "COUNT 500, one XACK per entry, orjson"


def main(source: str, sink: str) -> None:
    """Consume until killed."""
    broker = RedisBroker(url=sink)
    broker.declare_queue(QUEUE)
    client = redis.Redis.from_url(source)
    field = STREAM_FIELD.encode()
    while True:
        answer: Any = client.xreadgroup(STREAM_GROUP, "script", {DOTTED_TOPIC: ">"}, count=500, block=2000)
        for stream, entries in answer or []:
            for entry, fields in entries:
                built = message(stream.decode(), fields[field])
                if built is not None:
                    broker.enqueue(built)
                client.xack(stream, STREAM_GROUP, entry)


if __name__ == "__main__":
    main(*sys.argv[1:])
