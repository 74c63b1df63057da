"""The application of config/examples/publishers.yaml."""

from __future__ import annotations

import dramatiq
from dramatiq.brokers.stub import StubBroker

from tests.app.calls import called

broker = StubBroker()


@dramatiq.actor(broker=broker)
def reserve_stock(order: str, sent_at: int) -> None:
    """Reserve what an order needs."""
    called("reserve_stock", order, sent_at)


@dramatiq.actor(broker=broker)
def note_payment(order: str, cents: int, request: str | None) -> None:
    """Note a payment."""
    called("note_payment", order, cents, request)


@dramatiq.actor(broker=broker)
def resize(picture: int, name: str, width: int = 100) -> None:
    """Make a picture smaller; it was a task of Celery."""
    called("resize", picture, name, width)


@dramatiq.actor(broker=broker)
def send_receipt(order: str) -> None:
    """Send a receipt; it was a task of Celery."""
    called("send_receipt", order)


@dramatiq.actor(broker=broker)
def report_task(task: str, task_id: str, root_id: str) -> None:
    """Tell somebody of a task that only Celery can run."""
    called("report_task", task, task_id, root_id)
