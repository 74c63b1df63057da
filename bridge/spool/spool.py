"""The spool of one source: batches go to the disk, and are replayed in the same order."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec

from bridge.errors import BridgeError, describe_error
from bridge.model.batch import MAX_BATCH_EVENTS, Batch
from bridge.model.event import Details
from bridge.observe.logs import RepeatedLog, logger
from bridge.spool.encoding import decode_batch, encode_batch
from bridge.spool.files import DirectoryLost
from bridge.spool.log import Entry, Log

log = logger()
#: How many bytes are read ahead of the batch that is being written.
_READ_BYTES: Final = 1024 * 1024
_READ_RETRY_S: Final = 1.0
#: The directory beside a source's that keeps whole records which this version can't decode: the next start adopts them.
UNREAD: Final = "process-unread"
#: How long an event that is delivered only once may be in memory only, where a power cut can take it.
_SYNC_INTERVAL_S: Final = 0.5
#: The errors of a disk, a quota, or a bound on files that is reached: room has to be made. All others need a repair.
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_REMOVED: Final = (
    "somebody has removed or moved its directory, or files in it: it was made again with all that its open files held"
)

_UNREAD: Final = (
    "another version has written them, and this one can't read them: they are counted as lost, and kept;"
    " the first start of a version that reads them goes on with them"
)

_T = TypeVar("_T")


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
        #: Events that were lost when those of other processes were adopted.
        self.lost = records.damage.adopted
        #: The oldest events, which an earlier process has spooled; one of them may have ended that process.
        self._from_earlier_process = records.events
        self._log = records
        self._thread = thread
        self._read = read
        self._has_room = has_room
        self._keep_lock = keep_lock
        self._restored = 0
        #: At a stop: whether the files were looked at, and why they could not be closed as they should.
        self._looked = False
        self._failure = ""
        self._filled = asyncio.Event()
        #: An append that has not been confirmed yet: the numbers of its batches.
        self._begun: tuple[list[tuple[str, int | None]], asyncio.Future[None]] | None = None
        #: The numbers of the batches that Redis has perhaps written already.
        self._attempted: set[tuple[str, int | None]] = set()
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

    async def append(self, batches: Sequence[Batch], *, durable: bool, attempted: Sequence[Batch] = ()) -> None:
        """Append batches that have their numbers: all or none; `durable` ones survive a power cut.

        A call that was cancelled goes on in the thread: another one for the same batches waits for it. Redis may have
        written those that were `attempted`: they are replayed by their own numbers.

        Raises:
            SpoolFull: nothing was appended.
        """
        self._attempted.update(_numbers(attempted))
        if not self.has_begun(batches):
            self._begun = _numbers(batches), self._begin(batches, durable=durable)
        assert self._begun is not None  # noqa: S101 - it has begun
        try:
            await asyncio.shield(self._begun[1])
        except asyncio.CancelledError:
            raise  # it may be on the disk
        except BaseException:
            self._begun = None
            self._attempted.difference_update(_numbers(batches))
            raise
        self._begun = None
        self._say_restored(self.events - self._log.files.missing)
        self.events += sum(len(batch.events) for batch in batches)
        self._filled.set()
        if not durable and self._sync is None:
            self._sync = asyncio.get_running_loop().call_later(_SYNC_INTERVAL_S, self._sync_soon)

    def has_begun(self, batches: Sequence[Batch]) -> bool:
        """Return whether an append of these batches was begun and is not confirmed: it may be on the disk."""
        return self._begun is not None and self._begun[0] == _numbers(batches)

    def _begin(self, batches: Sequence[Batch], *, durable: bool) -> asyncio.Future[None]:
        payloads = [(encode_batch(batch), len(batch.events)) for batch in batches]
        begun = asyncio.ensure_future(self._run(self._append, payloads, durable))
        begun.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be waiting any more
        return begun

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
            batches = [self._decoded(entry) for entry in entries]
            if unread := [
                entry for batch in batches if batch.lost for entry in batch.entries if entry.payload is not None
            ]:
                await self._keep_unread(unread)
            for spooled in self._merged(batches):
                yield spooled
            if not self.events:
                self._filled.clear()

    async def _keep_unread(self, entries: Sequence[Entry]) -> None:
        """Copy whole records that this version can't decode to where the next start adopts them: it may be of another version."""
        try:
            directory = await self._run(self._log.copy, entries, UNREAD)
        except OSError as error:
            self._log_failure("can't keep records that this version can't read", error)
        else:
            events = sum(entry.events for entry in entries)
            log.error("spool.unread", source=self.name, events=events, directory=str(directory), cause=_UNREAD)

    async def forget(self, spooled: SpooledBatch) -> None:
        """Remove the batch that `replay` has yielded last: it is written, or reported as lost."""
        events = sum(entry.events for entry in spooled.entries)
        self._from_earlier_process = max(0, self._from_earlier_process - events)
        self._attempted.discard(_number(spooled.batch))
        self.events -= events
        try:
            # A reload may cancel it: it is removed all the same, before the next one is read.
            await asyncio.shield(self._run(self._remove, spooled.entries))
        except OSError as error:
            self._log_failure("can't be removed from", error)

    def _remove(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self._log.remove(entry)

    def _merged(self, batches: list[SpooledBatch]) -> list[SpooledBatch]:
        """Merge small batches of one sequence into larger ones: each batch costs a round trip.

        Don't merge batches from an earlier process, or one that was attempted before it was spooled: they may be written
        already, and only the original batch numbers show which (see `enqueue.lua`).
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
                or not self._attempted.isdisjoint(_numbers([last.batch, spooled.batch]))
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

    # The end, in three steps, of which the first two run in the thread.

    def look(self) -> None:
        """Find out whether files were removed; `close` makes them again, which may take longer than a stop may."""
        with suppress(OSError):  # `close` says it
            self._log.look()
        self._looked = True

    def close(self) -> None:
        """Sync everything to the disk, and close the files, which are made again first if somebody has removed them."""
        try:
            if self._log.events and not self._log.files.is_there:
                try:
                    self._keep_lock()
                except OSError:
                    self._log.files.unsaved, self._log.files.missing = self._log.events, 0
                    raise
                self._log.restore()
        except OSError as error:
            self._failure = describe_error(error)
        finally:
            self._log.close()

    def conclude(self) -> int | None:
        """Log how many events the next start finds; return how many are lost, None where the disk has not answered.

        The time is over, also where `close` has not ended: files that are not made again yet are given up.
        """
        files = self._log.files
        files.given_up = True
        lost, missing = files.unsaved, files.missing
        self.events = self._log.events - lost - missing
        if not self._looked and not lost:
            if self.events:
                log.error("spool.failed", source=self.name, cause="the disk does not answer", events=self.events)
            return None if self.events else 0
        self._say_restored(self.events)
        if lost:
            cause = f"it can't be made again: {self._failure or 'no time was left'}"
            log.error("spool.directory_lost", source=self.name, cause=cause, lost=lost)
        elif self._failure:
            log.error("spool.failed", source=self.name, cause=f"the spool can't be closed: {self._failure}")
        if self.events or missing:
            # The next start counts the missing ones as lost.
            log.info("spool.kept", source=self.name, events=self.events, missing=missing or None)
        return lost

    def _say_restored(self, events: int) -> None:
        files = self._log.files
        if files.restored != self._restored:
            self._restored = files.restored
            self._repeated.write(
                "restored",
                log.error,
                "spool.directory_lost",
                source=self.name,
                cause=_REMOVED,
                events=events,
                missing=files.missing or None,
            )

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
            return SpooledBatch([entry], Batch([]), lost=entry.events)
        if len(batch.events) != entry.events:  # the rest is where a later version has put it
            return SpooledBatch([entry], Batch([]), lost=entry.events)
        if self._from_earlier_process > 0:
            for event in batch.events:
                event.redelivered = True
        return SpooledBatch([entry], batch)

    async def _run(self, function: Callable[..., _T], *arguments: Any) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)


def _numbers(batches: Sequence[Batch]) -> list[tuple[str, int | None]]:
    return [_number(batch) for batch in batches]


def _number(batch: Batch) -> tuple[str, int | None]:
    return batch.sequence.name, batch.number
