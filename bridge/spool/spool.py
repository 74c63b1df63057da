"""The spool of one source: batches go to the disk, and are replayed in the same order."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec

from bridge.errors import BridgeError, describe_error
from bridge.model.batch import MAX_BATCH_EVENTS, Batch, BatchSequence
from bridge.model.event import Details, Event
from bridge.observe.logs import RepeatedLog, logger
from bridge.spool.log import DirectoryLost, Entry, Log

log = logger()
#: How many bytes are read ahead of the batch that is being written.
_READ_BYTES: Final = 1024 * 1024
_READ_RETRY_S: Final = 1.0
#: How long an event that is delivered only once may be in memory only, where a power cut can take it.
_SYNC_INTERVAL_S: Final = 0.5
#: The errors of a disk, a quota, or a bound on files that is reached: room has to be made. All others need a repair.
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_REMOVED: Final = (
    "somebody has removed or moved its directory, or files in it: it was made again with all that its open files held"
)

_T = TypeVar("_T")


class _EncodedEvent(msgspec.Struct, array_like=True):
    topic: str
    body: bytes
    received_at_ms: int
    raw: bytes | None
    defect: str
    #: Records of events without it have five fields.
    skipped: int = 0


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(tuple[str, int, list[_EncodedEvent]]).decode


class SpoolFull(BridgeError):
    """The spool takes no more events now: it has reached its bound, or the disk is full or fails; `event` is the word for it."""

    def __init__(self, cause: str, event: str = "spool.full") -> None:
        super().__init__(cause)
        self.cause = cause
        self.event = event


@dataclass(slots=True, frozen=True)
class SpooledBatch:
    """A batch that the spool replays, with its original number; or an empty one with the number of `lost` events.

    Events are lost if the disk no longer holds them as they were written. A batch merged from several records has the
    last one's number.
    """

    entries: list[Entry]
    batch: Batch
    lost: int = 0


class Spool:
    """Batches of one source, first in first out.

    `read` parses headers and meta from an event's `raw`. `has_room` says whether so many more bytes may be written;
    `keep_lock` raises OSError where the directory is no longer this process's. Only `thread` touches the files.
    """

    def __init__(
        self,
        name: str,
        records: Log,
        thread: Executor,
        read: Callable[[Any], Details],
        *,
        has_room: Callable[[int], bool],
        keep_lock: Callable[[], None],
    ) -> None:
        self.name = name
        self.events = records.events
        #: The oldest events, which an earlier process has spooled; one of them may have ended that process.
        self._from_earlier_process = records.events
        self._log = records
        self._thread = thread
        self._read = read
        self._has_room = has_room
        self._keep_lock = keep_lock
        self._restored = 0
        self._filled = asyncio.Event()
        self._sync: asyncio.TimerHandle | None = None
        self._repeated = RepeatedLog()
        if self.events:
            self._filled.set()

    @property
    def size(self) -> int:
        """How many bytes of the disk the spool takes."""
        return self._log.size

    @property
    def holds(self) -> bool:
        """Whether the spool holds events; then every event received has to go behind them."""
        return self.events > 0

    async def append(self, batches: Sequence[Batch], *, durable: bool) -> None:
        """Append batches that have their numbers: all or none; `durable` ones survive a power cut.

        Raises:
            SpoolFull: nothing was appended.
        """
        payloads = [(encode_batch(batch), len(batch.events)) for batch in batches]
        await self._run(self._append, payloads, durable)
        if self._log.restored != self._restored:
            self._restored = self._log.restored
            self._repeated.write(
                "restored", log.error, "spool.directory_lost", source=self.name, cause=_REMOVED, events=self.events
            )
        self.events += sum(events for _, events in payloads)
        self._filled.set()
        if not durable and self._sync is None:
            self._sync = asyncio.get_running_loop().call_later(_SYNC_INTERVAL_S, self._sync_soon)

    async def replay(self) -> AsyncIterator[SpooledBatch]:
        """Yield the spooled batches, oldest first, for ever; call `forget` for each before asking for the next one."""
        while True:
            await self._filled.wait()
            try:
                entries = await self._run(self._log.read, _READ_BYTES)
            except OSError as error:
                self._log_failure("can't be read", error)
                await asyncio.sleep(_READ_RETRY_S)
                continue
            for spooled in self._merged([self._decoded(entry) for entry in entries]):
                yield spooled
            if not self.events:
                self._filled.clear()

    async def forget(self, spooled: SpooledBatch) -> None:
        """Remove the batch that `replay` has yielded last: it is written, or reported as lost."""
        events = sum(entry.events for entry in spooled.entries)
        self._from_earlier_process = max(0, self._from_earlier_process - events)
        try:
            await self._run(self._remove, spooled.entries)
        except OSError as error:
            self._log_failure("can't be removed from", error)
        self.events -= events

    def _remove(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self._log.remove(entry)

    def _merged(self, batches: list[SpooledBatch]) -> list[SpooledBatch]:
        """Merge small batches of one sequence into larger ones: each batch costs a round trip.

        Don't merge batches from an earlier process: it may already have written some of them, and only the original
        batch numbers show which (see `enqueue.lua`).
        """
        if self._from_earlier_process > 0:
            return batches
        merged: list[SpooledBatch] = []
        for spooled in batches:
            last = merged[-1] if merged else None
            if (
                last is None
                or last.lost
                or spooled.lost
                or last.batch.sequence.name != spooled.batch.sequence.name
                or len(last.batch.events) + len(spooled.batch.events) > MAX_BATCH_EVENTS
            ):
                merged.append(spooled)
            else:
                ours, theirs = last.batch, spooled.batch
                ours.merged = ours.merged or ((ours.assign_number(), len(ours.events)),)
                ours.merged += ((theirs.assign_number(), len(theirs.events)),)
                last.entries.extend(spooled.entries)
                ours.events.extend(theirs.events)
                ours.sequence, ours.number = theirs.sequence, theirs.number
        return merged

    async def close(self) -> None:
        """Sync everything to the disk, and close the files; log how many events could not be kept."""
        if self._sync is not None:
            self._sync.cancel()
        cause = await self._run(self._close)
        if cause:
            log.error(
                "spool.directory_lost", source=self.name, cause=f"it can't be made again: {cause}", lost=self.events
            )
            self.events = 0

    def _close(self) -> str:
        """Close the log, which is made again first if somebody has removed it; return why that failed, or ""."""
        try:
            if self.events and not self._log.is_there:
                self._keep_lock()
                self._log.restore()
        except OSError as error:
            return describe_error(error)
        finally:
            self._log.close()
        return ""

    def _append(self, payloads: Sequence[tuple[bytes, int]], durable: bool) -> None:  # noqa: FBT001 - for the executor
        if not self._has_room(sum(len(payload) for payload, _ in payloads)):
            raise SpoolFull("it holds max_size")
        try:
            self._keep_lock()
            self._log.append(payloads, sync=durable)
        except DirectoryLost as error:
            raise SpoolFull(f"it was removed, and can't be made again: {error}", "spool.directory_lost") from None
        except OSError as error:
            if error.errno in _FULL:
                raise SpoolFull(describe_error(error)) from None
            raise SpoolFull(f"the spool can't be written: {describe_error(error)}", "spool.failed") from None

    def _sync_soon(self) -> None:
        self._sync = None
        asyncio.get_running_loop().run_in_executor(self._thread, self._log.sync).add_done_callback(self._synced)

    def _synced(self, sync: asyncio.Future[None]) -> None:
        if not sync.cancelled() and isinstance(error := sync.exception(), OSError):
            self._log_failure("can't be synced", error)

    def _log_failure(self, failure: str, error: OSError) -> None:
        self._repeated.write(
            (failure, error.errno),
            log.error,
            "spool.failed",
            source=self.name,
            cause=f"the spool {failure}: {error}",
        )

    def _decoded(self, entry: Entry) -> SpooledBatch:
        if entry.payload is None:
            return SpooledBatch([entry], Batch([]), lost=entry.events)
        try:
            batch = decode_batch(entry.payload, self.name, self._read)
        except msgspec.DecodeError:
            return SpooledBatch([entry], Batch([]), lost=entry.events)  # written by another version
        if self._from_earlier_process > 0:
            for event in batch.events:
                event.redelivered = True
        return SpooledBatch([entry], batch)

    async def _run(self, function: Callable[..., _T], *arguments: Any) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)


def encode_batch(batch: Batch) -> bytes:
    """Return a batch that has its number as bytes; its messages and dead letters are left out."""
    events = [
        (
            event.topic,
            event.body,
            event.received_at_ms,
            event.raw if isinstance(event.raw, bytes) else None,
            event.defect,
            *((event.skipped,) if event.skipped else ()),
        )
        for event in batch.events
    ]
    return _encode((batch.sequence.name, batch.number, events))


def decode_batch(payload: bytes, source: str, read: Callable[[Any], Details]) -> Batch:
    """Return the batch that `encode_batch` has encoded, not routed; `read` parses headers and meta of an event's `raw`.

    Raises:
        msgspec.DecodeError: the bytes are not such a batch.
    """
    sequence, number, encoded_events = _decode(payload)
    events = []
    for one in encoded_events:
        event = Event(source, one.topic, one.body, one.received_at_ms, defect=one.defect, skipped=one.skipped)
        event.size = len(one.topic) + len(one.body)
        if one.raw is not None:
            event.raw, event.read = one.raw, read
            event.size += len(one.raw)
        events.append(event)
    return Batch(events, BatchSequence(sequence, last=number), number=number)
