"""The application of config/examples/demo.yaml, with the signatures that the demo's own actors have."""

from __future__ import annotations

import dramatiq
from dramatiq.brokers.stub import StubBroker

from tests.app.calls import called

broker = StubBroker()


@dramatiq.actor(broker=broker, queue_name="alarms")
def raise_alarm(plant: str, oven: int, celsius: float) -> None:
    """Wake somebody up."""
    called("raise_alarm", plant, oven, celsius)


@dramatiq.actor(broker=broker)
def record(plant: str, oven: int, celsius: float) -> None:
    """Record a temperature."""
    called("record", plant, oven, celsius)


@dramatiq.actor(broker=broker)
def welcome(user_id: int, name: str) -> None:
    """Welcome a user."""
    called("welcome", user_id, name)


@dramatiq.actor(broker=broker)
def keep(user: str, action: str) -> None:
    """Keep an entry."""
    called("keep", user, action)
