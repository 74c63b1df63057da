"""The window of one session: the events that are received and not acknowledged, bounded in number and bytes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from bridge.config import Window
from bridge.errors import Disconnected
from bridge.model.batch import MAX_BATCH_BYTES, MAX_BATCH_EVENTS
from bridge.model.event import Event

#: The batch of a small window is not limited to a quarter of it, but to so many events.
_MIN_BATCH_EVENTS: Final = 100


class InFlightWindow:
    """A queue from a protocol's callbacks (`put`) to delivery (`take`), which counts events until they are acknowledged.

    While the window is `full` the session must not read; `on_room` is called when there is room again. `redelivered`
    says whether the broker redelivers events with a `token` that are not acknowledged.
    """

    def __init__(self, window: Window, on_room: Callable[[], None] = lambda: None, *, redelivered: bool) -> None:
        self._max_events = window.events
        #: How many events one batch may have. A quarter of the window: while one batch is written, the next one waits, a
        #: third is routed and a fourth received. With halves the stages waited for each other, and streams moved at two
        #: thirds of the speed (observed).
        self.max_batch = min(MAX_BATCH_EVENTS, max(_MIN_BATCH_EVENTS, window.events // 4))
        self._max_bytes = window.bytes
        self._on_room = on_room
        self.redelivered = redelivered
        #: How many events were put, and how many of them are dropped, since the broker redelivers them.
        self.received = self.dropped = 0
        self._waiting: deque[Event] = deque()
        self._events = 0
        self._bytes = 0
        self._wake = asyncio.Event()
        self._cause: str | None = None
        self._closed = False

    @property
    def full(self) -> bool:
        """Whether the window holds as many events or bytes as it may."""
        return self._events >= self._max_events or self._bytes >= self._max_bytes

    @property
    def fill(self) -> float:
        """The share of the window that is held, by number or by bytes: 1 and more is full."""
        return max(self._events / self._max_events, self._bytes / self._max_bytes)

    @property
    def over_byte_limit(self) -> bool:
        """Whether the window holds as many bytes as it may; no protocol limits bytes by itself."""
        return self._bytes >= self._max_bytes

    @property
    def held(self) -> int:
        """How many events are received and not acknowledged."""
        return self._events

    @property
    def room(self) -> tuple[int, int]:
        """How many events and bytes more the window may hold."""
        return max(0, self._max_events - self._events), max(0, self._max_bytes - self._bytes)

    @property
    def waiting(self) -> int:
        """How many events wait to be taken."""
        return len(self._waiting)

    @property
    def perishable(self) -> int:
        """How many of the events that wait nobody redelivers."""
        return sum([event.token is None for event in self._waiting]) if self.redelivered else len(self._waiting)

    @property
    def cause(self) -> str:
        """Why the session has ended; "" while it has not."""
        return self._cause or ""

    @property
    def failed(self) -> bool:
        """Whether the session has ended."""
        return self._cause is not None

    def put(self, events: Sequence[Event]) -> None:
        """Add received events, in order; once the session has failed, only those that nobody redelivers."""
        if self._cause is not None and self.redelivered:
            events = [event for event in events if event.token is None]
        self._waiting.extend(events)
        self._events += len(events)
        self.received += len(events)
        self._bytes += _size(events)
        self._wake.set()

    async def take(self) -> list[Event]:
        """Wait for events and return one batch of them; an empty list once the window is closed and empty.

        Raises:
            Disconnected: the session has failed, and every event that would be lost has been taken.
        """
        while not self._waiting:
            if self._cause is not None:
                raise Disconnected(self._cause)
            if self._closed:
                return []
            self._wake.clear()
            await self._wake.wait()
        waiting = self._waiting
        if len(waiting) <= self.max_batch and self._bytes < MAX_BATCH_BYTES:
            events = list(waiting)
            waiting.clear()
            return events
        events = []
        size = 0
        while waiting and len(events) < self.max_batch and size < MAX_BATCH_BYTES:
            event = waiting.popleft()
            size += event.size
            events.append(event)
        return events

    def acknowledged(self, events: Sequence[Event]) -> None:
        """Make room: `events` are acknowledged, or nobody needs them any more."""
        was_full = self.full
        self._events -= len(events)
        self._bytes -= _size(events)
        if was_full and not self.full:
            self._on_room()

    def fail(self, cause: str) -> None:
        """End the session: drop the waiting events that the broker redelivers, and keep the others for `take`.

        An event without a `token` is never redelivered: see `bridge.sources.contract`.
        """
        if self._cause is None:
            self._cause = cause
        if self.redelivered:
            before = len(self._waiting)
            self._waiting = deque(event for event in self._waiting if event.token is None)
            self.dropped += before - len(self._waiting)
        self._wake.set()

    def close(self) -> None:
        """Let `take` return the events that wait, and an empty list once there are none."""
        self._closed = True
        self._wake.set()


def _size(events: Sequence[Event]) -> int:
    return sum([event.size for event in events])  # a list: twice as fast as a generator
