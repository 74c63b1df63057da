"""The spool's directory: one owner; no fault of it keeps a bridge from starting."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import structlog

from bridge.config import load
from bridge.model.batch import Batch, BatchSequence
from bridge.model.event import Event, already_parsed
from bridge.sources.sharding import config_for_process
from bridge.spool import SpoolDirectory
from tests.support.brokers import Redis
from tests.support.children import wait_until
from tests.support.feeds import PubsubFeed
from tests.support.processes import Bridges

SIZE = 1 << 20


async def _fill(path: Path, bodies: list[bytes]) -> None:
    directory = SpoolDirectory(path, SIZE)
    assert await directory.own()
    spool = await directory.open("feed", already_parsed)
    assert spool is not None
    for body in bodies:
        batch = Batch([Event("feed", "topic", body, 1)])
        batch.assign_number()
        await spool.append([batch], durable=True)
    await directory.close()


async def _read(path: Path, count: int) -> list[bytes]:
    directory = SpoolDirectory(path, SIZE)
    assert await directory.own()
    spool = await directory.open("feed", already_parsed)
    assert spool is not None
    assert spool.events == count
    bodies: list[bytes] = []
    if count:
        async for spooled in spool.replay():
            bodies += [event.body for event in spooled.batch.events]
            assert all(event.redelivered for event in spooled.batch.events)
            await spool.forget(spooled)
            if len(bodies) == count:
                break
    await directory.close()
    return bodies


async def test_events_of_a_process_that_is_gone_are_adopted(tmp_path: Path) -> None:
    """With fewer `processes` than before, the first one takes over the events that the others have spooled, once."""
    await _fill(tmp_path, [b"own"])
    await _fill(tmp_path / "process-1", [b"1a", b"1b"])
    await _fill(tmp_path / "process-2", [b"2a"])
    assert await _read(tmp_path, 4) == [b"own", b"1a", b"1b", b"2a"]
    assert await _read(tmp_path / "process-1", 0) == []


async def test_events_of_a_process_that_is_gone_that_cannot_be_read_are_counted(
    redis_server: Redis, new_bridge: Bridges, tmp_path: Path
) -> None:
    """They are said, and lost in the counts of the source."""
    await _fill(tmp_path / "process-1", [b"{}", b"{}"])
    _damage_first_record(tmp_path)
    channel = PubsubFeed(redis_server)
    bridge = new_bridge({**channel.config(redis_server), "spool": {"directory": str(tmp_path)}}).ready()
    assert bridge.wait_for("spool.adopted")["lost"] == 1
    assert bridge.wait_for("spool.corrupt", source="feed")["lost"] == 1
    bridge.terminate()
    assert bridge.wait() == 0
    assert bridge.wait_for("bridge.stopped")["lost"] == 1


def _damage_first_record(directory: Path) -> None:
    (path,) = directory.rglob("*.spool")
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)


async def test_events_that_were_set_aside_are_adopted_by_any_next_start(tmp_path: Path) -> None:
    """Another bridge has left them in the removed directory of the second process; the next start has one process."""
    path = tmp_path / "process-1"
    second = SpoolDirectory(path, SIZE)
    assert await second.own()
    spool = await second.open("feed", already_parsed)
    assert spool is not None
    shutil.rmtree(tmp_path)
    await _fill(path, [b"other"])
    with structlog.testing.capture_logs() as lines:
        batch = Batch([Event("feed", "topic", b"own", 1)])
        batch.assign_number()
        await spool.append([batch], durable=True)
        await second.close()
    (line,) = [line for line in lines if line["event"] == "spool.set_aside"]
    assert Path(line["moved_to"]).parent == path
    assert sorted(await _read(tmp_path, 2)) == [b"other", b"own"]


async def test_a_source_that_is_gone_is_said_also_in_the_directory_of_a_process_that_is_gone(tmp_path: Path) -> None:
    """Its events wait for its return."""
    await _fill(tmp_path / "process-1", [b"1a"])
    directory = SpoolDirectory(tmp_path, SIZE)
    assert await directory.own()
    with structlog.testing.capture_logs() as lines:
        directory.log_unclaimed()
    assert [(line["event"], line["source"]) for line in lines] == [("spool.unclaimed", "feed")]
    await directory.close()


async def test_events_of_a_running_process_stay_its_own(tmp_path: Path) -> None:
    """The first process leaves the spool of a process that runs alone."""
    await _fill(tmp_path / "process-1", [b"1a"])
    other = SpoolDirectory(tmp_path / "process-1", SIZE)
    assert await other.own()
    assert await _read(tmp_path, 0) == []
    await other.close()
    assert await _read(tmp_path / "process-1", 1) == [b"1a"]


def test_processes_share_the_bound_and_no_directory(tmp_path: Path) -> None:
    """Each process has a directory of its own; together they keep to `max_size`."""
    path = tmp_path / "bridge.yaml"
    path.write_text(
        "sources: {a: {type: amqp, url: amqp://localhost, queue: a}}\n"
        "spool: {directory: /s, max_size: 9MiB}\nprocesses: 3\n"
    )
    config = load(str(path), environ={})
    spools = [config_for_process(config, number).spool for number in range(3)]
    assert [spool and (spool.directory, spool.max_size) for spool in spools] == [
        ("/s", 3 << 20),
        ("/s/process-1", 3 << 20),
        ("/s/process-2", 3 << 20),
    ]


@pytest.mark.parametrize("broken", ["garbage", "a file", "nowhere"])
def test_a_bridge_starts_with_any_fault_of_the_directory(
    redis_server: Redis, new_bridge: Bridges, tmp_path: Path, broken: str
) -> None:
    """Garbage in the directory, a file in its place, or no permission: the fault is logged, and the bridge works."""
    channel = PubsubFeed(redis_server)
    directory = tmp_path / "spool"
    if broken == "nowhere":
        (tmp_path / "file").touch()
        directory = tmp_path / "file" / "spool"
    elif broken == "garbage":
        (directory / "source-feed").mkdir(parents=True)
        (directory / "source-feed" / "position").mkdir()
        (directory / "source-feed" / "00000000000000000003.spool").write_bytes(b"garbage")
    else:
        directory.mkdir()
        (directory / "source-feed").write_bytes(b"garbage")
    config = {**channel.config(redis_server), "spool": {"directory": str(directory)}}
    bridge = new_bridge(config).ready()
    bridge.wait_for("spool.unavailable" if broken == "nowhere" else "spool.set_aside")
    channel.publish([{"n": 1}])
    with redis_server.client() as client:
        wait_until(lambda: client.llen("dramatiq:default") == 1, 20, "the event")


def _open_files(directory: Path) -> list[str]:
    """The files below `directory` that this process has open (Linux)."""
    paths = [os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()]
    return [path for path in paths if path.startswith(str(directory))]


async def test_a_spool_that_cannot_be_read_leaves_no_file_open(tmp_path: Path) -> None:
    """Neither a source's own spool nor that of a process that is gone."""
    for name in ("source-feed", "process-1/source-feed"):
        (tmp_path / name / "00000000000000000003.spool").mkdir(parents=True)
    directory = SpoolDirectory(tmp_path, SIZE)
    assert await directory.own()
    assert await directory.open("feed", already_parsed) is not None
    await directory.close()
    assert _open_files(tmp_path) == []


