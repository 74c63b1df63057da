"""The application of config/examples/audit-stream.yaml."""

from __future__ import annotations

import dramatiq
from dramatiq.brokers.stub import StubBroker

from tests.app.calls import called

broker = StubBroker()


@dramatiq.actor(broker=broker)
def note_login(user: str, at_ms: int) -> None:
    """Note when somebody came."""
    called("note_login", user, at_ms)


@dramatiq.actor(broker=broker, queue_name="archive")
def archive(entry: dict[str, str], id: str) -> None:  # noqa: A002 - the example's name
    """Keep an entry."""
    called("archive", entry=entry, id=id)
