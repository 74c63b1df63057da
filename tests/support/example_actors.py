"""The actors of an example's application for a real worker: each has its own signature, and notes its call as those of `actors` do."""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import CurrentMessage

from tests.support.actors import note, queues

broker = RedisBroker(url=os.environ["TESTS_REDIS_URL"])
broker.add_middleware(CurrentMessage())
dramatiq.set_broker(broker)
for _queue in queues:
    broker.declare_queue(_queue)


def _noting(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def noting(*args: Any, **kwargs: Any) -> Any:
        result = call(*args, **kwargs)
        note(name, args, kwargs)
        return result

    return noting


_application = importlib.import_module(f"tests.app.{os.environ['TESTS_APPLICATION']}")
for _actor in _application.broker.actors.values():
    dramatiq.actor(actor_name=_actor.actor_name, queue_name=_actor.queue_name)(_noting(_actor.actor_name, _actor.fn))
