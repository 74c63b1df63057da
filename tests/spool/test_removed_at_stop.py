"""A spool whose directory is gone when the bridge stops: each event is kept, or counted as lost and said."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog

from bridge.spool import SpoolDirectory
from bridge.spool.segment import MAX_HELD
from tests.faults.experiment import STOP_S
from tests.spool.test_removed import MAX, batch, opened
from tests.support.brokers import Redis
from tests.support.children import wait_until, with_fault
from tests.support.feeds import PubsubFeed
from tests.support.processes import Bridges

_TOTAL = 240
_WINDOW = 17


@pytest.mark.parametrize(
    ("slow", "drain_timeout"),
    [("fsync", "20s"), ("fsync", "1s"), ("pwrite", "20s"), ("pwrite", "1s")],
)
def test_a_slow_disk_has_all_the_time_of_the_stop_and_what_it_loses_is_counted(  # noqa: PLR0917 - fixtures
    new_redis: Callable[..., Redis],
    redis_server: Redis,
    new_bridge: Bridges,
    tmp_path: Path,
    slow: str,
    drain_timeout: str,
) -> None:
    """Fourteen files have to be made again; those that are written and not synced survive the process."""
    keeps_all = (slow, drain_timeout) != ("pwrite", "1s")
    sink, feed = new_redis(), PubsubFeed(redis_server)
    directory = tmp_path / "spool"
    config = {
        **feed.config(sink, window={"events": _WINDOW}),
        "spool": {"directory": str(directory), "max_size": "16MiB"},
        "drain_timeout": drain_timeout,
    }
    bridge = new_bridge(config, env={**with_fault("slow_disk"), "SLOW_DISK": slow}).ready()
    sink.stop()
    feed.publish([{"n": n, "text": "x" * 60_000} for n in range(_TOTAL)])
    wait_until(lambda: bridge.state("feed")["spooled"] == _TOTAL, 60, "all events spooled")
    shutil.rmtree(directory)
    bridge.terminate()
    assert bridge.wait(STOP_S) == 0, bridge.log_tail()
    lost = bridge.wait_for("bridge.stopped")["lost"]
    said = [line["lost"] for line in bridge.events("spool.directory_lost") if "lost" in line]
    assert said == ([] if keeps_all else [lost])
    assert (lost == 0) is keeps_all
    bridge.start()
    found = bridge.wait_for("spool.found")["events"]
    # The file that was just being written may be there all the same.
    assert _TOTAL <= found + lost <= _TOTAL + (0 if keeps_all else 2 * _WINDOW + 1)


async def test_a_directory_that_is_made_again_at_the_stop_is_said(tmp_path: Path) -> None:
    """As one that is made again with the next event."""
    spools, spool = await opened(tmp_path / "spool")
    await spool.append([batch()], durable=True)
    shutil.rmtree(tmp_path / "spool")
    with structlog.testing.capture_logs() as lines:
        await spools.close()
    assert [(line["event"], line["events"]) for line in lines] == [("spool.directory_lost", 1), ("spool.kept", 1)]


async def test_what_another_bridge_keeps_from_being_written_is_counted(tmp_path: Path) -> None:
    """The number goes to the source's counts."""
    spools, spool = await opened(tmp_path)
    for _ in range(3):
        await spool.append([batch()], durable=True)
    shutil.rmtree(tmp_path)
    others, _ = await opened(tmp_path)
    assert await spools.close() == {"s": 3}
    assert await others.close() == {"s": 0}


async def test_only_events_that_can_be_read_are_said_to_be_kept(tmp_path: Path) -> None:
    """Nobody held some of the files open; the next start counts their events as lost, also of an earlier process's files."""
    directory = tmp_path / "spool"
    spools = SpoolDirectory(directory, 16 * 100)
    assert await spools.own()
    spool = await spools.open("s", lambda _raw: ({}, {}))
    assert spool is not None
    count = 2 * MAX_HELD
    for _ in range(count):
        spool._has_room = lambda _size: True  # each event fills a file of its own
        await spool.append([batch(b"x" * 200)], durable=False)
    await spools.close()

    spools, spool = await opened(directory)
    shutil.rmtree(directory)
    with structlog.testing.capture_logs() as lines:
        assert await spools.close() == {"s": 0}
    (kept,) = [line for line in lines if line["event"] == "spool.kept"]
    assert kept["events"] == MAX_HELD
    assert kept["events"] + kept["missing"] == count

    spools, spool = await opened(directory)
    lost = found = 0
    replay = spool.replay()
    while spool.events:
        spooled = await anext(replay)
        lost += spooled.lost
        found += len(spooled.batch.events)
        await spool.forget(spooled)
    assert (found, lost) == (kept["events"], kept["missing"])
    await spools.close()


async def test_a_disk_that_answers_no_more_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the events are still there is not known: the exit code is not 0."""
    spools, spool = await opened(tmp_path)
    await spool.append([batch()], durable=True)
    answer = threading.Event()
    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", lambda _file: answer.wait())
        hanging = asyncio.create_task(spool.append([batch()], durable=True))
        await asyncio.sleep(0.2)
        with structlog.testing.capture_logs() as lines:
            assert await spools.close(within_s=0.2) == {"s": None}
        assert [(line["event"], line["events"]) for line in lines] == [("spool.failed", 1)]
        answer.set()
        await hanging


async def test_no_file_is_written_once_the_stop_has_counted_its_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that makes the files again may go on for a moment."""
    directory = tmp_path / "spool"
    spools = SpoolDirectory(directory, MAX)
    assert await spools.own()
    opened_spools = [await spools.open(name, lambda _raw: ({}, {})) for name in ("a", "b", "c")]
    for spool in opened_spools:
        assert spool is not None
        await spool.append([batch()], durable=True)
    shutil.rmtree(directory)
    plain = os.pwrite

    def slow(*arguments: int) -> int:
        time.sleep(0.3)
        return plain(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "pwrite", slow)
    # Of each source the position, and a file: those of the first one are written in time.
    lost = await spools.close(within_s=0.8)
    assert lost == {"a": 0, "b": 1, "c": 1}
    await asyncio.sleep(2)
    assert [path.parent.name for path in directory.rglob("*.spool") if path.stat().st_size] == ["source-a"]
