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
        self._batches = Histogram()
        self._age = Histogram()
        #: Since when events are held and none is acknowledged, in monotonic seconds; 0 while none is held.
        self._unacknowledged_since = 0.0

    def succeed(self, other: SourceMeter) -> None:
        """Go on with the numbers of a predecessor."""
        self._connections, self._batches, self._age = other._connections, other._batches, other._age

    def closed(self) -> None:
        """Note that the connection was closed on purpose."""
        self.disconnected("")

    def connected(self) -> None:
        """Note a new connection."""
        self._connections += 1
        self._cause = ""

    def disconnected(self, cause: str) -> None:
        """Note why the source has no connection."""
        self._cause = cause
        self._unacknowledged_since = 0.0

    def received(self, events: int) -> None:
        """Note a batch as it was received."""
        self._batches.observe(events, EVENTS_BUCKETS)
        if not self._unacknowledged_since:
            self._unacknowledged_since = time.monotonic()

    def acknowledged(self, session: Session) -> None:
        """Note that events were acknowledged."""
        self._unacknowledged_since = time.monotonic() if session.held else 0.0

    def written(self, batch: Batch) -> None:
        """Note a batch that was written."""
        self._age.observe(max(0.0, time.time() - batch.events[0].received_at_ms / 1000), SECONDS_BUCKETS)

    def state(self, session: Session | None) -> SourceState:
        """Return the state as far as this object knows it."""
        since = self._unacknowledged_since
        state = SourceState(
            self._type,
            connected=session is not None,
            cause=self._cause,
            reconnects=max(0, self._connections - 1),
            window=self._window,
            unacknowledged_s=time.monotonic() - since if since else 0.0,
            batches=self._batches.copy(),
            age=self._age.copy(),
        )
        if session is not None:
            state.held, state.fill = session.held, min(1.0, session.fill)
        return state
