"""The application of config/examples/shop-orders.yaml."""

from __future__ import annotations

from typing import Any

import dramatiq
from dramatiq.brokers.stub import StubBroker

from tests.app.calls import called

broker = StubBroker()


@dramatiq.actor(broker=broker, queue_name="picking")
def pick_line(order: str, position: int, article: str, quantity: int, cents: int) -> None:
    """Fetch the articles of one line."""
    called("pick_line", order, position, article, quantity, cents)


@dramatiq.actor(broker=broker, queue_name="accounting")
def write_invoice(order: str, account: str, ordered_at: int, total: str) -> str:
    """Write the invoice, and return its number."""
    called("write_invoice", order, account, ordered_at, total)
    return f"I-{order}"


@dramatiq.actor(broker=broker, queue_name="mail")
def send_invoice(number: str) -> None:
    """Send the invoice."""
    called("send_invoice", number)


@dramatiq.actor(broker=broker, queue_name="accounting")
def check_payment(order: str) -> None:
    """See whether the order is paid."""
    called("check_payment", order)


@dramatiq.actor(broker=broker)
def note_event(topic: str, payload: Any) -> None:
    """Note an event that nobody else takes."""
    called("note_event", topic, payload)
