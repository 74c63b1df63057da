"""`run --reload-on-change`: a bridge whose files change, as volumes of Kubernetes and editors change them, against real brokers.

The bridge runs in the test's own process, which looks more often than every 2 s; the last test has the program itself.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
import yaml
from structlog.typing import EventDict

from bridge.process.file_watch import FileWatch
from bridge.process.loader import Loader
from bridge.process.one_process import OneProcess
from bridge.process.supervisor import Supervisor
from tests.support.brokers import Redis
from tests.support.children import wait_until, with_fault
from tests.support.config_map import ConfigMapVolume
from tests.support.feeds import StreamFeed
from tests.support.processes import Bridges, queue_messages
from tests.support.running import run, until

LOOK_S = 0.05


@pytest.fixture
def stream(redis_server: Redis) -> StreamFeed:
    """A stream in the Redis that is Dramatiq's too."""
    feed = StreamFeed(redis_server)
    feed.prepare()
    return feed


class _Bridge:
    """A bridge that runs until the end of the test, and its log."""

    def __init__(self, path: Path, lines: list[EventDict]) -> None:
        watch = FileWatch(Loader(str(path), "json", "info").load, LOOK_S)
        prepared = watch.load()
        kind = OneProcess if prepared.config.processes == 1 else Supervisor
        self.running = kind(prepared, watch.load, watch.run)
        self._lines = lines

    async def until(self, condition: Callable[[], object], what: str) -> None:
        await until(condition, what, lambda: self._lines[-20:])

    def said(self, event: str) -> list[EventDict]:
        return [line for line in self._lines if line["event"] == event]

    async def says(self, event: str, times: int = 1) -> EventDict:
        """Return the line of this name, the `times`th of them; it is the last."""
        await self.until(lambda: len(self.said(event)) >= times, f"{event}, {times} times")
        assert len(self.said(event)) == times
        return self.said(event)[-1]


@asynccontextmanager
async def _run(path: Path) -> AsyncIterator[_Bridge]:
    with structlog.testing.capture_logs() as lines:
        bridge = _Bridge(path, lines)
        async with run(bridge.running):
            yield bridge


@pytest.fixture(autouse=True)
def _in_a_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signals and the set-up of the log are the tests' own."""
    monkeypatch.setattr("bridge.process.lifecycle.Lifecycle.begin", lambda *_: None)
    monkeypatch.setattr("bridge.observe.logs.reconfigure", lambda *_, **__: None)


def _text(config: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(config), sort_keys=False)


def _calls(sink: Redis) -> list[tuple[str, int]]:
    with sink.client() as client:
        return sorted((message["actor_name"], message["args"][0]) for message in queue_messages(client, "default"))


@pytest.mark.parametrize("processes", [1, 2])
async def test_an_updated_config_map_is_loaded(
    stream: StreamFeed, redis_server: Redis, tmp_path: Path, processes: int
) -> None:
    """By the main process alone, for all; the log says which file it was, and no event is lost."""
    config = stream.config(redis_server, {"actor": "old"}) | {"processes": processes}
    volume = ConfigMapVolume(tmp_path / "config", {"bridge.yaml": _text(config)})
    async with _run(volume.path / "bridge.yaml") as bridge:
        stream.publish_numbers(1)
        await bridge.until(lambda: len(_calls(redis_server)) == 1, "the first message")
        volume.update({"bridge.yaml": _text(stream.config(redis_server, {"actor": "new"}) | {"processes": processes})})
        assert (await bridge.says("bridge.reloaded"))["changes"] == ["route old removed", "route new added"]
        assert bridge.said("bridge.reload_requested")[0]["files"] == [str(volume.path / "bridge.yaml")]
        stream.publish_numbers(2)
        await bridge.until(lambda: len(_calls(redis_server)) == 2, "the second message")
    assert _calls(redis_server) == [("new", 2), ("old", 1)]
    assert len(bridge.said("bridge.reloaded")) == len(bridge.said("bridge.reload_requested")) == 1


async def test_a_file_that_is_included_later_is_loaded(stream: StreamFeed, redis_server: Redis, tmp_path: Path) -> None:
    """It comes beside the others into the folder, and no connection closes; SIGHUP loads the same files."""
    config = stream.config(redis_server, {"actor": "old"})
    routes = tmp_path / "routes"
    routes.mkdir()
    (routes / "old.yaml").write_text(_text({"routes": config.pop("routes")}))
    (tmp_path / "bridge.yaml").write_text(_text(config | {"include": ["routes/*.yaml"]}))
    async with _run(tmp_path / "bridge.yaml") as bridge:
        stream.publish_numbers(1)
        await bridge.until(lambda: len(_calls(redis_server)) == 1, "the first message")
        (routes / "new.yaml").write_text(_text({"routes": stream.config(redis_server, {"actor": "new"})["routes"]}))
        assert (await bridge.says("bridge.reloaded"))["changes"][0] == "route new added"
        assert bridge.said("bridge.reload_requested")[0]["files"] == [f"the files of {routes}/*.yaml"]
        stream.publish_numbers(2)
        await bridge.until(lambda: len(_calls(redis_server)) == 3, "the second message, twice")
        (routes / "old.yaml").unlink()
        assert (await bridge.says("bridge.reloaded", 2))["changes"] == ["route old removed"]
        assert len(bridge.said("source.connected")) == 1
    assert _calls(redis_server) == [("new", 2), ("old", 1), ("old", 2)]


