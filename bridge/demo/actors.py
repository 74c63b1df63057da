"""The actors of the demo, run by a real worker: `python -m dramatiq bridge.demo.actors`.

An actor of yours would do the work; these say what they would do.
"""

from __future__ import annotations

import json
import os

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker

from bridge.demo import EXECUTIONS

_url = os.environ["DEMO_REDIS_URL"]
_client = redis.Redis.from_url(_url)
dramatiq.set_broker(RedisBroker(url=_url))


def _say(actor: str, args: list[object], kwargs: dict[str, object], says: str) -> None:
    _client.rpush(EXECUTIONS, json.dumps({"actor": actor, "args": args, "kwargs": kwargs, "says": says}))


@dramatiq.actor(queue_name="alarms")
def raise_alarm(plant: str, oven: int, celsius: float, *, severity: str) -> None:
    """An oven is too hot."""
    says = f"calls the operator of plant {plant}: oven {oven} is at {celsius} degrees"
    _say("raise_alarm", [plant, oven, celsius], {"severity": severity}, says)


@dramatiq.actor
def record_temperature(plant: str, oven: int, celsius: float) -> None:
    """An oven is as warm as it should be."""
    _say("record_temperature", [plant, oven, celsius], {}, "adds a point to the oven's curve")


@dramatiq.actor
def send_welcome_email(user_id: int, msg: str) -> None:
    """Somebody has signed up."""
    _say("send_welcome_email", [user_id, msg], {}, f"writes to user {user_id}")


@dramatiq.actor
def keep_audit_entry(user: str, action: str, *, entry: str) -> None:
    """Somebody has done something."""
    _say("keep_audit_entry", [user, action], {"entry": entry}, f"files what {user} did")
