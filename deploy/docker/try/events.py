"""Publish an event for each source of the try, by the libraries that the bridge's image has."""

from __future__ import annotations

import asyncio
import json
import os
import random
import uuid

import aio_pika
import redis
from paho.mqtt import publish
from paho.mqtt.client import MQTTv5


async def order(number: int) -> None:
    """To RabbitMQ's queue, confirmed."""
    connection = await aio_pika.connect(os.environ.get("AMQP_URL", "amqp://bridge:try@rabbitmq/"))
    async with connection:
        channel = await connection.channel()
        body = json.dumps({"order_id": number}).encode()
        message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT, message_id=str(uuid.uuid4()))
        await channel.default_exchange.publish(message, routing_key="orders")


def temperature(number: int) -> None:
    """To mosquitto, at QoS 1."""
    url = os.environ.get("MQTT_URL", "mqtt://mosquitto:1883")
    host, _, port = url.removeprefix("mqtt://").partition(":")
    topic = f"plants/north/ovens/{number % 10}/temperature"
    publish.single(topic, json.dumps({"celsius": 250.5}), qos=1, hostname=host, port=int(port), protocol=MQTTv5)


def signup_and_entry(number: int) -> None:
    """To a channel and a stream of Redis."""
    with redis.Redis.from_url(os.environ.get("REDIS_URL", "redis://redis:6379/0")) as client:
        client.publish("signups", json.dumps({"user_id": number}))
        client.xadd("audit", {"user": str(number), "action": "login"})


def main() -> None:
    """Publish them."""
    number = random.randrange(1000)
    asyncio.run(order(number))
    temperature(number)
    signup_and_entry(number)
    print(f"published four events with the number {number}")


if __name__ == "__main__":
    main()
