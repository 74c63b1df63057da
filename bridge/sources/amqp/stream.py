"""RabbitMQ streams: read by offsets, so that each event is written exactly once.

A stream keeps its events, and knows nothing of who has read them: every consumer names the offset that it begins at. The
write's own script keeps the offset behind the last event written, in Dramatiq's Redis, and refuses every event before it.
So a source goes on there after any end, and nothing is lost or written twice, whoever else reads for it.

Each delivery has its offset in the header `x-stream-offset`. Offsets rise, and not by 1 only: RabbitMQ's own entries take
some, a filter leaves events out, and retention may have deleted events that were not read. Only the last is a loss. What
the stream still has is known by consuming it on a second channel: see `look.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from bridge.config import Amqp, Dramatiq
from bridge.errors import Disconnected
from bridge.model.accounting import Missed
from bridge.model.event import Event, OnceByPosition
from bridge.observe.logs import RepeatedLog, logger
from bridge.redis_io.keys import position_key
from bridge.redis_io.positions import PositionRedis
from bridge.sources.amqp.look import find_end, look
from bridge.sources.amqp.offsets import offset_of

log = logger()
#: How long a connection that goes on from a kept offset waits for its first event before it looks whether there can be one.
_PATIENCE_S: Final = 1.0
#: Between two looks at what retention has deleted.
_LOOK_INTERVAL_S: Final = 5.0
#: So many jumps of the offset wait for a look at most, and then the last of them is made longer.
_MAX_JUMPS: Final = 1000
_SHORTER: Final = (
    "the stream ends before it, and brings nothing until then: it was made anew, or `start` lies beyond its end, or a replica"
    " lags behind; to read it from its `start`, stop the bridge and delete the key"
)
_UNKNOWN_END: Final = (
    "the broker shows no event of the stream, though it counts some, or could not be asked:"
    " until the first write, what comes while the bridge is away is not read"
)


def no_stream(queue: str) -> str:
    """Return what to say of a queue that the file calls a stream."""
    return f"queue {queue!r} is no stream: remove `stream: true` from the source"


class StreamPosition:
    """The offset from which a source goes on in its stream, in Dramatiq's Redis; None until it is known."""

    def __init__(self, source: str, virtual_host: str, queue: str, dramatiq: Dramatiq) -> None:
        #: See `WriteOnce.log`. A broker's address may change, and is no part of it.
        self.log = json.dumps(["amqp", source, virtual_host, queue])
        self.key = position_key(dramatiq.namespace, self.log)
        self._redis = PositionRedis(source, dramatiq)

    async def read(self) -> int | None:
        """Return the offset; waits for Redis.

        Raises:
            Disconnected: the key holds no offset.
        """
        value = await self._redis.ask("GET", self.key)
        if value is not None and not value.isdigit():
            raise Disconnected(f"key {self.key!r} in Dramatiq's Redis holds no offset: delete it, or mend it")
        return None if value is None else int(value)

    async def begin(self, offset: int) -> int:
        """Begin at `offset`, unless another process has begun meanwhile; return where; waits for Redis."""
        await self._redis.ask("SET", self.key, offset, "NX")
        begun = await self.read()
        return offset if begun is None else begun


