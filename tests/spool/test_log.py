"""The spool's log: records come back in order, and damaged ones are counted exactly."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.spool.log import Log
from bridge.spool.segment import Segment
from tests.spool.conftest import SEGMENT, Logs


def _fill(log: Log, records: int, start: int = 0) -> list[tuple[bytes, int]]:
    """Append records of 1 to 3 events, each with its number in the payload."""
    appended = [(b"record %d " % n + b"x" * (n % 7 * 10), n % 3 + 1) for n in range(start, start + records)]
    for record in appended:
        log.append([record], sync=False)
    return appended


def _empty(log: Log) -> tuple[list[tuple[bytes, int]], int]:
    """Read and remove every entry; return the readable records, and how many events are lost."""
    readable, lost = [], 0
    while log.events:
        entries = log.read(300)
        assert entries
        for entry in entries:
            if entry.payload is None:
                lost += entry.events
            else:
                readable.append((entry.payload, entry.events))
            log.remove(entry)
    return readable, lost


def test_records_come_back_in_order(logs: Logs, tmp_path: Path) -> None:
    """First in, first out, over several files; an emptied log takes at most two files' space."""
    log = logs.open(tmp_path)
    appended = _fill(log, 100)
    assert log.events == sum(events for _, events in appended)
    assert len(list(tmp_path.glob("*.spool"))) > 3
    assert _empty(log) == (appended, 0)
    assert log.events == 0
    assert log.size <= 2 * SEGMENT


class _WatchedSegment(Segment):
    """A segment that another one follows while its size is asked for, as a thread that appends may do."""

    log: Log

    def __getattribute__(self, name: str) -> Any:
        if name == "size":
            log: Log = super().__getattribute__("log")
            log.files.segments.append(Segment(Path("later"), None, 0))
        return super().__getattribute__(name)


def test_the_size_can_be_asked_for_while_a_thread_appends(logs: Logs, tmp_path: Path) -> None:
    """Every snapshot of a bridge asks for it; the segments that there were count."""
    log = logs.open(tmp_path)
    _fill(log, 1)
    before, last = log.size, log.files.segments[-1]
    watched = _WatchedSegment(last.path, None, 7)
    watched.log = log
    log.files.segments.append(watched)
    assert log.size == before + 7
    log.files.segments.remove(watched)


def test_it_survives_the_process(logs: Logs, tmp_path: Path) -> None:
    """Another process finds the records that were not removed; new records go behind them."""
    log = logs.open(tmp_path)
    appended = _fill(log, 50)
    for entry in log.read(1 << 20)[:7]:
        log.remove(entry)
    # Not closed: the process was killed.
    again = logs.open(tmp_path)
    appended += _fill(again, 10, start=50)
    assert _empty(again) == (appended[7:], 0)
    assert logs.open(tmp_path).events == 0


@settings(deadline=None, max_examples=200)
@given(st.lists(st.sampled_from(["append", "append", "remove", "reopen"]), max_size=60))
def test_any_order_of_steps(steps: list[str]) -> None:
    """Append, remove and reopen in any order: nothing is lost, nothing comes twice."""
    directory = Path("/tmp") / f"spool-log-{os.getpid()}-{random.getrandbits(64):x}"
    try:
        with Logs() as logs:
            log = logs.open(directory, 200)
            expected: list[tuple[bytes, int]] = []
            number = 0
            for step in steps:
                if step == "append":
                    expected += _fill(log, 1, start=number)
                    number += 1
                elif step == "reopen":
                    log = logs.open(directory, 200)
                elif expected:
                    entry = log.read(1)[0]
                    assert (entry.payload, entry.events) == expected.pop(0)
                    log.remove(entry)
                assert log.events == sum(events for _, events in expected)
            assert _empty(log) == (expected, 0)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _files(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.glob("*.spool")}


@pytest.mark.no_cover  # it takes long enough without the tracer
def test_any_flipped_byte_costs_one_record_and_is_counted(logs: Logs, tmp_path: Path) -> None:
    """Flip any one byte: all other records come back, in order, and exactly this record's events are counted as lost."""
    log = logs.open(tmp_path / "whole", 700)
    appended = _fill(log, 20)
    logs.close(log)
    total = sum(events for _, events in appended)
    files = _files(tmp_path / "whole")
    assert len(files) > 2
    for path, data in files.items():
        for at in range(len(data)):
            damaged = tmp_path / "damaged"
            shutil.copytree(tmp_path / "whole", damaged)
            (damaged / path.name).write_bytes(data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :])
            log = logs.open(damaged, 700)
            readable, lost = _empty(log)
            logs.close(log)
            where = f"byte {at} of {path.name}"
            assert len(readable) >= len(appended) - 1, where
            assert readable == [record for record in appended if record in readable], where
            assert lost == total - sum(events for _, events in readable), where
            shutil.rmtree(damaged)


