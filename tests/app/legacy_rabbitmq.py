"""The application of config/examples/legacy-rabbitmq.yaml."""

from __future__ import annotations

from typing import Any

import dramatiq
from dramatiq.brokers.stub import StubBroker

from tests.app.calls import called

broker = StubBroker()


@dramatiq.actor(broker=broker)
def reserve_stock(order_id: str, lines: list[dict[str, Any]]) -> None:
    """Reserve each line of an order."""
    called("reserve_stock", order_id, lines)


@dramatiq.actor(broker=broker)
def release_stock(order_id: str, request: str | None = None) -> None:
    """Release an order's stock."""
    called("release_stock", order_id=order_id, request=request)