class StreamReader:
    """Says where each connection of a source consumes its stream from, and gives the events their offsets.

    `is_known` says whether the queue is known to be a stream; while it is not, the reader does nothing.
    """

    def __init__(self, source: str, config: Amqp, position: StreamPosition) -> None:
        self.is_known = config.is_stream
        #: Whether the queue has turned out to be a stream, though the file does not say so.
        self.is_seen = False
        #: What retention has deleted before it was read, at most.
        self.missed = Missed()
        self._source = source
        self._config = config
        self._position = position
        self._once = OnceByPosition(position.log)
        self._repeated = RepeatedLog()
        # Of this connection: where it goes on, None where only the broker knows; and whether an event has come.
        self._next: int | None = None
        self._has_taken = False
        # An earlier process may have ended while it processed one of the first events: see `poison.py`.
        self._suspects_left = config.window.events
        self._connection: Any = None
        self._queue = config.queue
        # Jumps of the offset, from the one expected to the one that came, that wait for a look, if need be on the next connection.
        self._jumps: list[tuple[int, int]] = []
        # What retention has deleted before it is counted.
        self._counted_up_to = 0
        self._looking_at_jumps: asyncio.Task[None] | None = None
        self._looking_at_start: asyncio.Task[None] | None = None

    async def read_position(self) -> None:
        """Read where to go on; waits for Redis.

        Raises:
            Disconnected: the key holds no offset.
        """
        self._next = await self._position.read() if self.is_known else None

    async def begin(self, connection: Any, queue: str, *, can_look: bool) -> dict[str, Any]:
        """Return the arguments of the consumer of `queue`, by the broker's spelling of its name.

        `can_look` says whether the broker allows `connection` another channel.
        """
        start = self._config.start
        self._queue = queue
        self._connection = connection if can_look else None
        self._has_taken = False
        if self._next is None and start == "new" and can_look:
            # Otherwise a process that ends before its first write would lose what comes until the next start.
            await self._begin_at_the_end(connection, queue)
        elif self._next is None and isinstance(start, int):
            self._next = await self._position.begin(start)
        if self._next and can_look:
            self._looking_at_start = asyncio.create_task(self._look_at_start(), name=f"source:{self._source}:look")
        self._look_at_jumps_later()
        return {"x-stream-offset": self._begin_at(), **self._filter()}

    async def _begin_at_the_end(self, connection: Any, queue: str) -> None:
        end = await find_end(connection, queue, self._config.connect_timeout / 2000)
        if end is None:
            self._say("source.start_unknown", cause=_UNKNOWN_END)
        else:
            self._next = await self._position.begin(end)

    def end(self) -> None:
        """Look no more: the connection ends."""
        for task in (self._looking_at_start, self._looking_at_jumps):
            if task is not None:
                task.cancel()
        self._looking_at_start = self._looking_at_jumps = self._connection = None

    async def discover(self, event: Event) -> str:
        """Return why the connection has to end at its first event: it shows a stream whose offset is kept; "" otherwise."""
        self.is_seen = offset_of(event) is not None
        if self.is_known or self._config.deduplicate is not None or not self.is_seen:
            return ""
        self.is_known = await self._position.read() is not None
        return (
            f"queue {self._config.queue!r} is a stream: it is consumed again, from the offset that is kept"
            if self.is_known
            else ""
        )

    def take(self, events: Sequence[Event]) -> str:
        """Give received events, in order, their offsets; return "", or why the connection has to end."""
        for event in events:
            offset = offset_of(event)
            if offset is None:
                return no_stream(self._config.queue)
            if self._next is not None and offset > self._next:
                self._note_jump(self._next, offset)
            self._next = offset + 1
            event.write_once = self._once
            event.deduplication_key = b"%d" % offset
            if self._suspects_left:
                self._suspects_left -= 1
                event.redelivered = True
        self._has_taken = True
        return ""

    async def find_lost(self, connection: Any) -> str:
        """Return why the consumer seems lost, while no event comes: ""; or that there are some.

        Raises:
            Exception: whatever the AMQP library raises.
        """
        at = "first" if self._next is None and self._config.start == "beginning" else self._next
        if at is not None and await look(connection, self._queue, at, **self._filter()) is not None:
            return f"stream {self._config.queue!r} has events from offset {at} on, and none comes"
        await self._look_whether_shorter(connection)
        return ""

    def _begin_at(self) -> str | int | datetime:
        if self._next is not None:
            return self._next
        start = self._config.start
        if isinstance(start, datetime):
            return start.astimezone(UTC)  # the library takes every time for one of UTC
        return "next" if start == "new" else "first"

    def _filter(self) -> dict[str, Any]:
        if not self._config.filter:
            return {}
        return {"x-stream-filter": self._config.filter, "x-stream-match-unfiltered": self._config.match_unfiltered}

    async def _look_at_start(self) -> None:
        await asyncio.sleep(_PATIENCE_S)
        # An answer that does not come is found by the checks of the consumer.
        with contextlib.suppress(Exception):
            await self._look_whether_shorter(self._connection)

    async def _look_whether_shorter(self, connection: Any) -> None:
        """Say so if the stream ends before the offset that the connection begins at: it brings nothing until then."""
        at = self._next
        if not at or self._has_taken or await look(connection, self._queue, at - 1) is not None:
            return
        # Retention may have deleted it, or the broker is slow: the stream's end decides.
        end = await find_end(connection, self._queue)
        if end is not None and end < at and not self._has_taken:
            self._say("source.stream_shorter", offset=at, end=end, key=self._position.key, cause=_SHORTER)

    def _note_jump(self, expected: int, offset: int) -> None:
        expected = max(expected, self._counted_up_to)
        if offset <= expected:
            return
        if len(self._jumps) < _MAX_JUMPS:
            self._jumps.append((expected, offset))
        else:
            self._jumps[-1] = (self._jumps[-1][0], offset)
        self._look_at_jumps_later()

    def _look_at_jumps_later(self) -> None:
        is_looking = self._looking_at_jumps is not None and not self._looking_at_jumps.done()
        if self._jumps and self._connection is not None and not is_looking:
            self._looking_at_jumps = asyncio.create_task(self._look_at_jumps(), name=f"source:{self._source}:jumps")

    async def _look_at_jumps(self) -> None:
        """Count what retention has deleted: all between two events that lies before the first one that is left."""
        while self._jumps:
            try:
                first = await look(self._connection, self._queue, "first")
            except Exception:  # noqa: BLE001 - aiormq raises anything
                first = None
            if first is None:
                await asyncio.sleep(_LOOK_INTERVAL_S)
                continue
            jumps, self._jumps = self._jumps, []
            self._counted_up_to = max(self._counted_up_to, jumps[-1][1])
            if lost := sum(max(0, min(first, offset) - expected) for expected, offset in jumps):
                self.missed.events += lost
                self._say("source.entries_trimmed", sums=["lost"], lost=lost, total=self.missed.events)
            await asyncio.sleep(_LOOK_INTERVAL_S)

    def _say(self, event: str, **fields: Any) -> None:
        self._repeated.write(event, log.error, event, source=self._source, stream=self._config.queue, **fields)
