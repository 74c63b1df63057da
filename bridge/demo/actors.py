"""The demo's actors; a real Dramatiq worker runs them: `python -m dramatiq bridge.demo.actors`.

Your actors would do the work; these only describe it.
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


def _report(actor: str, args: list[object], kwargs: dict[str, object], effect: str) -> None:
    _client.rpush(EXECUTIONS, json.dumps({"actor": actor, "args": args, "kwargs": kwargs, "effect": effect}))


@dramatiq.actor(queue_name="alarms")
def raise_alarm(plant: str, oven: int, celsius: float, *, severity: str) -> None:
    """Handle an oven that is too hot."""
    effect = f"calls the operator of plant {plant}: oven {oven} is at {celsius} degrees"
    _report("raise_alarm", [plant, oven, celsius], {"severity": severity}, effect)


@dramatiq.actor
def record_temperature(plant: str, oven: int, celsius: float) -> None:
    """Handle a normal temperature."""
    _report("record_temperature", [plant, oven, celsius], {}, "adds a point to the oven's curve")


@dramatiq.actor
def send_welcome_email(user_id: int, msg: str) -> None:
    """Handle a new user."""
    _report("send_welcome_email", [user_id, msg], {}, f"writes to user {user_id}")


@dramatiq.actor
def keep_audit_entry(user: str, action: str, *, entry: str) -> None:
    """Handle an entry of the audit stream."""
    _report("keep_audit_entry", [user, action], {"entry": entry}, f"files what {user} did")
