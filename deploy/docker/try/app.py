"""The actors of the try: each prints what it is called with. `dramatiq app` runs them."""

from __future__ import annotations

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker

dramatiq.set_broker(RedisBroker(url=os.environ.get("REDIS_URL", "redis://redis:6379/0")))


@dramatiq.actor
def reserve_stock(order_id: int) -> None:
    """Of AMQP."""
    print(f"reserve_stock({order_id})", flush=True)


@dramatiq.actor
def raise_alarm(plant: str, oven: int, celsius: float) -> None:
    """Of MQTT."""
    print(f"raise_alarm({plant!r}, {oven}, {celsius})", flush=True)


@dramatiq.actor
def send_welcome_email(user_id: int) -> None:
    """Of pub/sub."""
    print(f"send_welcome_email({user_id})", flush=True)


@dramatiq.actor
def archive(entry: dict[str, str]) -> None:
    """Of a stream."""
    print(f"archive(entry={entry})", flush=True)
