"""The spool of one source, as its dispatcher uses it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec

from bridge.errors import BridgeError, describe_error
from bridge.model.batch import MAX_BATCH_EVENTS, Batch, BatchSequence
from bridge.model.event import Details, Event
from bridge.observe.logs import LogThrottle, logger
from bridge.spool.log import Entry, Log

log = logger()
#: How much is read ahead of what is being written.
_READ_BYTES: Final = 1024 * 1024
#: How long an event that comes once may be in memory only, as far as a power cut is concerned.
_SYNC_S: Final = 0.5

_T = TypeVar("_T")
#: An event as it is kept: topic, body, when it was received, raw, defect.
_Kept = tuple[str, bytes, int, bytes | None, str]
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(tuple[str, int, list[_Kept]]).decode


class SpoolFull(BridgeError):
    """The spool takes nothing more now: it is as large as it may be, or the disk is full."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


@dataclass(slots=True, frozen=True)
class Kept:
    """What the spool gives back: a batch that is numbered as it was, or how many events are lost, since they can't be read.

    Of several records that are one batch now, the number is the last one's.
    """

    entries: list[Entry]
    batch: Batch
    lost: int = 0


class Spool:
    """Batches of one source, first in first out; `read` makes headers and meta of an event's `raw`.

    `has_room` says whether so many bytes more may be written. All files are touched by `thread` alone.
    """

    def __init__(
        self, name: str, kept: Log, thread: Executor, read: Callable[[Any], Details], has_room: Callable[[int], bool]
    ) -> None:
        self.name = name
        self.events = kept.events
        #: What an earlier process has left, and may have been ended by.
        self._left = kept.events
        self._log = kept
        self._thread = thread
        self._read = read
        self._has_room = has_room
        self._filled = asyncio.Event()
        self._sync: asyncio.TimerHandle | None = None
        self._throttle = LogThrottle()
        if self.events:
            self._filled.set()

    @property
    def size(self) -> int:
        """How many bytes of the disk it takes."""
        return self._log.size

    @property
    def holds(self) -> bool:
        """Whether there is something in it, behind which everything that is received has to go."""
        return self.events > 0

    async def append(self, batches: Sequence[Batch], *, durable: bool) -> None:
        """Keep batches, which have their numbers: all or none, `durable` so that a power cut can't take them.

        Raises:
            SpoolFull: nothing was kept.
        """
        payloads = [(packed(batch), len(batch.events)) for batch in batches]
        await self._run(self._append, payloads, durable)
        self.events += sum(events for _, events in payloads)
        self._filled.set()
        if not durable and self._sync is None:
            self._sync = asyncio.get_running_loop().call_later(_SYNC_S, self._sync_soon)

    async def kept(self) -> AsyncIterator[Kept]:
        """Yield what is kept, oldest first, for ever; `forget` each before the next one is asked for."""
        while True:
            await self._filled.wait()
            try:
                entries = await self._run(self._log.read, _READ_BYTES)
            except OSError as error:
                self._say("can't be read", error)
                await asyncio.sleep(1.0)
                continue
            for kept in self._merged([self._unpacked(entry) for entry in entries]):
                yield kept
            if not self.events:
                self._filled.clear()

    async def forget(self, kept: Kept) -> None:
        """Remove what `kept` has yielded last: it is written, or said to be lost."""
        events = sum(entry.events for entry in kept.entries)
        self._left = max(0, self._left - events)
        try:
            await self._run(self._remove, kept.entries)
        except OSError as error:
            self._say("can't be removed from", error)
        self.events -= events

    def _remove(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self._log.remove(entry)

    def _merged(self, kept: list[Kept]) -> list[Kept]:
        """Return small batches of one writer as larger ones: each is a round trip.

        Not of what an earlier process has left, which may have been writing several as one: tried again one by one, their
        numbers tell which are written (see `enqueue.lua`).
        """
        if self._left > 0:
            return kept
        merged: list[Kept] = []
        for one in kept:
            last = merged[-1] if merged else None
            if (
                last is None
                or last.lost
                or one.lost
                or last.batch.sequence.name != one.batch.sequence.name
                or len(last.batch.events) + len(one.batch.events) > MAX_BATCH_EVENTS
            ):
                merged.append(one)
            else:
                last.entries.extend(one.entries)
                last.batch.events.extend(one.batch.events)
                last.batch.sequence, last.batch.number = one.batch.sequence, one.batch.number
        return merged

    async def close(self) -> None:
        """Bring everything to the disk."""
        if self._sync is not None:
            self._sync.cancel()
        await self._run(self._log.close)

    def _append(self, payloads: Sequence[tuple[bytes, int]], durable: bool) -> None:  # noqa: FBT001 - for the executor
        if not self._has_room(sum(len(payload) for payload, _ in payloads)):
            raise SpoolFull("it holds max_size")
        try:
            self._log.append(payloads, sync=durable)
        except OSError as error:
            raise SpoolFull(describe_error(error)) from None

    def _sync_soon(self) -> None:
        self._sync = None
        self._thread.submit(self._sync_now)

    def _sync_now(self) -> None:
        try:
            self._log.sync()
        except OSError as error:
            self._say("can't be synced", error)

    def _say(self, what: str, error: OSError) -> None:
        suppressed = self._throttle.allow(what, error.errno)
        if suppressed is not None:
            log.error("spool.failed", source=self.name, cause=f"the spool {what}: {error}", repeated=suppressed)

    def _unpacked(self, entry: Entry) -> Kept:
        if entry.payload is None:
            return Kept([entry], Batch([]), lost=entry.events)
        try:
            batch = unpacked(entry.payload, self.name, self._read)
        except msgspec.DecodeError:
            return Kept([entry], Batch([]), lost=entry.events)  # another version's
        if self._left > 0:
            for event in batch.events:
                event.redelivered = True
        return Kept([entry], batch)

    async def _run(self, function: Callable[..., _T], *arguments: Any) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)


def packed(batch: Batch) -> bytes:
    """Return a numbered batch as bytes."""
    events = [
        (
            event.topic,
            event.body,
            event.received_at_ms,
            event.raw if isinstance(event.raw, bytes) else None,
            event.defect,
        )
        for event in batch.events
    ]
    return _encode((batch.sequence.name, batch.number, events))


def unpacked(payload: bytes, source: str, read: Callable[[Any], Details]) -> Batch:
    """Return the batch again; `read` makes headers and meta of an event's `raw`."""
    writer, number, kept = _decode(payload)
    events = []
    for topic, body, received_at_ms, raw, defect in kept:
        event = Event(source, topic, body, received_at_ms, defect=defect)
        if raw is not None:
            event.raw, event.read = raw, read
        events.append(event)
    return Batch(events, BatchSequence(writer, last=number), number=number)
