"""A source and a sink in memory: the core's policies without a broker, and without a Redis."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from bridge.config import Dramatiq, Mqtt, Window
from bridge.delivery.backpressure import Backpressure
from bridge.delivery.pipeline import SourcePipeline
from bridge.delivery.sink_context import SinkContext
from bridge.errors import SinkUnavailable
from bridge.model.accounting import Missed
from bridge.model.batch import Batch, Written
from bridge.model.event import Details, Event, already_parsed
from bridge.model.state import QueueState
from bridge.sink import Memory
from bridge.sink.health import SinkHealth
from bridge.sink.rights import Denial
from bridge.sources.contract import WindowedSession
from bridge.sources.window import InFlightWindow
from tests.support.routing import router

ROUTES: Final[list[dict[str, Any]]] = [{"actor": "record", "args": ["$payload.n"]}]


def event(n: int, token: object = None) -> Event:
    """Make an event; with a token its broker redelivers it until it is acknowledged."""
    return Event("s", "a/b", b'{"n": %d}' % n, 0, token)


def number(one: Event) -> int:
    """Return the n of `event(n)`; -1 for an event with another body."""
    return int(one.body[6:-1] or -1)


class MemorySession(WindowedSession):
    """One connection: a test puts events into `window`, and sees which are acknowledged."""

    def __init__(self, source: MemorySource, events: int) -> None:
        self._window = self.window = InFlightWindow(Window(events=events), redelivered=source.redelivers)
        self._source = source

    async def acknowledge(self, events: Sequence[Event]) -> None:
        """Note the events as acknowledged, unless the session has ended."""
        if not self.ended:
            self._source.log += [("acknowledged", number(one)) for one in events]
        self._window.acknowledged(events)

    async def pause(self) -> None:
        """Take nothing new."""
        self._window.close()


class MemorySource:
    """A broker and its source; `log` tells in their order what was acknowledged, and what a MemorySink has written."""

    name = "s"
    read: Callable[[Any], Details] | None = staticmethod(already_parsed)
    deliveries: Callable[[Event], int] | None = None

    def __init__(self, *, redelivers: bool, window: int = 1000) -> None:
        self.redelivers = redelivers
        self.missed = Missed()
        self.log: list[tuple[str, int]] = []
        self.session: MemorySession | None = None
        self._window = window

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[MemorySession]:
        """Make a new session."""
        self.session = session = MemorySession(self, self._window)
        try:
            yield session
        finally:
            session.fail("the connection was closed")

    async def deliver(self, *events: Event) -> MemorySession:
        """Deliver `events` by the present session, once there is one; return the session."""
        await until(lambda: self.session)
        assert self.session is not None
        self.session.window.put(events)
        return self.session

    def numbers(self, kind: str) -> list[int]:
        """Return the numbers of the events in the log as `kind`."""
        return [n for logged, n in self.log if logged == kind]


class MemorySink:
    """Takes writes into the log of a MemorySource; not while it is `away`."""

    def __init__(self, source: MemorySource) -> None:
        self.away = False
        self.attempts = 0
        #: The number of each event and the actor of each of its messages, in the order written.
        self.calls: list[tuple[int, str]] = []
        self._log = source.log

    async def probe(self) -> None:
        """Fail while it is away."""
        if self.away:
            raise SinkUnavailable("away")

    ping = probe

    async def write(self, batch: Batch) -> Written:
        """Write the batch, in a round of the loop of its own."""
        self.attempts += 1
        await asyncio.sleep(0)
        await self.probe()
        if batch.written is None:
            self._log += [("written", number(one)) for one in batch.events]
            self.calls += [
                (number(batch.events[index]), json.loads(body)["actor_name"])
                for column in batch.queues.values()
                for index, (_, body) in zip(column.event_indexes, column.messages, strict=True)
            ]
            batch.written = Written(sum(len(column.messages) for column in batch.queues.values()), duplicates=0)
        return batch.written

    async def queue_length(self, queue: str) -> int:
        """Every queue is empty."""
        del queue
        return 0

    async def queue_state(self, queue: str) -> QueueState:
        """See `Sink`."""
        del queue
        return QueueState()

    async def memory(self) -> Memory:
        """There is no bound."""
        return Memory(0, 0)

    async def is_durable(self) -> bool:
        """See `Sink`."""
        return True

    async def outdated(self) -> str:
        """See `Sink`."""
        return ""

    async def missing_rights(self, queues: Sequence[str], *, counts_queues: bool) -> list[Denial]:
        """There are none to have."""
        del queues, counts_queues
        return []

    async def delete_old_dead_letters(self) -> int:
        """There are none."""
        return 0

    async def close(self) -> None:
        """Nothing is open."""


class MemoryAttempts:
    """Counts attempts as long as the test lasts."""

    def __init__(self) -> None:
        self.counts: dict[bytes, int] = {}

    async def begin(self, source: str, events: Sequence[bytes], *, below: int) -> list[int]:
        """See Attempts."""
        del source
        before = [self.counts.get(one, 0) for one in events]
        if max(before) < below:
            self.counts.update((one, count + 1) for one, count in zip(events, before, strict=True))
        return before

    async def forget(self, source: str, events: Sequence[bytes]) -> None:
        """See Attempts."""
        del source
        for one in events:
            self.counts.pop(one, None)


def context(sink: MemorySink) -> SinkContext:
    """Return a sink with its health, no bounds before it, and no paused route."""
    health = SinkHealth()
    backpressure = Backpressure(Dramatiq.model_validate({"max_memory": None}), sink, health)
    return SinkContext(sink, MemoryAttempts(), health, backpressure)


def pipeline(
    source: MemorySource,
    sink: MemorySink | SinkContext,
    routes: list[dict[str, Any]] = ROUTES,
    *,
    before: SourcePipeline | None = None,
) -> SourcePipeline:
    """Return the pipeline of `source` into `sink`, with a router of its own; the accounts are those of the one `before` it."""
    config = Mqtt.model_validate({"type": "mqtt", "url": "mqtt://localhost"})
    accounts = before.accounts if before is not None else None
    into = sink if isinstance(sink, SinkContext) else context(sink)
    return SourcePipeline("s", source, config, router(routes), into, accounts=accounts)


async def until(condition: Callable[[], object]) -> None:
    """Return once `condition` holds; it does within 60 s, or the test fails."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - a condition of any kind, as a test puts it
            await asyncio.sleep(0.001)
