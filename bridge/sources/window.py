"""The window of one session: what was received and is not settled, bounded in events and bytes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from bridge.config import Window
from bridge.errors import Disconnected
from bridge.model.batch import MAX_BATCH_BYTES, MAX_BATCH_EVENTS
from bridge.model.event import Event

_FEWEST: Final = 100


class InFlightWindow:
    """Between a protocol's callbacks, which put, and the dispatcher, which takes and settles.

    While it is `full` the session must not read; `on_room` is called when it may again.
    """

    def __init__(self, window: Window, on_room: Callable[[], None] = lambda: None, *, redelivered: bool) -> None:
        self._max_events = window.events
        # A quarter: while one batch is written and the next one waits, a third is routed and a fourth received.
        # With halves every stage waited for another, and streams moved at two thirds of the speed (observed).
        self.max_batch = min(MAX_BATCH_EVENTS, max(_FEWEST, window.events // 4))
        self._max_bytes = window.bytes
        self._on_room = on_room
        self._redelivered = redelivered
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
    def over_byte_limit(self) -> bool:
        """Whether the window holds as many bytes as it may; no protocol bounds these by itself."""
        return self._bytes >= self._max_bytes

    @property
    def held(self) -> int:
        """How many events are received and not settled."""
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
    def failed(self) -> bool:
        """Whether the session has ended."""
        return self._cause is not None

    def put(self, events: Sequence[Event]) -> None:
        """Add events that have been received, in their order."""
        self._waiting.extend(events)
        self._events += len(events)
        self._bytes += _size(events)
        self._wake.set()

    async def take(self) -> list[Event]:
        """Return what is there, at least one event; an empty list once the inbox is closed and empty.

        Raises:
            Disconnected: the session has failed, and nothing is left that would be lost.
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
            size += len(event.body)
            events.append(event)
        return events

    def acknowledged(self, events: Sequence[Event]) -> None:
        """Make room: `events` need not be held any more."""
        was_full = self.full
        self._events -= len(events)
        self._bytes -= _size(events)
        if was_full and not self.full:
            self._on_room()

    def fail(self, cause: str) -> None:
        """End the session; what its broker will deliver again is let go, anything else is still handed over.

        An event without a token (MQTT at QoS 0) comes once, also where others come again.
        """
        if self._cause is None:
            self._cause = cause
        if self._redelivered:
            self._waiting = deque(event for event in self._waiting if event.token is None)
        self._wake.set()

    def close(self) -> None:
        """Nothing more will be put: `take` returns what is left, and then an empty list."""
        self._closed = True
        self._wake.set()


def _size(events: Sequence[Event]) -> int:
    return sum([len(event.body) for event in events])  # a list: twice as fast as a generator


class WindowedSession:
    """What every session that has an inbox does alike: see `bridge.sources.contract.Session`."""

    _window: InFlightWindow

    @property
    def ended(self) -> bool:
        """Whether the connection has ended."""
        return self._window.failed

    @property
    def waiting(self) -> int:
        """How many events `receive` would still hand over."""
        return self._window.waiting

    @property
    def held(self) -> int:
        """How many events were received and are not settled."""
        return self._window.held

    @property
    def full(self) -> bool:
        """Whether it holds as many as it may, and reads no more."""
        return self._window.full

    def fail(self, cause: str) -> None:
        """End the session, as if its connection had ended."""
        self._window.fail(cause)

    async def receive(self) -> list[Event]:
        """Return what has been received, at least one event; an empty list once paused and drained."""
        return await self._window.take()
