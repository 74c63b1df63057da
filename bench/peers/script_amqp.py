"""A user's script: aio-pika's iterator, Dramatiq's `enqueue` per message, acknowledged after it."""

from __future__ import annotations

import asyncio
import sys

import aio_pika
import uvloop
from dramatiq.brokers.redis import RedisBroker

from bench.load import AMQP_QUEUE, QUEUE
from bench.peers.rule import message

SETTINGS = "prefetch 1000, uvloop, orjson"


async def main(source: str, sink: str) -> None:
    """Consume until killed."""
    broker = RedisBroker(url=sink)
    broker.declare_queue(QUEUE)
    connection = await aio_pika.connect(source)
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=1000)
    queue = await channel.declare_queue(AMQP_QUEUE, durable=True)
    async with queue.iterator() as deliveries:
        async for delivery in deliveries:
            built = message(delivery.routing_key or "", delivery.body)
            if built is not None:
                broker.enqueue(built)
            await delivery.ack()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(*sys.argv[1:]))
