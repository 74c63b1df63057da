"""`run --reload-on-change`: has a configuration loaded again once its files have other contents.

It looks at the contents, and by the path each time: on a volume of any kind a file, a symlink or a folder may be exchanged,
the times of a file may lie, and no notification may come.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

from bridge.config import files
from bridge.config.files import FileRead, UnreadableFile
from bridge.errors import describe_error
from bridge.observe.logs import RepeatedLog, logger
from bridge.process.loader import Prepared

log = logger()
#: Between two looks; the command line's help names it.
LOOK_S: Final = 2.0
#: A file that so many looks can't read, or find changing, is said, and so is one look that lasts so long.
_PATIENCE: Final = 15


def is_watchable(path: str) -> bool:
    """Return whether a file can be read again: standard input and a pipe bring their contents once."""
    try:
        is_pipe = stat.S_ISFIFO(os.stat(path).st_mode)  # noqa: PTH116 - any text is a path, also the name of none
    except (OSError, ValueError):
        is_pipe = False  # the load says why it can't be read
    return not is_pipe and Path(path).parts[:2] not in {("/", "dev"), ("/", "proc")}


class FileWatch:
    """Looks at the files that the last call of `load` has read, whether it succeeded or not."""

    def __init__(self, load: Callable[[], Prepared], look_s: float = LOOK_S) -> None:
        self._load = load
        self._look_s = look_s
        self._reads: Mapping[str, FileRead] = {}
        #: The other contents that the last look has found.
        self._changed: dict[str, bytes] = {}
        #: How many of the last looks, one after another, have found another change than the one before.
        self._restless = 0
        #: How many of the last looks could not read a file.
        self._unread: dict[str, int] = {}
        self._repeated = RepeatedLog()

    def load(self) -> Prepared:
        """Call `load`, in any thread. The contents that it reads are those that others are compared with.

        Raises:
            ConfigError: the file has mistakes, or cannot be read.
        """
        with files.recorded_reads() as reads:
            try:
                return self._load()
            finally:
                self._reads = reads

    async def run(self, reload: Callable[[], Awaitable[object]]) -> None:
        """Look for ever, and call `reload` when the files have changed."""
        while True:
            await asyncio.sleep(self._look_s)
            if changed := await self.look():
                log.info("bridge.reload_requested", files=changed)
                await reload()

    async def look(self) -> list[str]:
        """Return the files that have changed; none until the next look finds the same: a file may be half written.

        Those that rest do not wait longer than half a minute for one that never does.
        """
        reads = self._reads
        found = await self._find(reads)
        before = self._changed
        self._changed = {path: digest for path, digest in found.items() if digest != reads[path].digest}
        if reads is not self._reads:
            return []
        moving = [path for path in reads if before.get(path) != self._changed.get(path)]
        self._restless = self._restless + 1 if moving else 0
        if moving and self._restless <= _PATIENCE:
            return []
        for path in moving:
            cause = f"{path} has other contents at each look: no change of it is loaded before it rests"
            self._repeated.write(path, log.warning, "bridge.watch_blind", cause=cause)
        resting = [path for path in self._changed if path not in moving]
        if resting:
            self._restless = 0
        return resting

    async def _find(self, reads: Mapping[str, FileRead]) -> dict[str, bytes]:
        """Return the digests of the files that can be read; one that is missing may be in the middle of its replacement."""
        # In a thread, which a volume may hold for ever.
        looking = asyncio.create_task(asyncio.to_thread(_contents, reads), name="bridge:look")
        try:
            done, _ = await asyncio.wait([looking], timeout=_PATIENCE * self._look_s)
            if not done:
                cause = "a read of the configuration's files does not end: a change of them is not seen"
                self._repeated.write("", log.warning, "bridge.watch_blind", cause=cause)
            found, faults = await looking
        except Exception as error:  # noqa: BLE001 - such as a thread that can't be started: the next look may succeed
            found, faults = {}, dict.fromkeys(reads, describe_error(error))
        finally:
            looking.cancel()
        self._say(faults)
        return found

    def _say(self, faults: Mapping[str, str]) -> None:
        self._unread = {path: self._unread.get(path, 0) + 1 for path in faults}
        for path, fault in faults.items():
            if self._unread[path] > _PATIENCE:
                cause = f"{path} {fault}: a change of it is not seen"
                self._repeated.write(path, log.warning, "bridge.watch_blind", cause=cause)


def _contents(reads: Mapping[str, FileRead]) -> tuple[dict[str, bytes], dict[str, str]]:
    """Return the digests of the files, and why others can't be read, which the load could read."""
    faults = {}
    with files.recorded_reads() as found:
        for path, read in reads.items():
            try:
                read.again()
            except UnreadableFile as error:
                if read.digest is not None:
                    faults[path] = str(error)
    return {path: read.digest for path, read in found.items() if read.digest is not None}, faults
