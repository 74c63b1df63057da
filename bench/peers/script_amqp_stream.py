"""A user's script: aio-pika's iterator over a stream, Dramatiq's `enqueue` per message, and its offset in Redis after it.

A crash between the two writes makes a duplicate.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import aio_pika
import redis
import uvloop
from dramatiq.brokers.redis import RedisBroker

from bench.load import AMQP_QUEUE, QUEUE
from bench.peers.rule import message

SETTINGS = "prefetch 1000, uvloop, orjson, the offset saved after each message"


async def main(source: str, sink: str) -> None:
    """Consume from the beginning until killed."""
    broker = RedisBroker(url=sink)
    broker.declare_queue(QUEUE)
    offsets = redis.Redis.from_url(sink)
    connection = await aio_pika.connect(source)
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=1000)
    queue = await channel.get_queue(AMQP_QUEUE)
    async with queue.iterator(arguments={"x-stream-offset": "first"}) as deliveries:
        async for delivery in deliveries:
            built = message(delivery.routing_key or "", delivery.body)
            if built is not None:
                broker.enqueue(built)
            offset: Any = delivery.headers["x-stream-offset"]
            offsets.set("offset", offset)
            await delivery.ack()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(*sys.argv[1:]))
