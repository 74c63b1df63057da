"""FastStream on RabbitMQ: a subscriber per message, redis.asyncio for the write, acknowledged after it."""

from __future__ import annotations

import sys

import redis.asyncio
from faststream import AckPolicy, FastStream
from faststream.rabbit import Channel, RabbitBroker, RabbitMessage, RabbitQueue

from bench.load import AMQP_QUEUE
from bench.peers.batch import messages
from bench.peers.faststream_common import run, write

PREFETCH = 1_000
CONNECTIONS = 10
SETTINGS = "prefetch 1000 (handlers run concurrently), 10 connections to Redis, no casting, raw message, HSET + RPUSH per event, uvloop, orjson"


async def main(source: str, sink: str) -> None:
    """Consume until killed."""
    # Handlers run concurrently and share these connections.
    pool = redis.asyncio.BlockingConnectionPool.from_url(sink, max_connections=CONNECTIONS, timeout=None)
    client = redis.asyncio.Redis(connection_pool=pool)
    broker = RabbitBroker(source, apply_types=False, default_channel=Channel(prefetch_count=PREFETCH), log_level=30)

    # The raw message instead of a decoded body: the rule needs the routing key and decodes the body itself.
    async def raw(event: RabbitMessage) -> RabbitMessage:
        return event

    queue = RabbitQueue(AMQP_QUEUE, durable=True)

    @broker.subscriber(queue, ack_policy=AckPolicy.REJECT_ON_ERROR, no_reply=True, decoder=raw)
    async def handle(event: RabbitMessage) -> None:
        await write(client, messages([(event.raw_message.routing_key or "", event.body)]))

    await FastStream(broker).run(log_level=30)


if __name__ == "__main__":
    run(main(*sys.argv[1:]))