def test_two_bridges_never_share_a_directory(redis_server: Redis, new_bridge: Bridges, tmp_path: Path) -> None:
    """The second bridge waits until the first has ended, as in a rolling update."""
    config = {**PubsubFeed(redis_server).config(redis_server), "spool": {"directory": str(tmp_path)}}
    first = new_bridge(config).ready()
    second = new_bridge(config)
    second.wait_for("spool.waiting")
    assert not second.events("bridge.ready")
    first.terminate()
    assert first.wait() == 0
    second.ready()
    assert not second.events("spool.unavailable")


async def test_small_batches_are_merged_but_not_after_a_crash(tmp_path: Path) -> None:
    """Small batches are replayed as a large one; those of an earlier process one by one, with their own numbers."""
    directory = SpoolDirectory(tmp_path, SIZE)
    assert await directory.own()
    spool = await directory.open("feed", already_parsed)
    assert spool is not None
    sequence = BatchSequence()
    for number in range(1, 31):
        await spool.append([Batch([Event("feed", "topic", b"%d" % number, 1)], sequence, number=number)], durable=False)
    async for spooled in spool.replay():
        assert (len(spooled.batch.events), spooled.batch.number, spooled.batch.sequence.name) == (30, 30, sequence.name)
        break
    await directory.close()
    directory = SpoolDirectory(tmp_path, SIZE)
    assert await directory.own()
    spool = await directory.open("feed", already_parsed)
    assert spool is not None
    numbers = []
    async for spooled in spool.replay():
        numbers.append(spooled.batch.number)
        await spool.forget(spooled)
        if not spool.holds:
            break
    assert numbers == list(range(1, 31))
    await directory.close()
