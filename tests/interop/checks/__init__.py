"""The checks, by protocol. A check is a function of a `Trial`; its docstring's first line says what is done.

Its name in the table is its function's, with hyphens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tests.interop.checks import amqp, common, mqtt, redis
from tests.interop.outcome import Outcomes
from tests.interop.trial import Trial

Check = Callable[[Trial], Outcomes]
_COMMON: Final[tuple[Check, ...]] = (
    common.events,
    common.bridge_kill,
    common.broker_restart,
    common.broker_kill,
    common.large_bodies,
)
#: The checks that RabbitMQ's streams have too.
STREAMED: Final = frozenset({"events", "bridge-kill", "broker-restart", "broker-kill", "filter"})
#: By family, in the order in which they are run.
CHECKS: Final[dict[str, tuple[Check, ...]]] = {
    "amqp": (*_COMMON, amqp.limits, amqp.prefetch, amqp.names, amqp.declarations, amqp.filter_),
    "mqtt": (*_COMMON, mqtt.limits, mqtt.wildcards, mqtt.shared, mqtt.retained),
    "redis": (*_COMMON, redis.worker),
}


def name_of(check: Check) -> str:
    """Return a check's name in the table and in `lacks`."""
    return getattr(check, "__name__", "").rstrip("_").replace("_", "-")


def family_of(protocols: frozenset[str]) -> str:
    """Return which checks these protocols have."""
    return min(protocols).partition("-")[0]