def test_damage_over_several_records_is_counted(logs: Logs, tmp_path: Path) -> None:
    """Zeros in the middle of a file, a missing file, and one of garbage: lost events are counted, all others come back."""
    log = logs.open(tmp_path)
    appended = _fill(log, 60)
    logs.close(log)
    total = sum(events for _, events in appended)
    paths = sorted(tmp_path.glob("*.spool"))
    assert len(paths) >= 5
    data = paths[0].read_bytes()
    paths[0].write_bytes(data[:300] + b"\0" * 500 + data[800:])
    paths[1].unlink()
    paths[3].write_bytes(os.urandom(5000))
    log = logs.open(tmp_path)
    readable, lost = _empty(log)
    assert len(readable) >= 20
    assert readable == [record for record in appended if record in readable]
    assert lost == total - sum(events for _, events in readable)
    assert list((tmp_path / "quarantine").iterdir())


def test_the_quarantine_is_bounded(logs: Logs, tmp_path: Path) -> None:
    """Damaged bytes are kept for people to examine: at most as many as one file of the log may hold."""
    log = logs.open(tmp_path)
    _fill(log, 60)
    logs.close(log)
    for path in tmp_path.glob("*.spool"):
        data = bytearray(path.read_bytes())
        data[40::60] = bytes(byte ^ 1 for byte in data[40::60])
        path.write_bytes(data)
    _empty(logs.open(tmp_path))
    size = sum(path.stat().st_size for path in (tmp_path / "quarantine").iterdir())
    assert 0 < size <= SEGMENT


def test_a_damaged_record_is_counted_once(logs: Logs, tmp_path: Path) -> None:
    """Also if the log is opened again behind it."""
    log = logs.open(tmp_path)
    appended = _fill(log, 10)
    path = next(tmp_path.glob("*.spool"))
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    log = logs.open(tmp_path)
    entry = log.read(1)[0]
    assert (entry.payload, entry.events) == (None, appended[0][1])
    log.remove(entry)
    assert _empty(logs.open(tmp_path)) == (appended[1:], 0)


@pytest.mark.parametrize("cut", [1, 20, 36, 37, 60, 80])
def test_a_torn_tail_is_cut(logs: Logs, tmp_path: Path, cut: int) -> None:
    """A record whose write was interrupted was never confirmed: it is cut, and records appended after it are read."""
    log = logs.open(tmp_path)
    appended = _fill(log, 5)
    logs.close(log)
    path = next(tmp_path.glob("*.spool"))
    path.write_bytes(path.read_bytes()[:-cut])
    log = logs.open(tmp_path)
    appended = appended[:-1] + _fill(log, 3, start=100)
    assert _empty(log) == (appended, 0)
    assert _empty(logs.open(tmp_path)) == ([], 0)


def test_a_lost_position_repeats_and_loses_nothing(logs: Logs, tmp_path: Path) -> None:
    """Without the position file all records that are still on the disk come back, removed ones too."""
    log = logs.open(tmp_path)
    appended = _fill(log, 8)
    log.remove(log.read(1)[0])
    logs.close(log)
    (tmp_path / "position").write_bytes(b"nonsense")
    log = logs.open(tmp_path)
    assert log.damage.position
    assert _empty(log) == (appended, 0)


def test_a_full_disk_takes_all_or_nothing(logs: Logs, tmp_path: Path) -> None:
    """A write that fills the disk fails whole, and the log is as before."""
    log = logs.open(tmp_path)
    appended = _fill(log, 3)
    # A limit on the file's size makes the same call fail, on any file system.
    import resource  # noqa: PLC0415 - Unix only
    import signal  # noqa: PLC0415

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (log.size + 50, before[1]))
        with pytest.raises(OSError, match=r"too large|No space"):
            log.append([(b"y" * 500, 1)], sync=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    appended += _fill(log, 3, start=50)
    assert _empty(logs.open(tmp_path)) == (appended, 0)
