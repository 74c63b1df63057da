"""The spool's directory: one owner, one thread, one bound for all sources together."""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

from bridge.errors import describe_error
from bridge.model.event import Details
from bridge.observe.logs import logger
from bridge.spool.log import Log
from bridge.spool.spool import Spool
from bridge.spool.thread import SpoolThread

log = logger()
_MOST_SEGMENT_BYTES: Final = 8 * 1024 * 1024
#: A bound is kept to within one of so many files.
_SEGMENTS: Final = 16
#: How long another process may take to let go of the directory: longer than any drain.
_LOCK_S: Final = 30.0
_LOCK_AGAIN_S: Final = 0.2
#: What a source's directory begins with: none is called like the lock, or like a process's.
_SOURCE: Final = "source-"
_ADOPT_BYTES: Final = 1024 * 1024


class SpoolDirectory:
    """Opens the spools of a process's sources in `path`; they hold `max_bytes` together."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._segment_bytes = min(_MOST_SEGMENT_BYTES, max_bytes // _SEGMENTS)
        self._spools: list[Spool] = []
        self._thread = SpoolThread()
        self._lock: int | None = None

    async def own(self) -> bool:
        """Become the only one who uses the directory; say so and return False where that can't be had.

        Not having it is no reason not to start: the bridge does its work, as it would without a spool.
        """
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self._path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            deadline = time.monotonic() + _LOCK_S
            said = False
            while not _locked(self._lock):
                if time.monotonic() > deadline:
                    raise OSError("another process uses it")
                if not said:
                    log.warning("spool.waiting", directory=str(self._path), cause="another process uses it")
                    said = True
                await asyncio.sleep(_LOCK_AGAIN_S)
        except OSError as error:
            log.error("spool.unavailable", directory=str(self._path), cause=describe_error(error))
            return False
        return True

    async def open(self, source: str, read: Callable[[Any], Details]) -> Spool | None:
        """Return the spool of `source`, with what an earlier process has left in it; None if that can't be had."""
        path = self._path / f"{_SOURCE}{quote(source, safe='')}"
        try:
            kept = await self._run(self._opened, path)
        except OSError as error:
            log.error("spool.unavailable", source=source, directory=str(path), cause=describe_error(error))
            return None
        damage = kept.damage
        if damage.torn or damage.position:
            log.error("spool.damaged", source=source, torn=damage.torn, position=damage.position or None)
        if kept.events:
            log.info("spool.found", source=source, events=kept.events)
        spool = Spool(source, kept, self._thread, read, self._has_room)
        self._spools.append(spool)
        return spool

    def say_unclaimed(self) -> None:
        """Name what was spooled for sources that are in the configuration no more: it waits for them."""
        opened = {spool.name for spool in self._spools}
        for path in sorted(self._path.glob(f"{_SOURCE}*")):
            source = unquote(path.name.removeprefix(_SOURCE))
            if source not in opened and any(file.stat().st_size for file in path.glob("*.spool")):
                log.warning("spool.unclaimed", source=source, directory=str(path))

    async def close(self) -> None:
        """Bring everything to the disk, say what stays there, and let go of the directory."""
        for spool in self._spools:
            await spool.close()
            if spool.events:
                log.info("spool.kept", source=spool.name, events=spool.events)
        self._thread.shutdown()
        if self._lock is not None:
            os.close(self._lock)

    def _opened(self, path: Path) -> Log:
        kept = self._readable(path)
        for other in sorted(self._path.glob(f"process-*/{path.name}")):
            self._adopt(kept, other)
        return kept

    def _adopt(self, kept: Log, other: Path) -> None:
        """Take over what another process of this bridge has left, if it does not run: there may be fewer of them now."""
        try:
            handle = os.open(other.parent / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                if _locked(handle):
                    self._move(Log(other, self._segment_bytes), kept, other)
            finally:
                os.close(handle)
        except OSError as error:
            log.error("spool.unavailable", directory=str(other), cause=describe_error(error))

    @staticmethod
    def _move(left: Log, kept: Log, other: Path) -> None:
        taken = lost = 0
        while entries := left.read(_ADOPT_BYTES):
            whole = [(entry.payload, entry.events) for entry in entries if entry.payload is not None]
            kept.append(whole, sync=True)
            for entry in entries:
                left.remove(entry)
            taken += sum(events for _, events in whole)
            lost += sum(entry.events for entry in entries if entry.payload is None)
        left.close()
        if taken or lost:
            log.info("spool.adopted", directory=str(other), events=taken, lost=lost)

    def _readable(self, path: Path) -> Log:
        try:
            return Log(path, self._segment_bytes)
        except Exception as error:  # noqa: BLE001 - whatever it is that can't be read, the start does not fail on it
            aside = path.with_name(f"{path.name}.broken-{time.time_ns()}")
            log.error("spool.set_aside", directory=str(path), moved_to=str(aside), cause=describe_error(error))
            with suppress(FileNotFoundError):
                path.rename(aside)
            return Log(path, self._segment_bytes)

    def _has_room(self, size: int) -> bool:
        return sum(spool.size for spool in self._spools) + size <= self._max_bytes

    async def _run(self, function: Callable[[Path], Log], path: Path) -> Log:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, path)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
