"""Dramatiq's worker of the benchmark: an actor that does nothing, in the queues that BENCH_QUEUES names."""

from __future__ import annotations

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from bench.load import ACTOR

_queues = os.environ["BENCH_QUEUES"].split(",")
dramatiq.set_broker(RedisBroker(url=os.environ["BENCH_REDIS_URL"]))
for _number, _queue in enumerate(_queues):
    _name = ACTOR if _number == 0 else f"{ACTOR}_{_number}"

    @dramatiq.actor(actor_name=_name, queue_name=_queue)
    def record(*args: object, **kwargs: object) -> None:
        """Take a message."""
