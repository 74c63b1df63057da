"""The application of config/examples/rabbitmq-stream.yaml."""

from __future__ import annotations

import dramatiq
from dramatiq.brokers.stub import StubBroker

from tests.app.calls import called

broker = StubBroker()


@dramatiq.actor(broker=broker)
def bill_reading(meter: str, kwh: float, at_ms: int) -> None:
    """Bill a reading."""
    called("bill_reading", meter, kwh, at_ms)
