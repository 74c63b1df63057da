"""The fault matrix in its short form: the brokers that events come from, and what comes in."""

from __future__ import annotations

import pytest

from tests.faults.experiment import run
from tests.faults.rows import named
from tests.faults.stage import Brokers

pytestmark = pytest.mark.timeout(240)

FAST = (
    *(
        "rabbitmq-kill",
        "rabbitmq-queue-deleted",
        "rabbitmq-pause",
        "rabbitmq-consumer-timeout",
        "rabbitmq-delivery-limit",
    ),
    *("mosquitto-restart", "mosquitto-kill", "mosquitto-flapping", "mosquitto-half-open"),
    *("events-kill", "sources-refuse", "input-hostile", "input-topics"),
)
LIBRARY = ("rabbitmq-connections-closed", "mosquitto-restart", "sources-reset", "input-hostile")


@pytest.mark.parametrize("name", FAST)
def test_a_row_holds(name: str, brokers: Brokers) -> None:
    """Nothing is lost but by the broker itself, nothing twice beyond the bound, no orphan; back in time, and said once."""
    result = run(named(name), brokers)
    assert not result.failures, result.report()


@pytest.mark.parametrize("name", LIBRARY)
def test_a_row_holds_where_the_library_reads(name: str, brokers: Brokers) -> None:
    """The same with `fast_path: false`."""
    result = run(named(name), brokers, fast=False)
    assert not result.failures, result.report()
