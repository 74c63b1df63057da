"""Spools of other versions, and the rights of directories and files."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import structlog

from bridge.model.batch import Batch
from bridge.model.event import Event, already_parsed
from bridge.spool import SpoolDirectory
from bridge.spool.log import Log
from tests.support.brokers import Redis
from tests.support.children import wait_until
from tests.support.feeds import PubsubFeed
from tests.support.processes import Bridges, written_numbers

SIZE = 1 << 20


def records(path: Path, *payloads: object) -> None:
    """Write records of one event as a version that encodes these would."""
    log = Log(path, SIZE)
    log.append([(msgspec.msgpack.encode(payload), 1) for payload in payloads], sync=True)
    log.close()


def event(n: int) -> list[object]:
    """An event as format 1 has it."""
    return ["topic", b'{"n": %d}' % n, 1, None, ""]


def test_fields_that_a_newer_version_adds_are_passed_over(
    redis_server: Redis, new_bridge: Bridges, tmp_path: Path
) -> None:
    """At the end of a batch, and of an event."""
    records(tmp_path / "source-feed", ["s", 1, [[*event(1), 0, "later"]], {"later": 1}])
    new_bridge({**PubsubFeed(redis_server).config(redis_server), "spool": {"directory": str(tmp_path)}}).ready()
    wait_until(lambda: written_numbers(redis_server) == [1], what="the message")


def test_a_spool_of_a_newer_format_waits_for_that_version(
    redis_server: Redis, new_bridge: Bridges, tmp_path: Path
) -> None:
    """Each start says where it lies, and works; the version that reads it, here one that finds format 1, goes on with it."""
    spool = tmp_path / "spool"
    records(spool / "source-feed", ["s", 1, [event(1)]])
    (spool / "source-feed" / "format").write_text("2\n")
    before = {path.name: path.read_bytes() for path in (spool / "source-feed").iterdir()}
    bridge = new_bridge({**PubsubFeed(redis_server).config(redis_server), "spool": {"directory": str(spool)}})
    for start in range(2):
        if start:
            bridge.start()
        line = bridge.ready().wait_for("spool.newer_format")
        assert "in format '2', and this one reads 1" in line["cause"]
        kept = Path(line["directory"])
        assert {path.name: path.read_bytes() for path in kept.iterdir()} == before
        assert bridge.state()["spooled"] == 0
        bridge.terminate()
        assert bridge.wait() == 0
    (kept / "format").unlink()
    bridge.start().ready()
    wait_until(lambda: written_numbers(redis_server) == [1], what="the message")


def test_whole_records_that_cannot_be_decoded_are_kept(
    redis_server: Redis, new_bridge: Bridges, tmp_path: Path
) -> None:
    """They are counted as lost and said; the others are written; each start finds them again."""
    records(tmp_path / "source-feed", ["s", 1, [event(1)]], {"batch": "of another shape"}, ["s", 3, [event(3)]])
    bridge = new_bridge({**PubsubFeed(redis_server).config(redis_server), "spool": {"directory": str(tmp_path)}})
    for start in range(2):
        if start:
            bridge.start()
        line = bridge.ready().wait_for("spool.unread")
        assert line["events"] == 1
        wait_until(lambda: written_numbers(redis_server) == [1, 3], what="both messages")
        bridge.wait_for("spool.corrupt", lost=1)
        log = Log(Path(line["directory"]), SIZE)
        assert [msgspec.msgpack.decode(entry.payload or b"") for entry in log.read(SIZE)] == [
            {"batch": "of another shape"}
        ]
        log.close()
        bridge.terminate()
        assert bridge.wait() == 0


@pytest.mark.parametrize("events", [[], [event(1), event(2)]], ids=["none", "more"])
def test_a_record_with_another_number_of_events_is_kept(
    events: list[object], redis_server: Redis, new_bridge: Bridges, tmp_path: Path
) -> None:
    """A later version may have put them elsewhere; the bridge goes on with the next record."""
    records(tmp_path / "source-feed", ["s", 1, events], ["s", 3, [event(3)]])
    bridge = new_bridge({**PubsubFeed(redis_server).config(redis_server), "spool": {"directory": str(tmp_path)}})
    assert bridge.ready().wait_for("spool.unread")["events"] == 1
    wait_until(lambda: written_numbers(redis_server) == [3], what="the message of the other record")


def test_a_record_that_was_kept_is_written_though_later_ones_of_its_sequence_were(
    redis_server: Redis, new_bridge: Bridges, tmp_path: Path
) -> None:
    """Redis knows the number of the later batch; the kept one would be refused as if it had been written before."""
    records(tmp_path / "source-feed", ["s", 1, [event(1)]], ["s", 3, [event(3)]])
    bridge = new_bridge(
        {**PubsubFeed(redis_server).config(redis_server), "spool": {"directory": str(tmp_path)}}
    ).ready()
    wait_until(lambda: written_numbers(redis_server) == [1, 3], what="the messages of what could be read")
    bridge.terminate()
    assert bridge.wait() == 0
    records(tmp_path / "process-unread" / "source-feed", ["s", 2, [event(2)]])
    bridge.start().ready()
    wait_until(lambda: sorted(written_numbers(redis_server)) == [1, 2, 3], what="the message of the kept one")


@pytest.fixture
def open_directory(tmp_path: Path) -> Path:
    """A directory that others may enter."""
    tmp_path.chmod(0o755)
    return tmp_path


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def _tear(directory: Path) -> None:
    (path,) = directory.rglob("*.spool")
    path.write_bytes(path.read_bytes() + b"torn")


async def test_directories_and_files_are_for_the_bridge_alone(tmp_path: Path) -> None:
    """Also that of a process, the quarantine and its files."""
    directory = SpoolDirectory(tmp_path / "spool" / "process-1", SIZE)
    with structlog.testing.capture_logs() as lines:
        assert await directory.own()
        spool = await directory.open("feed", already_parsed)
        assert spool is not None
        batch = Batch([Event("feed", "topic", b"{}", 1)])
        batch.assign_number()
        await spool.append([batch], durable=True)
        await directory.close()
        _tear(tmp_path)
        directory = SpoolDirectory(tmp_path / "spool" / "process-1", SIZE)
        assert await directory.own()
        await directory.open("feed", already_parsed)
        await directory.close()
    assert [line["event"] for line in lines if line["log_level"] == "warning"] == []
    process = tmp_path / "spool" / "process-1"
    found = {path.name: _mode(path) for path in [process, *process.rglob("*")]}
    folders = {"process-1": 0o700, "source-feed": 0o700, "quarantine": 0o700}
    assert {name: mode for name, mode in found.items() if name in folders} == folders
    assert {mode for name, mode in found.items() if name not in folders} == {0o600}
    assert len(found) == 7


async def test_an_existing_directory_that_others_may_enter_is_said(open_directory: Path) -> None:
    """And left as it is: somebody has made it so."""
    directory = SpoolDirectory(open_directory, SIZE)
    with structlog.testing.capture_logs() as lines:
        assert await directory.own()
        await directory.close()
    (line,) = [line for line in lines if line["event"] == "spool.not_private"]
    assert line["cause"] == f"its rights are 0755, and other users may enter it: chmod 700 {open_directory}"
    assert _mode(open_directory) == 0o755
