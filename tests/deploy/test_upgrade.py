"""Upgrade and roll back: the state that one version has left is read by the next, and by the previous one again."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.config.manifest import read_manifest
from tests.deploy.code import RELEASES, Code, unpacked
from tests.deploy.record import manifest
from tests.deploy.redis_keys import write_keys
from tests.deploy.scenario import Scenario
from tests.support.batches import DEAD
from tests.support.brokers import Mosquitto, Redis
from tests.support.children import REPOSITORY, wait_until
from tests.support.feeds import StreamFeed
from tests.support.processes import BridgeProcess, written_numbers

HERE = Code()
ALL = sorted(path for path in RELEASES.iterdir() if path.is_dir())


@pytest.fixture(scope="module", params=ALL, ids=lambda path: path.name)
def release(request: pytest.FixtureRequest) -> Path:
    """The folder of each release that was recorded."""
    return Path(request.param)


@pytest.fixture(scope="module")
def released(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Code:
    """The code of the release."""
    (wheel,) = release.glob("*.whl")
    code = unpacked(wheel, tmp_path_factory.mktemp("released"))
    assert code.version() == release.name
    return code


@pytest.fixture
def scenario(tmp_path: Path, new_redis: Callable[[], Redis], new_mosquitto: Callable[[], Mosquitto]) -> Scenario:
    """A Redis and a mosquitto of the test's own; RabbitMQ is in tests/deploy/real."""
    return Scenario(tmp_path, new_redis(), new_mosquitto())


def load(release: Path, scenario: Scenario, moment: str) -> None:
    """Put the recorded state in place."""
    shutil.copytree(release / "spool", scenario.spool)
    with scenario.redis.client() as client:
        write_keys(client, json.loads((release / f"{moment}.json").read_text()))


@pytest.mark.parametrize("moment", ["spooled", "written"])
def test_this_version_goes_on_with_the_state_of_a_release(release: Path, scenario: Scenario, moment: str) -> None:
    """Spool, batch numbers, offsets, deduplication keys, subscriptions, dead letters with their books: each event once."""
    load(release, scenario, moment)
    scenario.verify(HERE, carried=False)


def test_a_release_goes_on_with_the_state_of_this_version(released: Code, scenario: Scenario) -> None:
    """The way back: the same."""
    scenario.leave(HERE)
    scenario.verify(released, carried=True)


def test_this_version_goes_on_counting_the_attempts_of_a_release(release: Path, scenario: Scenario) -> None:
    """An event that ended ten processes of the release is a dead letter, without an eleventh attempt."""
    load(release, scenario, "spooled")
    with scenario.redis.client() as client:
        before = client.xlen(DEAD)
        with HERE.bridge(scenario.suspect_config()) as bridge:
            bridge.ready()
            wait_until(lambda: client.xlen(DEAD) == before + 1, what="the dead letter of the poison")
        (_, letter), *_ = client.xrevrange(DEAD)
        assert letter[b"reason"] == b"poison"


def test_manifests_are_read_both_ways(release: Path, released: Code, tmp_path: Path) -> None:
    """The manifest of a release is read here, and that of this version by the release."""
    old, new = release / "manifest.json", tmp_path / "manifest.json"
    new.write_text(manifest(HERE))
    assert read_manifest(old).actors.keys() == read_manifest(new).actors.keys()
    done = released.run("send", "no_such_actor", "--manifest", new, "--redis", "redis://127.0.0.1:1")
    assert (done.returncode, "open_ended" in done.stderr) == (2, True), done


def test_configurations_are_read_both_ways(release: Path, released: Code) -> None:
    """The reference file of a release is right here; the release takes that of this version, or names each mistake's line."""
    old = HERE.run("check", "--allow-unset", release / "bridge.yaml")
    assert old.returncode == 0, old
    path = REPOSITORY / "config" / "bridge.yaml"
    new = released.run("check", "--allow-unset", path)
    assert new.returncode == 0 or (new.returncode == 78 and f"{path}:" in new.stderr), new


def test_two_versions_work_side_by_side(released: Code, redis_server: Redis) -> None:
    """In a rolling upgrade: one group, one namespace, dead letters in the same books; the old one stops in the end."""
    side_by_side(released, redis_server, BridgeProcess.terminate)


def side_by_side(released: Code, redis_server: Redis, end: Callable[[BridgeProcess], None]) -> None:
    """Let both read a stream, `end` the old one, and check that each event was written once."""
    feed = StreamFeed(redis_server)
    feed.prepare()
    config = feed.config(redis_server, window={"events": 20})
    numbers = range(3000)
    with released.bridge(config) as old, HERE.bridge(config) as new, redis_server.client() as client:
        old.ready()
        new.ready()
        feed.publish([{"n": n} if n % 100 else {} for n in numbers])
        for bridge in (old, new):
            while not bridge.state()["enqueued"]:
                time.sleep(0.02)
        end(old)
        wait_until(lambda: client.xlen(DEAD) == 30 and len(written_numbers(redis_server)) == 2970, 60, "all events")
        assert sorted(written_numbers(redis_server)) == [n for n in numbers if n % 100]
        assert client.hget(f"{DEAD}:books", "count") == b"30"
