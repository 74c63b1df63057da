"""The contract of a source and of its sessions: all that `bridge/delivery/` relies on and a new protocol has to keep.

A source's pipeline makes every call, on the event loop's thread, in this order:

    async with source.connect() as session:     one connection, subscribed; Disconnected if it cannot be made
        receive ...                             again and again, one batch each; Disconnected once the connection ends
        acknowledge ...                         from a second task, once a batch is written, spooled or lost
        pause                                   at a stop, from a third task, while `receive` may be waiting
        receive ... until it returns []         the events that came before the pause
        acknowledge ...                         the last of them
                                                leaving the context closes the connection

Only `connect` and `receive` raise, and only Disconnected (or a cancellation). The pipeline
(`bridge/delivery/pipeline.py`) then leaves the context, waits, and connects again: that gives a new session. No call of `receive` overlaps another one, and no call of
`acknowledge` another one. `fail` may come at any time: the watchdog uses it to make the pipeline connect again.

Late calls, to a session that has ended (by itself, by `fail`, or because its context was left), do no harm:

    receive         still returns the events that no broker redelivers, then raises Disconnected with the first cause
    acknowledge     only makes room: the broker redelivers these events to the next session
    pause, fail     nothing; the first cause stays
    the properties  stay readable; `waiting` counts the events that are lost unless `receive` still returns them

Redelivery is decided for each event. Its broker redelivers an event that was not acknowledged if `Source.redelivers` is
true and the event has a `token`. An event whose `token` is None comes only once, also from a source that redelivers
others: MQTT at QoS 0, for example.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from bridge.model.accounting import Missed
from bridge.model.event import Details, Event
from bridge.sources.window import InFlightWindow


class Session(Protocol):
    """Exactly one connection. It ends with its connection, and a reconnection makes a new session.

    Therefore an acknowledgement that comes too late meets a session that has ended, never a newer connection.
    """

    #: The promise that this connection keeps, in words, where the broker has granted less than the source asked for; else None.
    guarantee: str | None

    @property
    def ended(self) -> bool:
        """Whether the connection has ended: events not acknowledged so far are redelivered, or are lost."""
        ...

    @property
    def cause(self) -> str:
        """Why it has ended; "" while it has not."""
        ...

    @property
    def waiting(self) -> int:
        """How many events `receive` would still return."""
        ...

    @property
    def perishable(self) -> int:
        """How many of those nobody redelivers."""
        ...

    @property
    def held(self) -> int:
        """How many events were received from the broker and are not acknowledged; those that wait are among them."""
        ...

    @property
    def full(self) -> bool:
        """Whether the session holds as many events or bytes as `window` allows, and so reads no more."""
        ...

    @property
    def fill(self) -> float:
        """The share of `window` that is held, by number or by bytes: 1 and more is full."""
        ...

    @property
    def received(self) -> int:
        """How many events came from the broker."""
        ...

    @property
    def dropped(self) -> int:
        """How many of those `receive` never returns, since the session has ended and the broker redelivers them."""
        ...

    def fail(self, cause: str) -> None:
        """End the session, as if its connection had ended for this cause."""
        ...

    async def receive(self) -> list[Event]:
        """Wait for events and return those that have come, in order; an empty list once paused and empty.

        Raises:
            Disconnected: the connection has ended.
        """
        ...

    @abstractmethod
    async def acknowledge(self, events: Sequence[Event]) -> None:
        """Acknowledge `events`, at least one: the oldest ones that are held, in the order received.

        AMQP acknowledges all earlier events too. So an event that the broker is to redeliver is never acknowledged, and
        no later event with a `token` is either. Events without one may be acknowledged before their turn.
        """
        ...

    @abstractmethod
    async def pause(self) -> None:
        """Take no new events from the broker, but keep the connection: held events are still to be acknowledged."""
        ...


class WindowedSession(Session):
    """The base class of every session: an InFlightWindow holds its events, and gives the answers that are the same for every protocol.

    A subclass sets `_window`, puts the events it reads into it, and stops reading while it is full (MQTT: at two windows).
    It adds `acknowledge`, which calls `_window.acknowledged`, and `pause`, after which `_window.close` is called once no
    more events can come.
    """

    guarantee: str | None = None
    _window: InFlightWindow

    @property
    def ended(self) -> bool:
        """See `Session`."""
        return self._window.failed

    @property
    def cause(self) -> str:
        """See `Session`."""
        return self._window.cause

    @property
    def waiting(self) -> int:
        """See `Session`."""
        return self._window.waiting

    @property
    def perishable(self) -> int:
        """See `Session`."""
        return self._window.perishable

    @property
    def held(self) -> int:
        """See `Session`."""
        return self._window.held

    @property
    def full(self) -> bool:
        """See `Session`."""
        return self._window.full

    @property
    def fill(self) -> float:
        """See `Session`."""
        return self._window.fill

    @property
    def received(self) -> int:
        """See `Session`."""
        return self._window.received

    @property
    def dropped(self) -> int:
        """See `Session`."""
        return self._window.dropped

    def fail(self, cause: str) -> None:
        """See `Session`."""
        self._window.fail(cause)

    async def receive(self) -> list[Event]:
        """See `Session`."""
        return await self._window.take()


class SinkWatch(Protocol):
    """All that a source may know of the sink: whether its events can be written now.

    `bridge/delivery/` implements it as `SinkAvailability`. AMQP uses it to consume only while events can be written.
    """

    @property
    def available(self) -> bool:
        """Whether this source's last write succeeded and backpressure does not hold it back; true at first."""
        ...

    async def wait(self) -> None:
        """Return once `available` is true."""
        ...


class Source(Protocol):
    """One configured source, for the whole life of the process; each `connect` makes one session of it.

    `redelivers` says whether the broker redelivers events that were not acknowledged (those with a `token`); a connection
    may bring the news that it does not.
    `read` makes headers and meta of an event's `raw` when a spooled event is read from the disk; a source whose broker
    keeps every event has None, and is never spooled.
    `deliveries` returns how often the broker says that it has delivered an event before, 0 where it does not; None where
    it never says so.
    `missed` counts the events that it never saw, as far as it knows.
    """

    name: str
    redelivers: bool
    read: Callable[[Any], Details] | None
    deliveries: Callable[[Event], int] | None
    missed: Missed

    def connect(self) -> AbstractAsyncContextManager[Session]:
        """Connect, then subscribe or consume; leaving the context closes the connection within 2 s.

        A Disconnected that leaves the context's body passes through it, and may be replaced by a better one.

        Raises:
            Disconnected: no connection can be made now, or it was refused.
        """
        ...
