"""The fault matrix in its short form: the brokers that events come from, and what comes in."""

from __future__ import annotations

import pytest

from tests.faults.experiment import run
from tests.faults.rows import named
from tests.faults.stage import Brokers

FAST = (
    *("rabbitmq-kill", "rabbitmq-queue-deleted", "rabbitmq-pause"),
    *("rabbitmq-consumer-timeout", "rabbitmq-delivery-limit"),
    *("mosquitto-restart", "mosquitto-kill", "mosquitto-flapping", "mosquitto-half-open"),
    *("events-kill", "sources-refuse", "input-hostile", "input-topics", "input-garbage"),
    *("neighbour-dead", "neighbour-expired", "neighbour-black-hole", "neighbour-dead-resolver"),
)
LIBRARY = (
    *("rabbitmq-connections-closed", "mosquitto-restart", "sources-reset", "input-hostile"),
    "neighbour-black-hole",
)


@pytest.mark.parametrize(("name", "fast"), [*((name, True) for name in FAST), *((name, False) for name in LIBRARY)])
def test_a_row_holds(name: str, fast: bool, brokers: Brokers) -> None:
    """Nothing is lost but by the broker itself, nothing twice beyond the bound, no orphan; it recovers, and says it once."""
    result = run(named(name), brokers, fast=fast)
    assert not result.failures, result.report()
