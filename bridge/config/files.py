"""Files that the configuration is made of or names, read within a bound of bytes and of time."""

from __future__ import annotations

import hashlib
import os
import select
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from bridge.config.units import spell_size
from bridge.errors import BridgeError

#: The path of standard input, and its name in messages.
STANDARD_INPUT: Final = "/dev/stdin"
#: A file that is written while it is read is read so often, with a pause between.
_READS: Final = 5
_PAUSE_S: Final = 0.05
#: Where files are read `at_rest`, each has not been written for so long.
_REST_S: Final = 0.1


class UnreadableFile(BridgeError):
    """A file that can't be read; the message begins with a verb or an adjective: `cannot be read: ...`."""


class InaccessibleFile(UnreadableFile):
    """A path that the system does not open or read: nothing is there, a permission is missing, it is a directory."""


@dataclass(frozen=True, slots=True)
class FileRead:
    """One read of a file, or of the names that fit a pattern: how to repeat it, and the digest; None where it failed."""

    again: Callable[[], object]
    digest: bytes | None


_reads: Final[ContextVar[dict[str, FileRead] | None]] = ContextVar("reads", default=None)
_waits: Final[ContextVar[bool]] = ContextVar("waits", default=False)


@contextmanager
def recorded_reads() -> Iterator[dict[str, FileRead]]:
    """Record the first read of each file, and of each pattern, by this thread, by its path."""
    reads: dict[str, FileRead] = {}
    token = _reads.set(reads)
    try:
        yield reads
    finally:
        _reads.reset(token)


@contextmanager
def at_rest() -> Iterator[None]:
    """Let this thread wait for a file that was written just now: its writer may write it in pieces."""
    token = _waits.set(True)
    try:
        yield
    finally:
        _waits.reset(token)


def record(name: str, again: Callable[[], object], body: bytes | None) -> None:
    """Note that this thread has read `body`, None if it could not; `again` reads once more, and records that."""
    if (reads := _reads.get()) is not None:
        reads.setdefault(name, FileRead(again, None if body is None else hashlib.sha256(body).digest()))


def whole(path: str | os.PathLike[str]) -> Path:
    """Return a path as a message shows it: few of its readers know where a relative one begins."""
    try:
        return Path(path).absolute()
    except OSError:  # the working directory has been removed
        return Path(path)


def named(path: str | os.PathLike[str]) -> str:
    """Return `the file PATH`, for a message."""
    return f"the file {whole(path)}"


def read_file(path: str | os.PathLike[str], max_bytes: int, *, pipe_timeout_s: float | None = None) -> bytes:
    """Return the bytes of a file: at most `max_bytes`, and never from a device, or from a socket but standard input.

    Nothing is waited for, but shortly for a writer, and with `pipe_timeout_s` a pipe is read as well, such as the
    shell's `<(...)`: its end has to come within that time.

    Raises:
        UnreadableFile: in words that can follow the path.
    """
    body = None
    try:
        body = _read_file(path, max_bytes, pipe_timeout_s)
        return body
    finally:
        record(os.fspath(path), partial(read_file, path, max_bytes), body)


def _read_file(path: str | os.PathLike[str], max_bytes: int, pipe_timeout_s: float | None) -> bytes:
    try:
        descriptor = _open(path)
        try:
            mode = os.fstat(descriptor).st_mode
            if stat.S_ISDIR(mode):
                raise InaccessibleFile("cannot be read: Is a directory")
            is_stream = stat.S_ISFIFO(mode) or (stat.S_ISSOCK(mode) and path == STANDARD_INPUT)
            if not stat.S_ISREG(mode) and not (is_stream and pipe_timeout_s is not None):
                raise UnreadableFile("cannot be read: it is not a file")
            if is_stream:
                body = _read(descriptor, max_bytes, pipe_timeout_s or 0.0)
            else:
                body = _read_unchanged(descriptor, max_bytes)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        raise InaccessibleFile(f"cannot be read: {getattr(error, 'strerror', None) or 'this is no path'}") from None
    if len(body) > max_bytes:
        raise UnreadableFile(f"is larger than {spell_size(max_bytes)}")
    return body


def _open(path: str | os.PathLike[str]) -> int:
    if path == STANDARD_INPUT:
        return os.dup(0)  # by its path nobody opens a socket, which Node gives to a child (ENXIO, observed)
    # Not blocking: to open a named pipe without a writer takes for ever. A terminal must not become ours.
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)


def _read_unchanged(descriptor: int, max_bytes: int) -> bytes:
    """Return the bytes of a file that nobody writes meanwhile: others may be half of what they will be."""
    start = os.lseek(descriptor, 0, os.SEEK_CUR)  # of standard input, somebody may have read the beginning
    for _ in range(_READS):
        before = os.fstat(descriptor)
        os.lseek(descriptor, start, os.SEEK_SET)
        body = _read(descriptor, max_bytes, 0.0)
        age_s = time.time() - before.st_mtime
        if _waits.get() and 0 <= age_s < _REST_S:
            time.sleep(_REST_S - age_s)
        after = os.fstat(descriptor)
        if (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns):
            return body
        time.sleep(_PAUSE_S)
    raise UnreadableFile("is written while it is read: replace it by a rename, as `mv NEW FILE` does")


def _read(descriptor: int, max_bytes: int, timeout_s: float) -> bytes:
    """Return everything up to the end of the file, or one byte more than `max_bytes`."""
    deadline = time.monotonic() + timeout_s
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    body = bytearray()
    while len(body) <= max_bytes:
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise UnreadableFile(f"cannot be read: its end did not come within {timeout_s:g} s")
        part = os.read(descriptor, max_bytes + 1 - len(body))
        if not part:
            break
        body += part
    return bytes(body)


def base_directory(file: str | os.PathLike[str]) -> Path:
    """Return where the relative paths in `file` begin: its folder; of standard input or a pipe, the current one."""
    path = Path(file)
    return Path() if path.parts[:2] in {("/", "dev"), ("/", "proc")} else path.parent
