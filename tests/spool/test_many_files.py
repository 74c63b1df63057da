"""A spool of more files than a process may open: they are opened one after another."""

from __future__ import annotations

import errno
import os
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from bridge.spool import SpoolDirectory
from bridge.spool import directory as directory_module
from bridge.spool.log import Log
from bridge.spool.segment import MAX_HELD, Handles
from tests.spool.conftest import Logs
from tests.spool.test_removed import batch, opened, payloads

_MANY = 1100


@pytest.fixture
def few_handles() -> Iterator[None]:
    """So few files may be open as most systems allow, or fewer."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def open_files() -> int:
    """Return how many files this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def filled(log: Log, count: int) -> list[bytes]:
    """Append `count` records, each in a file of its own."""
    sent = [b"%06d" % number * 20 for number in range(count)]
    for payload in sent:
        log.append([(payload, 1)], sync=False)
    return sent


@pytest.mark.usefixtures("few_handles")
def test_more_files_than_may_be_open_are_kept_found_and_read(logs: Logs, tmp_path: Path) -> None:
    """By the process that has written them, and by the next one."""
    log = logs.open(tmp_path / "spool", 64)
    before = open_files()
    sent = filled(log, _MANY)
    assert open_files() - before <= MAX_HELD
    first = [entry.payload for entry in log.read(1)]
    log.remove(log.read(1)[0])
    logs.close(log)
    log = logs.open(tmp_path / "spool", 64)
    assert log.events == _MANY - 1
    assert first + payloads(log) == sent
    assert open_files() - before <= MAX_HELD


def test_all_logs_of_a_process_share_the_files_that_are_held_open(tmp_path: Path) -> None:
    """Many sources have many files, each at least the one that it is written to."""
    handles = Handles()
    before = open_files()
    spools = [Log(tmp_path / str(number), 64, handles) for number in range(8)]
    for log in spools:
        filled(log, 40)
    assert open_files() - before <= MAX_HELD + 2 * len(spools)
    for log in spools:
        assert len(payloads(log)) == 40
        log.close()
    assert handles.free == MAX_HELD
    assert open_files() == before


def test_of_a_removed_directory_the_open_files_are_restored_and_the_others_counted_as_lost(
    logs: Logs, tmp_path: Path
) -> None:
    """Exactly: the oldest are open, and the one that is written to."""
    log = logs.open(tmp_path / "spool", 64)
    sent = filled(log, 2 * MAX_HELD)
    shutil.rmtree(tmp_path / "spool")
    log.append([(b"behind", 1)], sync=True)
    logs.close(log)
    log = logs.open(tmp_path / "spool", 64)
    assert log.events == 2 * MAX_HELD + 1
    lost = kept = 0
    while log.events:
        for entry in log.read(10_000):
            if entry.payload is None:
                lost += entry.events
            else:
                assert entry.payload in {sent[kept], sent[-1], b"behind"}
                kept += entry.events
            log.remove(entry)
    assert lost + kept == 2 * MAX_HELD + 1
    assert kept >= MAX_HELD


def test_files_that_are_removed_alone_are_counted_as_lost_and_hold_nothing_up(logs: Logs, tmp_path: Path) -> None:
    """Nobody appends: those behind them are read all the same."""
    log = logs.open(tmp_path / "spool", 64)
    sent = filled(log, 2 * MAX_HELD)
    for path in sorted((tmp_path / "spool").glob("*.spool"))[MAX_HELD + 2 : MAX_HELD + 12]:
        path.unlink()
    found = [_next(log) for _ in range(2 * MAX_HELD - 9)]
    assert not log.events
    assert [payload for payload, _ in found if payload is not None] == sent[: MAX_HELD + 2] + sent[MAX_HELD + 12 :]
    assert sum(events for payload, events in found if payload is None) == 10


def test_a_log_holds_files_that_another_one_has_let_go(tmp_path: Path) -> None:
    """They survive the removal of their directory from its next append on."""
    handles = Handles()
    first, second = Log(tmp_path / "first", 64, handles), Log(tmp_path / "second", 64, handles)
    filled(first, MAX_HELD)
    sent = filled(second, 5)
    payloads(first)
    second.append([(b"more", 1)], sync=False)
    shutil.rmtree(tmp_path / "second")
    second.append([(b"behind", 1)], sync=False)
    assert payloads(second) == [*sent, b"more", b"behind"]
    first.close()
    second.close()
    assert handles.free == MAX_HELD


