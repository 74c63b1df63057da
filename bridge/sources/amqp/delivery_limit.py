"""The delivery limit of quorum queues: RabbitMQ 4 drops an event that it has delivered 20 times, without a trace.

Unless the queue has a dead-letter exchange, or `x-delivery-limit: -1`. AMQP shows nobody the arguments and policies of a
queue, so only the header `x-delivery-count`, which a redelivered event has, tells that there may be a limit.
"""

from __future__ import annotations

from typing import Final

from bridge.config import Amqp
from bridge.config.sources import delivery_limit
from bridge.errors import BadEvent
from bridge.model.event import Event
from bridge.observe.logs import logger

log = logger()
_REMEDY: Final = "set x-delivery-limit: -1 or a dead-letter exchange for the queue"


class DeliveryLimit:
    """Reads the broker's count of deliveries, and says once that a limit may drop events."""

    def __init__(self, source: str, config: Amqp) -> None:
        self._source = source
        self._queue = config.queue
        self._arguments = config.declare.arguments if config.declare else {}
        self._limit = delivery_limit(self._arguments)
        self._logged = False

    def log_declared(self) -> None:
        """Log the limit of a quorum queue that the bridge itself declares."""
        if self._arguments.get("x-queue-type") == "quorum":
            self._log("a quorum queue of which RabbitMQ 4 drops an event that it has delivered {} times")

    def count(self, event: Event) -> int:
        """Return the event's `x-delivery-count`, 0 without one."""
        try:
            count = event.details()[0].get("x-delivery-count")
        except BadEvent:
            return 0
        if not isinstance(count, int):
            return 0
        self._log(
            "a quorum queue: unless a policy says otherwise, RabbitMQ 4 drops an event that it has delivered {} times"
        )
        return count

    def _log(self, cause: str) -> None:
        if self._limit is not None and not self._logged:
            self._logged = True
            cause = cause.format(self._limit)
            log.warning("source.delivery_limit", source=self._source, queue=self._queue, cause=cause, remedy=_REMEDY)
