"""A spool whose directory somebody removes while the bridge runs, and other errors of its disk: each has its own word."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog

from bridge.model.batch import Batch, BatchSequence
from bridge.spool import Spool, SpoolDirectory, SpoolFull
from bridge.spool.files import DirectoryLost
from bridge.spool.log import Log
from tests.spool.conftest import Logs
from tests.support.batches import event
from tests.support.brokers import Redis
from tests.support.children import wait_until
from tests.support.feeds import PubsubFeed
from tests.support.processes import Bridges, queue_messages

MAX = 1 << 20


def payloads(log: Log) -> list[bytes | None]:
    """Take everything out of the log."""
    found = []
    while log.events:
        for entry in log.read(10_000):
            found.append(entry.payload)
            log.remove(entry)
    return found


def remove_all(directory: Path) -> None:
    """Remove the directory, with all above it that the log had to make."""
    shutil.rmtree(directory.parent)


def move_away(directory: Path) -> None:
    """Move the directory to another place."""
    directory.rename(directory.with_name(f"elsewhere-{time.time_ns()}"))


def remove_files(directory: Path) -> None:
    """Remove the files with the records, and leave the rest."""
    for path in directory.glob("*.spool"):
        path.unlink()


def replace(directory: Path) -> None:
    """Put an empty directory in its place, as an unmounted disk does."""
    move_away(directory)
    directory.mkdir()


@pytest.mark.parametrize("remove", [remove_all, move_away, remove_files, replace])
def test_a_directory_that_is_removed_is_made_again_and_nothing_is_lost(
    logs: Logs, tmp_path: Path, remove: Callable[[Path], None]
) -> None:
    """Not even of several files; the next process finds all of it."""
    directory = tmp_path / "made" / "source"
    log = logs.open(directory, 100)
    numbers = [b"%d" % number * 60 for number in range(9)]
    for payload in numbers[:5]:
        log.append([(payload, 1)], sync=True)
    log.remove(log.read(1)[0])
    remove(directory)
    for payload in numbers[5:7]:
        log.append([(payload, 1)], sync=False)
    remove(directory)
    log.append([(numbers[7], 1)], sync=False)
    assert log.files.restored == 2
    logs.close(log)
    log = logs.open(directory, 100)
    assert log.damage.torn == 0
    assert not log.damage.position
    log.append([(numbers[8], 1)], sync=True)
    assert payloads(log) == numbers[1:]


async def test_a_removed_directory_is_made_again_at_the_stop(tmp_path: Path) -> None:
    """Where nothing is appended any more: the next start has the events."""
    spools, spool = await opened(tmp_path / "spool")
    await spool.append([batch()], durable=True)
    shutil.rmtree(tmp_path / "spool")
    await spools.close()
    spools, spool = await opened(tmp_path / "spool")
    assert spool.events == 1
    await spools.close()


def test_a_directory_that_cannot_be_made_is_said_and_goes_on_once_it_can(logs: Logs, tmp_path: Path) -> None:
    """A file is in its place: nothing is appended meanwhile, everything is kept."""
    log = logs.open(tmp_path / "made" / "spool", 1000)
    log.append([(b"a", 1)], sync=True)
    shutil.rmtree(tmp_path / "made")
    (tmp_path / "made").touch()
    for _ in range(2):
        with pytest.raises(DirectoryLost):
            log.append([(b"x", 1)], sync=True)
    assert log.events == 1
    (tmp_path / "made").unlink()
    log.append([(b"b", 1)], sync=True)
    assert payloads(log) == [b"a", b"b"]


async def opened(directory: Path) -> tuple[SpoolDirectory, Spool]:
    """Open the spool of one source."""
    spools = SpoolDirectory(directory, MAX)
    assert await spools.own()
    spool = await spools.open("s", lambda _raw: ({}, {}))
    assert spool is not None
    return spools, spool


def batch(body: bytes = b"{}") -> Batch:
    """Return a batch of one event, which has its number."""
    made = Batch([event(body=body)], BatchSequence())
    made.assign_number()
    return made


async def test_a_directory_that_is_made_again_stays_with_its_owner(tmp_path: Path) -> None:
    """The lock was removed with it: another bridge waits all the same."""
    directory = tmp_path / "spool"
    spools, spool = await opened(directory)
    shutil.rmtree(directory)
    with structlog.testing.capture_logs() as lines:
        await spool.append([batch()], durable=True)
    assert [(line["event"], line["source"]) for line in lines] == [("spool.directory_lost", "s")]
    waiting = asyncio.create_task(SpoolDirectory(directory, MAX).own())
    await asyncio.sleep(0.5)
    assert not waiting.done()
    await spools.close()
    assert await asyncio.wait_for(waiting, 60)


async def test_a_removed_directory_that_another_bridge_has_made_is_left_to_it(tmp_path: Path) -> None:
    """Two bridges never share one."""
    directory = tmp_path / "spool"
    spools, spool = await opened(directory)
    shutil.rmtree(directory)
    others, _ = await opened(directory)
    with pytest.raises(SpoolFull, match="another process") as refused:
        await spool.append([batch()], durable=True)
    assert refused.value.event == "spool.failed"
    await others.close()
    await spool.append([batch()], durable=True)
    await spools.close()


async def test_a_bridge_that_stops_leaves_the_directory_to_the_one_that_has_made_it_again(tmp_path: Path) -> None:
    """It writes none of its files there, and says how many events it could not keep; nor does it later."""
    directory = tmp_path / "spool"
    spools, spool = await opened(directory)
    for _ in range(5):
        await spool.append([batch()], durable=True)
    shutil.rmtree(directory)
    others, other = await opened(directory)
    await other.append([batch(b"other")], durable=True)
    # Replaying ours removes none of theirs.
    replay = spool.replay()
    await spool.forget(await anext(replay))
    with structlog.testing.capture_logs() as lines:
        await spools.close()
    (line,) = lines
    assert (line["event"], line["lost"]) == ("spool.directory_lost", 4)
    assert "another process" in line["cause"]
    spooled = await anext(other.replay())
    assert [event.body for event in spooled.batch.events] == [b"other"]
    await others.close()


async def test_events_that_another_bridge_has_left_are_not_overwritten(tmp_path: Path) -> None:
    """It has made the removed directory again, and has ended: the next start has its events and ours."""
    directory = tmp_path / "spool"
    spools, spool = await opened(directory)
    await spool.append([batch()], durable=True)
    shutil.rmtree(directory)
    others, other = await opened(directory)
    await other.append([batch(b"other")], durable=True)
    await others.close()
    await spool.append([batch()], durable=True)
    await spools.close()
    spools, spool = await opened(directory)
    assert spool.events == 3
    bodies = []
    replay = spool.replay()
    while spool.events:
        spooled = await anext(replay)
        bodies += [event.body for event in spooled.batch.events]
        await spool.forget(spooled)
    assert bodies == [b"{}", b"{}", b"other"]
    await spools.close()


@pytest.mark.parametrize(
    ("code", "word"),
    [
        (errno.ENOSPC, "spool.full"),
        (errno.EDQUOT, "spool.full"),
        (errno.EFBIG, "spool.full"),
        (errno.EIO, "spool.failed"),
        (errno.EROFS, "spool.failed"),
        (errno.EACCES, "spool.failed"),
        (errno.EMFILE, "spool.failed"),
    ],
)
async def test_each_error_of_the_disk_has_its_own_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, word: str
) -> None:
    """Where room helps it is full; where somebody has to repair something it has failed. The next event is kept again."""
    spools, spool = await opened(tmp_path)

    def fail(*_: Any) -> int:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", fail)
        with pytest.raises(SpoolFull, match=os.strerror(code)) as refused:
            await spool.append([batch()], durable=True)
    assert refused.value.event == word
    await spool.append([batch()], durable=True)
    assert spool.events == 1
    await spools.close()


def test_events_survive_the_removal_of_the_spool_while_redis_is_away(
    new_redis: Callable[..., Redis], redis_server: Redis, new_bridge: Bridges, tmp_path: Path
) -> None:
    """Events of pub/sub, which nobody else keeps: those that were spooled before the removal, and those after it."""
    sink, feed = new_redis(appendonly=True), PubsubFeed(redis_server)
    feed.prepare()
    directory = tmp_path / "spool"
    bridge = new_bridge(
        {
            "dramatiq": {"url": sink.url_of(0)},
            "spool": {"directory": str(directory), "max_size": "16MiB"},
            "sources": {"feed": feed.source},
            "routes": [{"from": "feed", "actor": "record", "args": ["$payload.n"]}],
        }
    ).ready()
    sink.stop()

    def spooled(count: int) -> None:
        wait_until(lambda: bridge.state("feed")["spooled"] >= count, 30, f"{count} spooled events")

    feed.publish([{"n": n} for n in range(50)])
    spooled(50)
    shutil.rmtree(directory)
    feed.publish([{"n": n} for n in range(50, 100)])
    spooled(100)
    bridge.wait_for("spool.directory_lost", source="feed")
    assert not list(bridge.events("spool.full"))
    sink.start()
    with sink.client() as client:
        wait_until(lambda: client.llen("dramatiq:default") >= 100, 30, "all messages")
        assert [message["args"] for message in queue_messages(client, "default")] == [[n] for n in range(100)]
    bridge.terminate()
    assert bridge.wait() == 0
