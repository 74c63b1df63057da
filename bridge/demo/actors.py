"""The demo's actors; a real Dramatiq worker runs them: `python -m dramatiq bridge.demo.actors`.

Your actors would do the work; these only report that they ran. They report to the Redis of the events, since Dramatiq's
is killed meanwhile: an actor that fails would run again.
"""

from __future__ import annotations

import json
import os

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker

from bridge.demo import EXECUTIONS

_client = redis.Redis.from_url(os.environ["DEMO_EVENTS_URL"])
dramatiq.set_broker(RedisBroker(url=os.environ["DEMO_REDIS_URL"]))


def _report(actor: str, *args: object) -> None:
    _client.rpush(EXECUTIONS, json.dumps({"actor": actor, "args": args}))


@dramatiq.actor(queue_name="alarms")
def raise_alarm(plant: str, oven: int, celsius: float) -> None:
    """Handle an oven that is too hot."""
    _report("raise_alarm", plant, oven, celsius)


@dramatiq.actor
def record(plant: str, oven: int, celsius: float) -> None:
    """Handle a normal temperature."""
    _report("record", plant, oven, celsius)


@dramatiq.actor
def welcome(user_id: int, name: str) -> None:
    """Handle a new user."""
    _report("welcome", user_id, name)


@dramatiq.actor
def keep(user: str, action: str) -> None:
    """Handle an entry of the audit stream."""
    _report("keep", user, action)


@dramatiq.actor
def ship(order: int, euros: float) -> None:
    """Handle an order out of RabbitMQ."""
    _report("ship", order, euros)
