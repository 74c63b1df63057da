"""Redis Streams: a consumer group over several streams.

What a dead consumer left is taken over by XAUTOCLAIM. In Dramatiq's own Redis the XACK is part of
the write's script, and each entry is enqueued exactly once; elsewhere its id is remembered.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import msgspec
from redis.exceptions import ResponseError

from bridge.config import RedisStream
from bridge.errors import BadEvent, Disconnected
from bridge.model.event import Details, Event, Gate
from bridge.observe.logs import logger
from bridge.redis_io.connection import RedisConnection, command
from bridge.sources.redis_stream.group import Group
from bridge.sources.window import InFlightWindow, WindowedSession

#: A read waits this long for entries; it is also the longest that a pause takes.
BLOCK_MS: Final = 1000
_REPLY_S: Final = 10.0
#: How long the id of an entry from another Redis is remembered.
SEEN_MS: Final = 86_400_000

log = logger()
_encode = msgspec.json.Encoder().encode


class RedisStreamSource:
    """One consumer of a group; `in_sink` says that the streams live in the Redis that is written to.

    `group` outlives the connections, and counts what was trimmed.
    """

    redelivers = True
    read: Callable[[Any], Details] | None = None

    def __init__(self, name: str, config: RedisStream, *, in_sink: bool) -> None:
        self.name = name
        self.group = Group(name, config)
        self._config = config
        self._in_sink = in_sink

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[RedisStreamSession]:
        """Connect, and make the group where it is missing."""
        config = self._config
        reader, settler = (RedisConnection(config, timeout_s=BLOCK_MS / 1000 + _REPLY_S) for _ in range(2))
        try:
            await reader.open()
            # Beside the one that reads: a reply to XACK would stand behind a XREADGROUP that blocks.
            await settler.open()
            await self.group.make(settler)
            yield RedisStreamSession(self.name, config, reader, settler, self.group, in_sink=self._in_sink)
        finally:
            await reader.close()
            await settler.close()


class RedisStreamSession(WindowedSession):
    """One consumer of `group`, connected: a link that reads, and one that settles."""

    def __init__(
        self,
        name: str,
        config: RedisStream,
        reader: RedisConnection,
        settler: RedisConnection,
        group: Group,
        *,
        in_sink: bool,
    ) -> None:
        self._name = name
        self._group = group
        self._config = config
        self._reader = reader
        self._acknowledger = settler
        self._in_sink = in_sink
        self._consumer = group.consumer
        self._room = asyncio.Event()
        self._window = InFlightWindow(config.window, self._room.set, redelivered=True)
        # Received and not settled, oldest first.
        self._held: deque[Event] = deque()
        self._gates = {stream: self._gate(stream) for stream in config.streams}
        self._field = None if config.field is None else config.field.encode()
        # Not a method: through it an event would lead back to the session that holds it (see `Event`).
        self._read_details = partial(_details, self._field)
        self._paused = False
        self._asked = False
        # Sizes are known only after the reply: the first reads assume the worst and then follow the mean.
        self._mean_bytes = float(config.max_body)
        # Should all entries be as large as they may, all of a sudden, one reply is four windows and no more.
        self._most_at_once = 4 * config.window.bytes // config.max_body
        # Own pending entries first: what a killed process of the same name had read and not settled.
        self._cursors: dict[str, bytes] = dict.fromkeys(config.streams, b"0")
        self._asked_at = time.monotonic()
        self._claim_at = time.monotonic()
        self._claim_from: dict[str, bytes] = dict.fromkeys(config.streams, b"0-0")

    async def receive(self) -> list[Event]:
        """See `Session`."""
        while not (self._window.waiting or self._window.failed or (self._paused and not self._asked)):
            if self._window.full and not self._asked:
                self._room.clear()
                await self._room.wait()
                continue
            try:
                events = await self._read()
                self._held += events
                self._window.put(events)
                self._ask_ahead()
            except (Disconnected, ResponseError) as error:
                self._window.fail(str(error))
        return await self._window.take()

    async def acknowledge(self, events: Sequence[Event]) -> None:
        """XACK, unless the write's script has done so."""
        for _ in events:
            self._held.popleft()
        self._window.acknowledged(events)
        if self._in_sink or self._window.failed:
            return
        ids: dict[str, list[bytes]] = {}
        for event in events:
            ids.setdefault(event.topic, []).append(event.deduplication_key)
        try:
            for stream, entries in ids.items():
                await self._acknowledger.command("XACK", stream, self._config.group, *entries)
        except (Disconnected, ResponseError) as error:
            self._window.fail(str(error))

    async def pause(self) -> None:
        """Read no more; a read that waits ends within BLOCK_MS."""
        self._paused = True
        self._window.close()
        self._room.set()

    def _count(self) -> int:
        """Return how many entries to ask each stream for, so that the reply fits the window as far as can be known."""
        events, size = self._window.room
        wanted = min(events, int(size / self._mean_bytes), self._window.max_batch, self._most_at_once)
        return max(1, wanted // len(self._config.streams))

    async def _read(self) -> list[Event]:
        if not self._asked:
            if self._group.must_look(self._asked_at):
                await self._group.look(self._reader)
                self._asked_at = time.monotonic()
            pending = [stream for stream, cursor in self._cursors.items() if cursor != b">"]
            if pending:
                return await self._read_pending(pending[0], self._count())
            if time.monotonic() >= self._claim_at:
                events = await self._claim(self._count())
                if events:
                    return events
                self._claim_at = time.monotonic() + self._config.claim_after / 2000
            self._ask()
        reply = await self._reader.read()
        self._asked = False
        return [event for stream, entries in reply or () for event in self._events(_text(stream), entries)]

    def _ask(self) -> None:
        streams = self._config.streams
        self._reader.send(command(
            "XREADGROUP", "GROUP", self._config.group, self._consumer,
            "COUNT", self._count(), "BLOCK", BLOCK_MS, "STREAMS", *streams, *[b">"] * len(streams),
        ))  # fmt: skip
        self._asked, self._asked_at = True, time.monotonic()

    def _ask_ahead(self) -> None:
        """Ask for more where there is room: Redis reads while the bridge routes what it has just got."""
        reads_new = all(cursor == b">" for cursor in self._cursors.values())
        later = self._paused or self._window.full or self._group.must_look(self._asked_at)
        if reads_new and not later and time.monotonic() < self._claim_at:
            self._ask()

    async def _read_pending(self, stream: str, count: int) -> list[Event]:
        reply = await self._reader.command(
            "XREADGROUP", "GROUP", self._config.group, self._consumer,
            "COUNT", count, "STREAMS", stream, self._cursors[stream],
        )  # fmt: skip
        entries: list[tuple[bytes, Any]] = reply[0][1] if reply else []
        self._cursors[stream] = entries[-1][0] if entries else b">"
        await self._drop_trimmed(stream, [entry_id for entry_id, fields in entries if not fields])
        return self._events(stream, entries, again=True)

    async def _claim(self, count: int) -> list[Event]:
        """Take over what consumers have left pending for `claim_after`."""
        for stream in self._config.streams:
            reply = await self._reader.command(
                "XAUTOCLAIM", stream, self._config.group, self._consumer,
                self._config.claim_after, self._claim_from[stream], "COUNT", count,
            )  # fmt: skip
            self._claim_from[stream] = reply[0]
            entries = reply[1]
            # Since Redis 7 the third field lists what was trimmed; before, such entries came as null.
            if len(reply) > 2:
                self._group.say_trimmed(stream, len(reply[2]))
            held = {event.deduplication_key for event in self._held if event.topic == stream}
            taken = [entry for entry in entries if entry is not None and entry[0] not in held]
            if taken:
                log.info("source.claimed", source=self._name, stream=stream, entries=len(taken))
                return self._events(stream, taken, again=True)
        return []

    def _events(self, stream: str, entries: Sequence[tuple[bytes, Any]], *, again: bool = False) -> list[Event]:
        now_ms = time.time_ns() // 1_000_000
        name, read, gate, field = self._name, self._read_details, self._gates[stream], self._field
        events = []
        for entry in entries:
            # An entry is [id, [name, value, ...]], or [id, null] once it was trimmed.
            entry_id, fields = entry
            if fields and fields[0] == field and len(fields) == 2:
                events.append(Event(name, stream, fields[1], now_ms, entry_id, entry, read, gate, entry_id, "", again))
            elif fields:
                body, defect = self._body(fields)
                events.append(Event(name, stream, body, now_ms, entry_id, entry, read, gate, entry_id, defect, again))
        if events:
            mean = sum(len(event.body) for event in events) / len(events)
            self._mean_bytes = max(1.0, mean, self._mean_bytes / 4)
        return events

    def _body(self, flat: list[bytes]) -> tuple[bytes, str]:
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        if self._field is not None:
            found = fields.get(self._field)
            return (b"", f"the entry has no field {self._config.field!r}") if found is None else (found, "")
        try:
            return _encode({key.decode(): value.decode() for key, value in fields.items()}), ""
        except UnicodeDecodeError as error:
            return b"\n".join(flat), f"a field is not UTF-8: {error}"

    def _gate(self, stream: str) -> Gate:
        if self._in_sink:
            return Gate("ack", stream, group=self._config.group)
        return Gate("seen", f"{self._name}:{stream}:", lifetime_ms=SEEN_MS)

    async def _drop_trimmed(self, stream: str, ids: list[bytes]) -> None:
        """Acknowledge pending entries that the stream no longer has: they are lost, and that is said."""
        if ids:
            # By the link that has just read: on the other one `acknowledge` may be waiting for its own reply.
            await self._reader.command("XACK", stream, self._config.group, *ids)
        self._group.say_trimmed(stream, len(ids))


def _details(field: bytes | None, entry: tuple[bytes, list[bytes]]) -> Details:
    """Return the fields beside the body as headers, and the entry's id."""
    entry_id, flat = entry
    fields = {} if field is None else dict(zip(flat[::2], flat[1::2], strict=True))
    try:
        headers = {key.decode(): value.decode() for key, value in fields.items() if key != field}
    except UnicodeDecodeError as error:
        raise BadEvent("decode", f"a field is not UTF-8: {error}") from None
    return headers, {"entry_id": entry_id.decode()}


def _text(raw: bytes | str) -> str:
    return raw if isinstance(raw, str) else raw.decode("utf-8", "backslashreplace")