async def test_a_changed_secret_connects_anew(
    redis_server: Redis, new_redis: Callable[..., Redis], tmp_path: Path
) -> None:
    """The file of a Secret has the broker's new password: the source whose password it is connects with it."""
    broker = new_redis(password="first-password")
    stream = StreamFeed(broker)
    stream.prepare()
    secrets = ConfigMapVolume(tmp_path / "secrets", {"password": "first-password\n"})
    config = stream.config(redis_server)
    url = f"redis://127.0.0.1:{broker.port}/0"
    config["sources"]["feed"] |= {"url": url, "password": f"${{file:{secrets.path}/password}}"}
    path = tmp_path / "bridge.yaml"
    path.write_text(_text(config))
    async with _run(path) as bridge:
        with broker.client() as client:
            client.config_set("requirepass", "second-password")
            broker.password = "second-password"
            client.client_kill_filter(_type="normal", skipme=True)
        secrets.update({"password": "second-password\n"})
        assert (await bridge.says("bridge.reloaded"))["changes"] == ["source feed changed: password"]
        await asyncio.to_thread(stream.publish_numbers, 1)
        await bridge.until(lambda: _calls(redis_server) == [("record", 1)], "the message")
    # Redis's own words, in between, name a "username-password pair".
    assert not any(word in str(bridge._lines) for word in ("first-password", "second-password"))


async def test_a_fault_of_a_reload_ends_neither_the_bridge_nor_the_watch(
    stream: StreamFeed, redis_server: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever step it is in: it is counted and logged, and the next change is loaded."""
    path = tmp_path / "bridge.yaml"
    path.write_text(_text(stream.config(redis_server, {"actor": "old"})))
    async with _run(path) as bridge:
        with monkeypatch.context() as broken:
            broken.setattr("bridge.process.reload.compare", lambda *_: int("a fault"))
            path.write_text(_text(stream.config(redis_server, {"actor": "new"})))
            assert "a fault" in (await bridge.says("bridge.reload_failed"))["cause"]
        assert len(bridge.said("bridge.reload_broken")) == 1
        path.write_text(_text(stream.config(redis_server, {"actor": "newest"})))
        assert (await bridge.says("bridge.reloaded"))["changes"] == ["route old removed", "route newest added"]


async def test_a_bad_file_changes_nothing_and_is_said_once(
    stream: StreamFeed, redis_server: Redis, tmp_path: Path
) -> None:
    """As is one that needs a restart; the good one that follows is loaded."""
    good = stream.config(redis_server, {"actor": "old"})
    path = tmp_path / "bridge.yaml"
    path.write_text(_text(good))
    async with _run(path) as bridge:
        path.write_text("sources: {")
        assert (await bridge.says("bridge.reload_failed"))["result"] == "invalid"
        stream.publish_numbers(1)
        await bridge.until(lambda: _calls(redis_server) == [("old", 1)], "a message by the old file")
        path.write_text(_text(good | {"processes": 2}))
        assert "processes: 1 cannot become 2" in (await bridge.says("bridge.reload_refused"))["cause"]
        (tmp_path / "new").write_text(_text(stream.config(redis_server, {"actor": "new"})))
        (tmp_path / "new").rename(path)
        await bridge.says("bridge.reloaded")
    said = [line["event"] for line in bridge._lines if line["event"].startswith("bridge.reload")]
    assert said[::2] == ["bridge.reload_requested"] * 3
    assert said[1::2] == ["bridge.reload_failed", "bridge.reload_refused", "bridge.reloaded"]


def test_a_volume_that_hangs_delays_no_event_and_no_stop(
    stream: StreamFeed, redis_server: Redis, new_bridge: Bridges, tmp_path: Path
) -> None:
    """The program itself: an open that never returns holds a thread, and nothing else."""
    secret = tmp_path / "secret"
    secret.write_text("s")
    config = stream.config(redis_server, {"args": ["$payload.n", f"${{file:{secret}}}"]})
    bridge = new_bridge(config, env=with_fault("hung_volume"), arguments=["--reload-on-change"]).ready()
    secret.unlink()
    os.mkfifo(secret)
    wait_until(secret.with_name("secret.hangs").exists, 30, "a look at the file")
    stream.publish_numbers(1)
    with redis_server.client() as client:
        assert client.blmove("dramatiq:default", "seen", 30)
    bridge.terminate()
    assert bridge.wait() == 0, bridge.log_tail()
    assert bridge.wait_for("bridge.stopped")["enqueued"] == 1
    assert not bridge.events("bridge.stop_cut_short")
