"""The place between receiving and delivering a batch: for one, but for those that a predecessor has left."""

from __future__ import annotations

import asyncio

from bridge.delivery.policy import Delivery


class Handover(asyncio.Queue[Delivery]):
    """A queue of one delivery."""

    def __init__(self) -> None:
        super().__init__(maxsize=1)

    def items(self) -> list[Delivery]:
        """Return the deliveries that wait, oldest first."""
        return list(self._queue)  # type: ignore[attr-defined] # a deque: see asyncio.Queue._init

    def put_first(self, delivery: Delivery) -> None:
        """Add a delivery of a predecessor, however many there are, before anybody waits."""
        self._maxsize = 0
        self.put_nowait(delivery)
        self._maxsize = 1


def taken_apart(delivery: Delivery) -> list[Delivery]:
    """Return the delivery and each rest of it, none of which has a rest any more."""
    parts = list(delivery.chain())
    for part in parts:
        part.rest = None
    return parts
