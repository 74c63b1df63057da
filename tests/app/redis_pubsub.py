"""The application of config/examples/redis-pubsub.yaml."""

from __future__ import annotations

import dramatiq
from dramatiq.brokers.stub import StubBroker

from tests.app.calls import called

broker = StubBroker()


@dramatiq.actor(broker=broker)
def send_welcome_email(user_id: int, text: str) -> None:
    """Welcome a user."""
    called("send_welcome_email", user_id, text)
