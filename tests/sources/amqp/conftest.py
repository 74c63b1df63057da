"""A RabbitMQ stream for the tests that read one."""

from __future__ import annotations

import pytest

from tests.support.brokers import RabbitMQ
from tests.support.feeds import AmqpStreamFeed


@pytest.fixture
def stream(rabbitmq: RabbitMQ) -> AmqpStreamFeed:
    """An empty one of its own."""
    made = AmqpStreamFeed(rabbitmq)
    made.prepare()
    return made
