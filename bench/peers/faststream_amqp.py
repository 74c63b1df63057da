"""FastStream on RabbitMQ: a subscriber per message, redis.asyncio for the write, acknowledged after it."""

from __future__ import annotations

import asyncio
import sys

import redis.asyncio
import uvloop
from faststream import AckPolicy, FastStream
from faststream.rabbit import Channel, RabbitBroker, RabbitMessage, RabbitQueue

from bench.load import AMQP_QUEUE, MESSAGES_KEY, QUEUE_KEY
from bench.peers.batch import messages

PREFETCH = 1_000
CONNECTIONS = 10
SETTINGS = "prefetch 1000 (handlers run concurrently), 10 connections to Redis, no casting, raw message, HSET + RPUSH per event, uvloop, orjson"


async def main(source: str, sink: str) -> None:
    """Consume until killed."""
    # Handlers run concurrently, and wait for one of these connections.
    pool = redis.asyncio.BlockingConnectionPool.from_url(sink, max_connections=CONNECTIONS, timeout=None)
    client = redis.asyncio.Redis(connection_pool=pool)
    broker = RabbitBroker(source, apply_types=False, default_channel=Channel(prefetch_count=PREFETCH), log_level=30)

    # The raw message instead of a decoded body: the rule needs the routing key, and decodes by itself.
    async def raw(event: RabbitMessage) -> RabbitMessage:
        return event

    queue = RabbitQueue(AMQP_QUEUE, durable=True)

    @broker.subscriber(queue, ack_policy=AckPolicy.REJECT_ON_ERROR, no_reply=True, decoder=raw)
    async def handle(event: RabbitMessage) -> None:
        encoded = messages([(event.raw_message.routing_key or "", event.body)])
        if encoded:
            async with client.pipeline(transaction=True) as pipeline:
                pipeline.hset(MESSAGES_KEY, mapping=encoded)
                pipeline.rpush(QUEUE_KEY, *encoded)
                await pipeline.execute()

    await FastStream(broker).run(log_level=30)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(*sys.argv[1:]))
