"""The contracts of a source and of its session."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from bridge.model.event import Details, Event


class Session(Protocol):
    """Exactly one connection; it ends with it, and a reconnection is a new session.

    So a settlement that comes too late meets a session that has ended, and harms nothing.
    """

    @property
    def ended(self) -> bool:
        """Whether the connection has ended: what it delivered and was not settled comes again, if it ever does."""
        ...

    @property
    def waiting(self) -> int:
        """How many events `receive` would still hand over."""
        ...

    @property
    def held(self) -> int:
        """How many events were received and are not settled."""
        ...

    @property
    def full(self) -> bool:
        """Whether it holds as many as it may, and reads no more."""
        ...

    def fail(self, cause: str) -> None:
        """End the session, as if its connection had ended."""
        ...

    async def receive(self) -> list[Event]:
        """Return what has been received, at least one event; an empty list once paused and drained.

        Raises:
            Disconnected: the connection has ended.
        """
        ...

    async def acknowledge(self, events: Sequence[Event]) -> None:
        """Acknowledge `events`, the oldest that were received and not settled, in their order.

        On a session that has ended this does nothing: the broker delivers them again.
        """
        ...

    async def pause(self) -> None:
        """Take nothing new from the broker, and keep the connection for what is still to be settled."""
        ...


class SinkWatch(Protocol):
    """What a source may know of where its events go."""

    @property
    def available(self) -> bool:
        """Whether the last write of this source's events has succeeded; where none was tried, True."""
        ...

    async def wait(self) -> None:
        """Return once it is available."""
        ...


class Source(Protocol):
    """One configured source; `redelivers` says whether its broker delivers again what was not settled.

    `read` makes headers and meta of the `raw` of an event that was kept in the spool; None where the
    broker keeps every event itself, and nothing is spooled.
    """

    name: str
    redelivers: bool
    read: Callable[[Any], Details] | None

    def connect(self) -> AbstractAsyncContextManager[Session]:
        """Connect, and subscribe or consume; leaving the context closes the connection within 2 s.

        Raises:
            Disconnected: it could not be done now.
        """
        ...
