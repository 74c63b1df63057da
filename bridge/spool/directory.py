"""The spool's directory: one owner, one thread, and one bound for all sources together."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

from bridge.config.files import whole
from bridge.errors import describe_error
from bridge.model.event import Details
from bridge.observe.logs import logger
from bridge.spool.encoding import kept_apart
from bridge.spool.files import DirectoryLost
from bridge.spool.format import NewerFormatError, check_format
from bridge.spool.log import Log
from bridge.spool.rights import make_private, say_if_open
from bridge.spool.segment import Handles, is_there
from bridge.spool.spool import UNREAD, Spool
from bridge.spool.thread import SpoolThread

log = logger()
_MAX_SEGMENT_BYTES: Final = 8 * 1024 * 1024
#: The bound is divided into so many files; the spool keeps to it within the size of one.
_SEGMENTS: Final = 16
#: How long to wait until another process gives up the directory: longer than a drain with the default `drain_timeout`.
_LOCK_TIMEOUT_S: Final = 30.0
_LOCK_RETRY_S: Final = 0.2
#: Begins the name of a source's directory, which then can't be the name of the lock or of a process's directory.
_SOURCE_PREFIX: Final = "source-"
_PROCESS_PREFIX: Final = "process-"
_ADOPT_BYTES: Final = 1024 * 1024
#: No more files can be open: nothing is wrong with those of the spool.
_NO_HANDLE: Final = frozenset({errno.EMFILE, errno.ENFILE})
_HANDLE_TIMEOUT_S: Final = 10.0
_HANDLE_RETRY_S: Final = 0.5
_CLOSE_S: Final = 30.0


class SpoolDirectory:
    """Opens the spools of a process's sources in `path`; together they hold at most `max_bytes`."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path = whole(path)  # the log names the whole place
        self._max_bytes = max_bytes
        self._segment_bytes = min(_MAX_SEGMENT_BYTES, max_bytes // _SEGMENTS)
        self._spools: list[Spool] = []
        self._thread = SpoolThread()
        self._handles = Handles()
        self._lock: int | None = None
        #: When to wait no longer until files can be opened, for any source.
        self._opened_by: float | None = None

    async def own(self) -> bool:
        """Lock the directory for this process; if that fails, log the cause and return False.

        A bridge that can't have the directory starts all the same, and works as it would without a spool.
        """
        try:
            deadline = time.monotonic() + _LOCK_TIMEOUT_S
            logged = False
            while not self._take_lock():
                if time.monotonic() > deadline:
                    raise OSError("another process uses it")
                if not logged:
                    log.warning("spool.waiting", directory=str(self._path), cause="another process uses it")
                    logged = True
                await asyncio.sleep(_LOCK_RETRY_S)
            say_if_open(self._path)
        except OSError as error:
            log.error("spool.unavailable", directory=str(self._path), cause=describe_error(error))
            return False
        return True

    @property
    def fill(self) -> float:
        """The share of `max_bytes` that is used."""
        return self._used_bytes() / self._max_bytes

    async def open(self, source: str, read: Callable[[Any], Details]) -> Spool | None:
        """Return the spool of `source`, with the events of earlier processes; None if it can't be opened."""
        path = self._path / f"{_SOURCE_PREFIX}{quote(source, safe='')}"
        logged = False
        while True:
            try:
                records = await self._run(self._open_log, path)
                break
            except OSError as error:
                if not logged:
                    log.error("spool.unavailable", source=source, directory=str(path), cause=describe_error(error))
                    logged = True
                self._opened_by = self._opened_by or time.monotonic() + _HANDLE_TIMEOUT_S
                if error.errno not in _NO_HANDLE or time.monotonic() > self._opened_by:
                    return None
            await asyncio.sleep(_HANDLE_RETRY_S)
        damage = records.damage
        if damage.torn or damage.position:
            log.error("spool.damaged", source=source, torn=damage.torn, position=damage.position or None)
        if records.events:
            log.info("spool.found", source=source, events=records.events)
        spool = Spool(source, records, self._thread, read, has_room=self._has_room, keep_lock=self._keep_lock)
        self._spools.append(spool)
        return spool

    def log_unclaimed(self) -> None:
        """Log each source that has spooled events and is no longer in the configuration: they wait for its return."""
        opened = {spool.name for spool in self._spools}
        for path in self._spooled():
            source = unquote(path.name.removeprefix(_SOURCE_PREFIX))
            with suppress(OSError):  # another process may be removing it
                if source not in opened and any(file.stat().st_size for file in path.glob("*.spool")):
                    log.warning("spool.unclaimed", source=source, directory=str(path))

    async def release(self, spool: Spool, within_s: float = _CLOSE_S) -> int | None:
        """Close one spool, whose source is removed, and log how many events wait in it for the source's return.

        Return how many are lost: None where the disk has not answered within `within_s` seconds.
        """

        def end() -> None:
            spool.look()
            spool.close()

        closing = asyncio.get_running_loop().run_in_executor(self._thread, end)
        await asyncio.wait({closing}, timeout=within_s)
        self._spools.remove(spool)
        return spool.conclude()

    async def close(self, within_s: float = _CLOSE_S) -> dict[str, int | None]:
        """Sync everything to the disk, and unlock the directory; log how many events remain spooled, and how many are lost.

        Return how many of each source are lost: None where the disk has not answered within `within_s` seconds.
        """
        closing = asyncio.get_running_loop().run_in_executor(self._thread, self._close_spools)
        await asyncio.wait({closing}, timeout=within_s)
        lost = {spool.name: spool.conclude() for spool in self._spools}
        self._thread.shutdown()
        if self._lock is not None and closing.done():
            os.close(self._lock)
            self._lock = None
        return lost

    def _close_spools(self) -> None:
        for spool in self._spools:
            spool.look()
        for spool in self._spools:
            spool.close()

    def _spooled(self) -> list[Path]:
        """Return the directories of all sources, also those that processes with a directory below this one have, or had."""
        found = []
        for parent, names, _ in os.walk(self._path):
            found += [Path(parent, name) for name in sorted(names) if name.startswith(_SOURCE_PREFIX)]
            names[:] = sorted(name for name in names if name.startswith(_PROCESS_PREFIX))
        return found

    def _open_log(self, path: Path) -> Log:
        self._keep_newer(path)
        records = self._open_or_set_aside(path)
        for orphan in self._spooled():
            if orphan.name == path.name and orphan != path:
                self._adopt(records, orphan)
        return records

    def _adopt(self, records: Log, orphan: Path) -> None:
        """Take over the spool of another process of this bridge, unless it runs: there may be fewer processes now."""
        try:
            check_format(orphan)
            handle = os.open(orphan.parent / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                if _try_lock(handle):
                    with closing(Log(orphan, self._segment_bytes, self._handles)) as orphan_records:
                        self._move(orphan_records, records, orphan)
            finally:
                os.close(handle)
        except NewerFormatError as error:
            log.error("spool.newer_format", directory=str(orphan), cause=str(error))
        except OSError as error:
            log.error("spool.unavailable", directory=str(orphan), cause=describe_error(error))

    def _keep_newer(self, path: Path) -> None:
        """Move a source's directory that a newer version has written to where that version adopts it.

        Raises:
            OSError: it can't be looked at, or moved.
        """
        try:
            check_format(path)
        except NewerFormatError:
            kept = self._path / f"{_PROCESS_PREFIX}newer-{time.time_ns()}"
            make_private(kept)
            path.rename(kept / path.name)

    @staticmethod
    def _move(orphan_records: Log, records: Log, orphan: Path) -> None:
        adopted = lost = 0
        while entries := orphan_records.read(_ADOPT_BYTES):
            readable = [(entry.payload, entry.events) for entry in entries if entry.payload is not None]
            if orphan.parent.name == UNREAD:
                readable = [(kept_apart(payload), events) for payload, events in readable]
            records.append(readable, sync=True)
            for entry in entries:
                orphan_records.remove(entry)
            adopted += sum(events for _, events in readable)
            lost += sum(entry.events for entry in entries if entry.payload is None)
        if adopted or lost:
            records.damage.adopted += lost
            log.info("spool.adopted", directory=str(orphan), events=adopted, lost=lost)

    def _open_or_set_aside(self, path: Path) -> Log:
        try:
            return Log(path, self._segment_bytes, self._handles)
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _NO_HANDLE:
                raise
            # No error of unreadable files may keep the bridge from starting.
            aside = path.with_name(f"{path.name}.broken-{time.time_ns()}")
            log.error("spool.set_aside", directory=str(path), moved_to=str(aside), cause=describe_error(error))
            with suppress(FileNotFoundError):
                path.rename(aside)
            return Log(path, self._segment_bytes, self._handles)

    def _has_room(self, size: int) -> bool:
        return self._used_bytes() + size <= self._max_bytes

    def _used_bytes(self) -> int:
        return sum(spool.size for spool in self._spools)

    def _keep_lock(self) -> None:
        """Lock the directory again if somebody has removed it, or its lock.

        Raises:
            DirectoryLost: it can't be made again.
            OSError: another process has the lock now.
        """
        assert self._lock is not None  # noqa: S101 - `own` comes first
        if is_there(self._path / "lock", self._lock):
            return
        try:
            is_taken = self._take_lock()
        except OSError as error:
            raise DirectoryLost(error.errno, error.strerror, str(self._path)) from None
        if not is_taken:
            raise OSError("another process uses its directory, which was removed")

    def _take_lock(self) -> bool:
        """Lock the directory, which is made if it is missing; return False while another process has it."""
        path = self._path / "lock"
        make_private(self._path)
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        # The lock of a removed directory is nobody's.
        if not _try_lock(lock) or not is_there(path, lock):
            os.close(lock)
            return False
        if self._lock is not None:
            os.close(self._lock)
        self._lock = lock
        return True

    async def _run(self, function: Callable[[Path], Log], path: Path) -> Log:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, path)


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
