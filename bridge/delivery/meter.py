"""The meter of one source: its connections, batches and acknowledgements, as far as the counts do not say it."""

from __future__ import annotations

import time

from bridge.config import SourceConfig
from bridge.model.batch import Batch
from bridge.model.state import EVENTS_BUCKETS, SECONDS_BUCKETS, Histogram, SourceState
from bridge.sources.contract import Session


class SourceMeter:
    """Measures for one source; each call costs a fraction of a microsecond, and belongs to a batch."""

    def __init__(self, config: SourceConfig) -> None:
        self._type = config.type
        self._window = config.window.events
        self._connections = 0
        self._cause = ""
        #: In monotonic seconds, as all times here; 0 while it is connected.
        self._disconnected_since = time.monotonic()
        self._received_at: float | None = None
        self._batches = Histogram()
        self._age = Histogram()
        #: Since when events are held and none is acknowledged; 0 while none is held.
        self._unacknowledged_since = 0.0

    def succeed(self, other: SourceMeter) -> None:
        """Go on with the numbers of a predecessor."""
        self._connections, self._batches, self._age = other._connections, other._batches, other._age
        self._received_at = other._received_at

    def closed(self) -> None:
        """Note that the connection was closed on purpose."""
        self.disconnected("")

    def connected(self) -> None:
        """Note a new connection."""
        self._connections += 1
        self._cause, self._disconnected_since = "", 0.0

    def disconnected(self, cause: str) -> None:
        """Note why the source has no connection."""
        self._cause = cause
        self._disconnected_since = self._disconnected_since or time.monotonic()
        self._unacknowledged_since = 0.0

    def received(self, events: int) -> None:
        """Note a batch as it was received."""
        self._batches.observe(events, EVENTS_BUCKETS)
        self._received_at = now = time.monotonic()
        self._unacknowledged_since = self._unacknowledged_since or now

    def acknowledged(self, session: Session) -> None:
        """Note that events were acknowledged."""
        self._unacknowledged_since = time.monotonic() if session.held else 0.0

    def written(self, batch: Batch) -> None:
        """Note a batch that was written."""
        self._age.observe(max(0.0, time.time() - batch.events[0].received_at_ms / 1000), SECONDS_BUCKETS)

    def state(self, session: Session | None) -> SourceState:
        """Return the state as far as this object knows it."""
        now, since = time.monotonic(), self._unacknowledged_since
        connected = session is not None and not session.ended
        if not connected:
            # A session may have ended while its last batch still waits: nobody connects anew before that is handed over.
            self._disconnected_since = self._disconnected_since or now
        state = SourceState(
            self._type,
            connected=connected,
            cause=session.cause if session is not None and session.ended else self._cause,
            disconnected_s=0.0 if connected else now - self._disconnected_since,
            idle_s=None if self._received_at is None else now - self._received_at,
            reconnects=max(0, self._connections - 1),
            window=self._window,
            unacknowledged_s=now - since if since else 0.0,
            batches=self._batches.copy(),
            age=self._age.copy(),
        )
        if session is not None:
            state.held, state.fill = session.held, min(1.0, session.fill)
        return state
