"""A session of Redis Streams: one consumer of a group, over several streams.

XAUTOCLAIM takes over the pending entries of dead consumers. In Dramatiq's own Redis the XACK is part of the write's
script, and each entry is enqueued exactly once. Elsewhere the ids of written entries are remembered. Where the group is
lost, it is made again within the session: the entries that are held are still written.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from redis.exceptions import ResponseError

from bridge.config import RedisStream
from bridge.errors import Disconnected
from bridge.model.entry_ids import highest_id
from bridge.model.event import Event
from bridge.redis_io.connection import RedisConnection, encode_command
from bridge.redis_io.servers import VersionCheck, not_redis
from bridge.sources.contract import WindowedSession
from bridge.sources.oversized import ROOM_BYTES
from bridge.sources.redis_stream.entries import EntryReader
from bridge.sources.redis_stream.group import Group, refused
from bridge.sources.window import InFlightWindow

#: How long one read waits for entries; a pause takes up to as long.
_BLOCK_MS: Final = 1000
#: How long Redis may take for a reply, a read that waits included.
REPLY_TIMEOUT_S: Final = _BLOCK_MS / 1000 + 10.0

#: How long a lost group may take to be made again within a session.
_RECOVERY_TIMEOUT_S: Final = 20.0
#: How the replies to XAUTOCLAIM begin where it is not there (before Redis 6.2, or renamed), or not permitted.
_NO_CLAIMING: Final = ("unknown command", "NOPERM")
#: How the replies begin that say that a group, or its stream, is gone.
_LOST: Final = ("NOGROUP", "UNBLOCKED")


class RedisStreamSession(WindowedSession):
    """See `Session`.

    It has two connections: a reply to XACK would have to wait behind an XREADGROUP that blocks. `acknowledges` says whether the
    user of `config` acknowledges: there, or in the sink, where that has the same user.
    """

    def __init__(self, name: str, config: RedisStream, group: Group, *, in_sink: bool, acknowledges: bool) -> None:
        self._name = name
        self._group = group
        self._config = config
        self._reader, self._acknowledger = (RedisConnection(config, timeout_s=REPLY_TIMEOUT_S) for _ in range(2))
        self._in_sink = in_sink
        self._acknowledges = acknowledges
        self._consumer = group.consumer
        self._has_room = asyncio.Event()
        self._window = InFlightWindow(config.window, self._has_room.set, redelivered=True)
        # Received and not acknowledged, oldest first.
        self._held: deque[Event] = deque()
        self._entries = EntryReader(name, config, group, in_sink=in_sink)
        self._paused = False
        # Whether an XREADGROUP has been sent, and its reply is still to be read; and when it was sent.
        self._requested = False
        self._requested_at = time.monotonic()
        # Whether the last read was refused: once, the group may have been lost.
        self._refused = False
        # Upper bound: even if every entry has max_body bytes, one reply holds at most four windows. A larger one (entries
        # have become much larger than the mean, and than max_body) ends the connection; the next one reads one by one.
        self._max_reply_entries = 4 * config.window.bytes // config.max_body
        self._max_reply_bytes = 4 * config.window.bytes + ROOM_BYTES
        # Where to read on in each stream. Own pending entries come first, which a killed process of the same name had
        # read and not acknowledged; then new ones (">").
        self._cursors: dict[str, bytes] = dict.fromkeys(config.streams, b"0")
        self._claim_at = time.monotonic()
        self._claims = True
        self._claim_from: dict[str, bytes] = dict.fromkeys(config.streams, b"0-0")

    async def open(self, version_check: VersionCheck) -> None:
        """Connect, make the group where it is missing, and see that XACK works.

        Raises:
            Disconnected: Redis can't be reached, or refuses something without which nothing can be read or acknowledged.
        """
        await self._reader.open()
        await self._acknowledger.open()
        await version_check.run(self._reader)
        # Of an entry that there cannot be; the reply is there once the group is.
        self._acknowledger.send(encode_command("XACK", self._config.streams[0], self._config.group, "0-0"))
        await self._group.create(self._reader)
        try:
            reply = await self._acknowledger.read()
            if not isinstance(reply, int):
                raise Disconnected(not_redis(reply))
        except ResponseError as error:
            # In Dramatiq's Redis another user may acknowledge; whether there is such a command, both know.
            if self._acknowledges or str(error).startswith("unknown command"):
                raise Disconnected(refused(str(error), self._config.streams[0], self._config)) from None

    async def close(self) -> None:
        """Close the connections."""
        self.fail("the connection was closed")  # first: nothing is opened any more
        await self._reader.close()
        await self._acknowledger.close()

    @property
    def reply_too_large(self) -> bool:
        """Whether the connection ended because a reply was too large."""
        return self._reader.reply_too_large

    async def receive(self) -> list[Event]:
        """See `Session`."""
        while not (self._window.waiting or self._window.failed or (self._paused and not self._requested)):
            if self._window.full and not self._requested:
                self._has_room.clear()
                await self._has_room.wait()
                continue
            try:
                events = await self._read()
                self._refused = False
                self._held += events
                self._window.put(events)
                self._request_ahead()
            except Disconnected as error:
                self._window.fail(str(error))
            except ResponseError as error:
                await self._recover(error)
        return await self._window.take()

    def read_one_by_one(self) -> None:
        """Request a single entry of each stream at first, which may be as large as Redis allows; then more and more."""
        self._entries.mean_bytes = float(self._config.window.bytes)

    async def _recover(self, error: ResponseError) -> None:
        """Make the group again if it was lost; end the session if a read is refused for the second time in a row."""
        self._requested = False
        if self._refused:
            self._window.fail(str(error))
            return
        self._refused = True
        try:
            async with asyncio.timeout(_RECOVERY_TIMEOUT_S):
                await self._group.create(self._reader, lost=str(error).startswith(_LOST))
        except (Disconnected, TimeoutError) as refused:
            self._window.fail(str(refused) or f"{error}, and Dramatiq's Redis does not answer")
        self._claim_from = dict.fromkeys(self._config.streams, b"0-0")

    async def acknowledge(self, events: Sequence[Event]) -> None:
        """See `Session`; sends XACK, unless the write's script has done it."""
        for _ in events:
            self._held.popleft()
        self._window.acknowledged(events)
        of_stream: dict[str, Sequence[Event]] = {events[0].topic: events}
        if len(self._config.streams) > 1:
            of_stream = {
                stream: found
                for stream in self._config.streams
                if (found := [event for event in events if event.topic == stream])
            }
        for stream, entries in of_stream.items():
            self._group.note_written(stream, highest_id(entries))
        if self._in_sink or self._window.failed:
            return
        try:
            self._acknowledger = await self._renewed(self._acknowledger)
            for stream, entries in of_stream.items():
                ids = [event.deduplication_key for event in entries]
                await self._acknowledger.command("XACK", stream, self._config.group, *ids)
        except (Disconnected, ResponseError) as error:
            self._window.fail(str(error))

    async def pause(self) -> None:
        """Read no more; a read that waits ends within `_BLOCK_MS`."""
        self._paused = True
        self._window.close()
        self._has_room.set()

    def _count(self) -> int:
        """Return how many entries to request of each stream, so that the reply probably fits into the window."""
        events, size = self._window.room
        count = min(events, int(size / self._entries.mean_bytes), self._window.max_batch, self._max_reply_entries)
        count = max(1, count // len(self._config.streams))
        self._reader.max_reply_bytes = self._max_reply_bytes if count > 1 else None
        return count

    async def _renewed(self, connection: RedisConnection) -> RedisConnection:
        """Return the connection, or a new one if it has ended while it was idle: servers and proxies end such (`timeout`).

        Raises:
            Disconnected: Redis cannot be reached.
        """
        if not connection.failed:
            return connection
        await connection.close()
        renewed = RedisConnection(self._config, timeout_s=REPLY_TIMEOUT_S)
        try:
            await renewed.open()
            if self._window.failed:
                raise Disconnected("the session has ended meanwhile")
        except BaseException:
            await renewed.close()
            raise
        return renewed

    async def _read(self) -> list[Event]:
        if not self._requested:
            self._reader = await self._renewed(self._reader)
            if self._group.inspection_due(self._requested_at):
                await self._group.inspect(self._reader)
                self._requested_at = time.monotonic()
            pending = [stream for stream, cursor in self._cursors.items() if cursor != b">"]
            if pending:
                return await self._read_pending(pending[0], self._count())
            if time.monotonic() >= self._claim_at:
                events = await self._claim(self._count())
                if events:
                    return events
                self._claim_at = time.monotonic() + self._config.claim_after / 2000 if self._claims else math.inf
            self._request()
        reply = await self._reader.read()
        self._requested = False
        events = []
        for name, entries in reply or ():
            stream = _text(name)
            self._group.note_read(stream, entries[-1][0], new=len(entries))
            events += self._entries.events(stream, entries)
        return events

    def _request(self) -> None:
        streams = self._config.streams
        self._reader.send(encode_command(
            "XREADGROUP", "GROUP", self._config.group, self._consumer,
            "COUNT", self._count(), "BLOCK", _BLOCK_MS, "STREAMS", *streams, *[b">"] * len(streams),
        ))  # fmt: skip
        self._requested, self._requested_at = True, time.monotonic()

    def _request_ahead(self) -> None:
        """Request more entries if there is room: Redis reads while the bridge routes the last reply."""
        reads_new = all(cursor == b">" for cursor in self._cursors.values())
        must_wait = self._paused or self._window.full or self._reader.failed
        must_wait = must_wait or self._group.inspection_due(self._requested_at)
        if reads_new and not must_wait and time.monotonic() < self._claim_at:
            self._request()

    async def _read_pending(self, stream: str, count: int) -> list[Event]:
        reply = await self._reader.command(
            "XREADGROUP", "GROUP", self._config.group, self._consumer,
            "COUNT", count, "STREAMS", stream, self._cursors[stream],
        )  # fmt: skip
        entries: list[tuple[bytes, Any]] = reply[0][1] if reply else []
        if entries:
            self._group.note_read(stream, entries[-1][0])
        self._cursors[stream] = entries[-1][0] if entries else b">"
        await self._drop_trimmed(stream, [entry_id for entry_id, fields in entries if not fields])
        return self._entries.events(stream, entries, redelivered=True)

    async def _claim(self, count: int) -> list[Event]:
        """Take over entries that were pending at another consumer for `claim_after`."""
        for stream in self._config.streams:
            try:
                reply = await self._reader.command(
                    "XAUTOCLAIM", stream, self._config.group, self._consumer,
                    self._config.claim_after, self._claim_from[stream], "COUNT", count,
                )  # fmt: skip
            except ResponseError as error:
                if not str(error).startswith(_NO_CLAIMING):
                    raise
                self._group.log_claiming_refused(str(error))
                self._claims = False
                return []
            self._claim_from[stream] = reply[0]
            entries = reply[1]
            # Since Redis 7 the third field lists trimmed entries; before, they came as null among the others.
            if len(reply) > 2:
                self._group.count_trimmed(stream, len(reply[2]))
            held = {event.deduplication_key for event in self._held if event.topic == stream}
            taken = [entry for entry in entries if entry is not None and entry[0] not in held]
            if taken:
                self._group.log_claimed(stream, len(taken))
                return self._entries.events(stream, taken, redelivered=True)
        return []

    async def _drop_trimmed(self, stream: str, ids: list[bytes]) -> None:
        """Acknowledge pending entries that the stream no longer has: they are lost, counted and logged."""
        if ids:
            # On the reader: on the other connection `acknowledge` may be waiting for its own reply.
            await self._reader.command("XACK", stream, self._config.group, *ids)
        self._group.count_trimmed(stream, len(ids))


def _text(raw: bytes | str) -> str:
    return raw if isinstance(raw, str) else raw.decode("utf-8", "backslashreplace")
