"""How a bridge stands, as one process says it to its parent, and as the admin server shows it. Seconds, bytes, plain numbers.

A snapshot is taken between two steps of the event loop, so all its numbers belong together. The state of several
processes is the sum of one snapshot of each.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec

from bridge.model.accounting import Counts, RouteCounts

#: The upper bounds of the histograms' buckets; the last bucket has none.
EVENTS_BUCKETS: Final = (1, 3, 10, 30, 100, 300, 1000)
SECONDS_BUCKETS: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)

#: `draining` from the first stopping signal on.
Phase = Literal["starting", "running", "draining"]


class Histogram(msgspec.Struct, omit_defaults=True):
    """How many observations fell into each bucket, one more than there are bounds; and their sum."""

    buckets: list[int] = []
    total: float = 0.0

    def observe(self, value: float, bounds: Sequence[float]) -> None:
        """Count `value`; the same `bounds` each time."""
        if not self.buckets:
            self.buckets = [0] * (len(bounds) + 1)
        self.buckets[bisect_left(bounds, value)] += 1
        self.total += value

    def copy(self) -> Histogram:
        """Return the observations until now."""
        return Histogram(list(self.buckets), self.total)

    def add(self, other: Histogram) -> None:
        """Add the observations of `other`, which has the same bounds."""
        if other.buckets:
            mine = self.buckets or [0] * len(other.buckets)
            self.buckets = [one + more for one, more in zip(mine, other.buckets, strict=True)]
            self.total += other.total


class SourceState(msgspec.Struct, omit_defaults=True):
    """A source, with the sessions that it has taken over.

    `in_flight` events are received and have no outcome; if the process ended now, those of them that are `perishable` would be
    lost. `spooled` ones wait on the disk, None where there is none (yet). `held` ones are received and not acknowledged, of
    the `window` that the source may hold. `fill` is the share of the window that is used, by number
    or bytes, from 0 to 1. `unacknowledged_s` is the time since the last acknowledgement while events are held, 0 while
    none is. `cause` says why it is not connected, since `disconnected_s`. The last event came `idle_s` ago, None before the first. `paused` is set by a person, `pressure` by a queue or a Redis that is
    full. `age` counts events by the time from their receipt to their write, of each batch the oldest one.
    """

    type: str
    guarantee: str = ""
    counts: Counts = msgspec.field(default_factory=Counts)
    connected: bool = False
    cause: str = ""
    disconnected_s: float = 0.0
    idle_s: float | None = None
    stuck: bool = False
    paused: bool = False
    pressure: bool = False
    pressure_cause: str = ""
    reconnects: int = 0
    #: Events that it never saw, and times of whose events nobody knows the number: see `Missed`.
    missed: int = 0
    gaps: int = 0
    in_flight: int = 0
    perishable: int = 0
    spooled: int | None = None
    spooled_bytes: int = 0
    held: int = 0
    window: int = 0
    fill: float = 0.0
    unacknowledged_s: float = 0.0
    batches: Histogram = msgspec.field(default_factory=Histogram)
    age: Histogram = msgspec.field(default_factory=Histogram)

    @property
    def accounting_error(self) -> int:
        """The difference between the events that came and those that are accounted for: 0, or the bridge has a fault."""
        return self.counts.came - self.counts.settled - self.in_flight - (self.spooled or 0)

    def add(self, other: SourceState) -> None:
        """Add the state of the same source in another process."""
        self.guarantee = self.guarantee or other.guarantee
        self.counts.add(other.counts)
        # Each process has a connection of its own: the source is connected once all are.
        self.connected &= other.connected
        self.cause = self.cause or other.cause
        self.stuck |= other.stuck
        self.paused |= other.paused
        self.pressure |= other.pressure
        self.pressure_cause = self.pressure_cause or other.pressure_cause
        self.disconnected_s = max(self.disconnected_s, other.disconnected_s)
        if other.idle_s is not None:
            self.idle_s = other.idle_s if self.idle_s is None else min(self.idle_s, other.idle_s)
        self.reconnects += other.reconnects
        self.missed += other.missed
        self.gaps += other.gaps
        self.in_flight += other.in_flight
        self.perishable += other.perishable
        if other.spooled is not None:
            self.spooled = (self.spooled or 0) + other.spooled
        self.spooled_bytes += other.spooled_bytes
        self.held += other.held
        self.window += other.window
        self.fill = max(self.fill, other.fill)
        self.unacknowledged_s = max(self.unacknowledged_s, other.unacknowledged_s)
        self.batches.add(other.batches)
        self.age.add(other.age)


class SinkState(msgspec.Struct, omit_defaults=True):
    """The sink. `cause` says why it takes no writes, `unready` why it must not have any though it would take them.

    `retries` counts writes that failed and were tried again. `writes` counts confirmed writes by their duration.
    """

    available: bool = True
    cause: str = ""
    unready: str = ""
    retries: int = 0
    writes: Histogram = msgspec.field(default_factory=Histogram)

    def add(self, other: SinkState) -> None:
        """Add the state of the sink as another process sees it."""
        self.available &= other.available
        self.cause = self.cause or other.cause
        self.unready = self.unready or other.unready
        self.retries += other.retries
        self.writes.add(other.writes)


class QueueState(msgspec.Struct, omit_defaults=True):
    """A queue of Dramatiq's. Messages wait, are delayed, are in the hands of workers, or are dead."""

    waiting: int = 0
    delayed: int = 0
    in_flight: int = 0
    dead: int = 0