async def test_a_file_that_cannot_be_deleted_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that may not delete it forgets it: it goes on reading and appending."""
    spools, spool = await opened(tmp_path)
    await spool.append([batch()], durable=True)
    _empty_files(tmp_path)

    def refuse(path: Path, **_: bool) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(path))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", refuse)
        replay = spool.replay()
        spooled = await anext(replay)
        assert spooled.lost == 1
        await spool.forget(spooled)
        await spool.append([batch(b"behind")], durable=True)
        spooled = await anext(replay)
        assert [event.body for event in spooled.batch.events] == [b"behind"]
        await spool.forget(spooled)
    await spools.close()
    spools, spool = await opened(tmp_path)
    assert spool.events == 0
    await spools.close()


def test_a_file_that_cannot_be_read_now_is_read_later(
    logs: Logs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is neither deleted nor taken for an empty one."""
    log = logs.open(tmp_path, 1000)
    log.append([(b"a", 1)], sync=True)

    def fail(*_: int) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(os, "pread", fail)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            log.read(1000)
    log.append([(b"b", 1)], sync=True)
    assert payloads(log) == [b"a", b"b"]


def test_events_of_a_removed_file_are_counted_also_behind_a_file_that_could_not_be_dropped(
    logs: Logs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk refused a write, and then a sync: the next event does not hide them."""
    log = logs.open(tmp_path, 64)
    log.append([(b"a" * 64, 1)], sync=True)

    def fail(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", fail)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            log.append([(b"x", 1)], sync=True)
    _empty_files(tmp_path)
    for dropped in range(2):
        with monkeypatch.context() as patched:
            patched.setattr(os, "fdatasync", fail)
            with pytest.raises(OSError, match=os.strerror(errno.EIO)):
                log.read(1000)
        if not dropped:
            log.files.drop_first()
    log.append([(b"b", 1)], sync=True)
    assert payloads(log) == [None, b"b"]


def _empty_files(directory: Path) -> None:
    for path in directory.rglob("*.spool"):
        os.truncate(path, 0)


def _next(log: Log) -> tuple[bytes | None, int]:
    entry = log.read(1)[0]
    log.remove(entry)
    return entry.payload, entry.events


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE])
async def test_a_spool_is_not_set_aside_where_no_file_can_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Nothing is wrong with it: the start waits until it can be opened, and says so."""
    directory = tmp_path / "spool"
    spools, spool = await opened(directory)
    await spool.append([batch()], durable=True)
    await spools.close()
    left = 2
    plain_open = os.open

    def refuse(path: str, *rest: int) -> int:
        nonlocal left
        if left and str(path).endswith("position"):
            left -= 1
            raise OSError(code, os.strerror(code))
        return plain_open(path, *rest)

    monkeypatch.setattr(os, "open", refuse)
    spools = SpoolDirectory(directory, 1 << 20)
    assert await spools.own()
    with structlog.testing.capture_logs() as lines:
        found = await spools.open("s", lambda _raw: ({}, {}))
    assert [line["event"] for line in lines] == ["spool.unavailable", "spool.found"]
    assert found is not None
    assert found.events == 1
    await spools.close()


async def test_a_start_without_file_handles_waits_once_for_all_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for each in turn: a bridge of many sources starts without its spools."""
    spools = SpoolDirectory(tmp_path, 1 << 20)
    assert await spools.own()
    monkeypatch.setattr(directory_module, "_HANDLE_TIMEOUT_S", 1.0)
    monkeypatch.setattr(directory_module, "_HANDLE_RETRY_S", 0.1)
    attempts = {"a": 0, "b": 0, "c": 0}
    plain_open = os.open

    def refuse(path: str, *rest: int) -> int:
        if str(path).endswith("position"):
            attempts[Path(path).parent.name.removeprefix("source-")] += 1
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return plain_open(path, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse)
        for name in attempts:
            assert await spools.open(name, lambda _raw: ({}, {})) is None
    assert attempts["a"] > 1
    assert (attempts["b"], attempts["c"]) == (1, 1)
    await spools.close()
