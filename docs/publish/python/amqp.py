"""Wait for the confirmation, and set `mandatory`: without both, an event that no queue takes is dropped in silence."""

import asyncio
import json
import os

import aio_pika

EVENT = {"id": "order-4711", "total": 129}


async def publish() -> None:
    async with await aio_pika.connect(os.environ.get("AMQP_URL", "amqp://127.0.0.1"), timeout=10) as connection:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        message = aio_pika.Message(
            json.dumps(EVENT).encode(),
            message_id="order-4711",  # the event's own: published again, it is known
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )
        await channel.default_exchange.publish(message, routing_key="orders", mandatory=True, timeout=10)


asyncio.run(publish())  # an event that is refused raises
