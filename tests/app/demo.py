"""The application of config/examples/demo.yaml, with the signatures that the demo's own actors have."""

from __future__ import annotations

import dramatiq
from dramatiq.brokers.stub import StubBroker

from tests.app.calls import called

broker = StubBroker()


@dramatiq.actor(broker=broker, queue_name="alarms")
def raise_alarm(plant: str, oven: int, celsius: float, severity: str) -> None:
    """Wake somebody up."""
    called("raise_alarm", plant, oven, celsius, severity=severity)


@dramatiq.actor(broker=broker)
def record_temperature(plant: str, oven: int, celsius: float) -> None:
    """Record a temperature."""
    called("record_temperature", plant, oven, celsius)


@dramatiq.actor(broker=broker)
def send_welcome_email(user_id: int, text: str) -> None:
    """Welcome a user."""
    called("send_welcome_email", user_id, text)


@dramatiq.actor(broker=broker)
def keep_audit_entry(user: str, action: str, entry: str) -> None:
    """Keep an entry."""
    called("keep_audit_entry", user, action, entry=entry)