class ProcessState(msgspec.Struct, omit_defaults=True):
    """A snapshot of one process.

    `queues` is None where it did not ask: one process asks for all. `paused_routes` are those that a person has paused.
    `lag_s` is the longest delay of the event loop in the last seconds. `cpu_s` is the processor's time that it has taken,
    `memory_bytes` its resident memory, with what it shares with others. `spool_fill` is the share of its spool that is used.
    `lines_left_out` counts lines of the log that nobody took.
    """

    sources: dict[str, SourceState] = {}
    sink: SinkState = msgspec.field(default_factory=SinkState)
    queues: dict[str, QueueState] | None = None
    #: Why the queues are not known.
    queues_cause: str = ""
    paused_routes: list[str] = []
    lag_s: float = 0.0
    cpu_s: float = 0.0
    memory_bytes: int = 0
    spool_fill: float = 0.0
    lines_left_out: int = 0


class RouteState(msgspec.Struct, omit_defaults=True):
    """A route of the configuration. Its numbers stand in the counts of its source.

    `targets` are the queues and actors of its messages where an event chooses among several, `steps` of its `then`.
    """

    source: str
    actor: str
    queue: str
    topic: str | None = None
    when: str | None = None
    paused: bool = False
    targets: list[tuple[str, str]] = []
    steps: list[tuple[str, str]] = []
    otherwise: bool = False


class BridgeState(msgspec.Struct, omit_defaults=True):
    """A whole bridge. Times are epoch seconds.

    `fingerprint` is the SHA-256 of the file's text, with all that it includes. `reloads` counts attempts by their result. `processes` is the number of those that are
    ready, of `expected`; `restarts` counts those that were started again because one had ended.
    """

    version: str
    phase: Phase
    config: str
    fingerprint: str
    loaded_at: float
    started_at: float
    sink_url: str
    namespace: str
    expected: int = 1
    processes: int = 1
    restarts: int = 0
    reloads: dict[str, int] = {}
    #: The newest reload that changed nothing, and why.
    reload_cause: str = ""
    sources: dict[str, SourceState] = {}
    sink: SinkState = msgspec.field(default_factory=SinkState)
    routes: dict[str, RouteState] = {}
    queues: dict[str, QueueState] = {}
    queues_cause: str = ""
    lag_s: float = 0.0
    cpu_s: float = 0.0
    memory_bytes: int = 0
    spool_fill: float = 0.0
    lines_left_out: int = 0

    def counts_of_route(self, name: str) -> RouteCounts:
        """Return the counts of a route of the configuration: those of its source have it once an event has come to it."""
        source = self.sources.get(self.routes[name].source)
        return (source.counts.routes.get(name) if source is not None else None) or RouteCounts()

    def take(self, states: Iterable[ProcessState]) -> None:
        """Add up the snapshots of all processes."""
        for state in states:
            for name, source in state.sources.items():
                self.sources.setdefault(name, SourceState(source.type, connected=True)).add(source)
            self.sink.add(state.sink)
            self.queues.update(state.queues or {})
            self.queues_cause = self.queues_cause or state.queues_cause
            self.lag_s = max(self.lag_s, state.lag_s)
            self.cpu_s += state.cpu_s
            self.memory_bytes += state.memory_bytes
            self.lines_left_out += state.lines_left_out
            self.spool_fill = max(self.spool_fill, state.spool_fill)
            for name in state.paused_routes:
                if name in self.routes:
                    self.routes[name].paused = True
