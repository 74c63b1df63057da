"""The actors of the tests' Dramatiq worker: each appends what it was called with to the Redis list `executions`.

Run by `tests.support.processes.Worker` as `python -m dramatiq tests.support.actors`; the environment says where.
"""

from __future__ import annotations

import json
import os

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import CurrentMessage

EXECUTIONS = "executions"

_url = os.environ["TESTS_REDIS_URL"]
queues = os.environ.get("TESTS_QUEUES", "default").split(",")
_client = redis.Redis.from_url(_url)

broker = RedisBroker(url=_url, namespace=os.environ.get("TESTS_NAMESPACE", "dramatiq"))
broker.add_middleware(CurrentMessage())
dramatiq.set_broker(broker)
for _queue in queues:
    broker.declare_queue(_queue)


def note(actor: str, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
    """Append a call to the list."""
    message = CurrentMessage.get_current_message()
    entry = {
        "actor": actor,
        "args": args,
        "kwargs": kwargs,
        "message_id": message.message_id if message else None,
        "queue": message.queue_name if message else None,
    }
    _client.rpush(EXECUTIONS, json.dumps(entry))


@dramatiq.actor(queue_name=queues[0])
def record(*args: object, **kwargs: object) -> None:
    """Take anything."""
    note("record", args, kwargs)


@dramatiq.actor(queue_name=queues[0])
def send_welcome_email(user_id: object, msg: object) -> None:
    """The example of the documentation."""
    note("send_welcome_email", (user_id, msg), {})


@dramatiq.actor(queue_name=queues[0])
def raise_alarm(*args: object, **kwargs: object) -> None:
    """The example of the documentation."""
    note("raise_alarm", args, kwargs)


@dramatiq.actor(queue_name=queues[0])
def reserve_stock(*args: object, **kwargs: object) -> None:
    """The example of the documentation."""
    note("reserve_stock", args, kwargs)


@dramatiq.actor(queue_name=queues[0], max_retries=0)
def fail(*args: object, **kwargs: object) -> None:
    """Fail every time; without a message's own `max_retries` it is not tried again."""
    note("fail", args, kwargs)
    raise RuntimeError("this actor always fails")
