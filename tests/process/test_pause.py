"""Pause and resume of a source or a route, by the interface that the admin server has, against real brokers.

The bridge runs in the test's own process, so that the test can give it orders; `processes: 2` has its children.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
import yaml
from structlog.typing import EventDict

from bridge.model.accounting import Counts
from bridge.model.control import Paused, UnknownName
from bridge.model.state import SourceState
from bridge.process.loader import Loader
from bridge.process.one_process import OneProcess
from bridge.process.supervisor import Supervisor
from bridge.spool import Spool
from tests.support.brokers import Redis
from tests.support.feeds import AmqpFeed, Feed, PubsubFeed, StreamFeed
from tests.support.processes import queue_messages
from tests.support.running import Running, run, until

PROCESSES = pytest.mark.parametrize("processes", [1, 2])
EVEN: dict[str, Any] = {
    "from": "feed",
    "name": "even",
    "when": "payload.n % 2 == 0",
    "actor": "even",
    "args": ["$payload.n"],
}
ODD: dict[str, Any] = {
    "from": "feed",
    "name": "odd",
    "when": "payload.n % 2 == 1",
    "actor": "odd",
    "args": ["$payload.n"],
}


class _Bridge:
    """A bridge that runs until the end of the test, and its file."""

    def __init__(self, directory: Path, config: dict[str, Any]) -> None:
        self.path = directory / "bridge.yaml"
        self.configure(config)
        loader = Loader(str(self.path), "json", "info")
        prepared = loader.load()
        self.running: Running = (
            OneProcess(prepared, loader.load) if prepared.config.processes == 1 else Supervisor(prepared, loader.load)
        )

    def configure(self, config: dict[str, Any]) -> None:
        self.path.write_text(yaml.safe_dump(config, sort_keys=False))

    def counts(self) -> Counts:
        total = Counts()
        for counts in self.running.counts().values():
            total.add(counts)
        return total

    def paused(self, name: str = "feed") -> bool:
        source = self.running.state().sources.get(name)
        return source is not None and source.paused

    def connected(self, name: str = "feed") -> bool:
        source = self.running.state().sources.get(name)
        return source is not None and source.connected

    async def resume(self, name: str, source: str = "feed") -> None:
        """Resume a source, or a route of it, and wait for a connection that no pause is about to close.

        One that the pause of the source has found may still be there, and finish its events: it listens no more.
        """
        before = self.running.state().sources[source].reconnects if name == source else -1
        await self.running.pause(name, paused=False)

        def listens() -> bool:
            state = self.running.state().sources[source]
            return state.connected and state.reconnects > before

        await until(listens, "listening again", self.running.state)


@asynccontextmanager
async def _run(directory: Path, config: dict[str, Any]) -> AsyncIterator[_Bridge]:
    bridge = _Bridge(directory, config)
    async with run(bridge.running):
        yield bridge


@pytest.fixture(autouse=True)
def _no_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that obeys signals is the tests' own process' no more than any other's."""
    monkeypatch.setattr("bridge.process.lifecycle.Lifecycle.begin", lambda *_: None)


async def _publish(feed: Feed, *numbers: int) -> None:
    await asyncio.to_thread(feed.publish_numbers, *numbers)


def _numbers(sink: Redis) -> list[int]:
    with sink.client() as client:
        return [message["args"][0] for message in queue_messages(client, "default")]


@PROCESSES
async def test_a_paused_source_is_away_until_it_is_resumed(
    feed: Feed, redis_server: Redis, tmp_path: Path, processes: int
) -> None:
    """Its received events are written, and its connection closed; a broker that redelivers keeps what comes meanwhile."""
    async with _run(tmp_path, {**feed.config(redis_server), "processes": processes}) as bridge:
        await _publish(feed, *range(20))
        await until(lambda: len(_numbers(redis_server)) == 20, "twenty messages")
        with structlog.testing.capture_logs() as lines:
            assert await bridge.running.pause("feed", paused=True) == Paused("feed", "source", paused=True)
            assert await bridge.running.pause("feed", paused=True) == Paused("feed", "source", paused=True)
        (line,) = _of(lines, "source.paused")
        assert ("lost" in line["consequence"]) != feed.redelivers
        await until(lambda: bridge.paused() and not bridge.connected(), "paused, and no connection")
        await _publish(feed, *range(20, 30))
        await asyncio.sleep(0.5)
        assert len(_numbers(redis_server)) == 20
        with structlog.testing.capture_logs() as lines:
            assert await bridge.running.pause("feed", paused=False) == Paused("feed", "source", paused=False)
        assert len(_of(lines, "source.resumed")) == 1
        await until(bridge.connected, "connected again")
        if feed.redelivers:
            await until(lambda: len(_numbers(redis_server)) == 30, "the rest")
        await _publish(feed, *range(30, 40))
        await until(lambda: {*range(30, 40)} <= {*_numbers(redis_server)}, "those that came last")
    assert sorted(_numbers(redis_server)) == [n for n in range(40) if feed.redelivers or not 20 <= n < 30]
    counts = bridge.counts()
    assert counts.came == counts.settled == counts.enqueued


@PROCESSES
async def test_a_paused_route_holds_its_source_and_nothing_is_lost(
    feed: Feed, redis_server: Redis, tmp_path: Path, processes: int
) -> None:
    """The first batch with a message of it waits, and all behind it; once it is resumed, each event is written once."""
    config = {**feed.config(redis_server), "routes": [EVEN, ODD], "processes": processes}
    async with _run(tmp_path, config) as bridge:
        with structlog.testing.capture_logs() as lines:
            assert await bridge.running.pause("odd", paused=True) == Paused("odd", "route", paused=True)
        assert len(_of(lines, "route.paused")) == 1
        await until(lambda: bridge.running.state().routes["odd"].paused, "said in its state")
        for n in (0, 2):
            await _publish(feed, n)
            await until(lambda n=n: n in _numbers(redis_server), "an event for the other route")  # type: ignore[misc]
        for n in (1, 3, 4):
            await _publish(feed, n)
        await asyncio.sleep(0.5)
        assert 1 not in _numbers(redis_server)
        assert 3 not in _numbers(redis_server)
        with structlog.testing.capture_logs() as lines:
            await bridge.running.pause("odd", paused=False)
        assert len(_of(lines, "route.resumed")) == 1
        await until(lambda: len(_numbers(redis_server)) == 5, "all five")
    assert sorted(_numbers(redis_server)) == [0, 1, 2, 3, 4]


async def test_a_stop_while_paused_ends_normally(feed: Feed, redis_server: Redis, tmp_path: Path) -> None:
    """It does not wait for `drain_timeout`; what a broker redelivers stays with it, and everything else is written."""
    config = {**feed.config(redis_server), "routes": [EVEN, ODD], "drain_timeout": "1h"}
    async with _run(tmp_path, config) as bridge:
        await bridge.running.pause("odd", paused=True)
        await _publish(feed, 1)
        await until(lambda: bridge.running.state().sources["feed"].in_flight == 1, "held")
    counts = bridge.counts()
    if feed.redelivers:
        assert (counts.returned, counts.enqueued) == (1, 0)
    else:
        assert (counts.lost, counts.enqueued) == (0, 1)
    async with _run(tmp_path, config):
        await until(lambda: _numbers(redis_server) == [1], "written once")


@PROCESSES
async def test_a_reload_keeps_the_pauses_of_names_that_still_exist(
    stream: StreamFeed, redis_server: Redis, tmp_path: Path, processes: int
) -> None:
    """Also where the source restarts; the pause of a route that is gone ends with it."""
    other = StreamFeed(redis_server)
    other.prepare()
    config: dict[str, Any] = {**stream.config(redis_server), "routes": [EVEN, ODD], "processes": processes}
    config["sources"]["other"] = other.source
    async with _run(tmp_path, config) as bridge:
        for name in ("other", "odd"):
            await bridge.running.pause(name, paused=True)
        await until(lambda: bridge.paused("other") and not bridge.connected("other"), "paused")
        config["sources"]["other"]["window"] = {"events": 7}
        bridge.configure(config)
        assert (await bridge.running.reload()).changes == ["source other changed: window"]
        await _publish(stream, 1)
        await asyncio.sleep(0.5)
        await until(lambda: bridge.running.state().routes["odd"].paused, "the route is paused still")
        await until(lambda: bridge.paused("other") and not bridge.connected("other"), "the source is paused still")
        assert _numbers(redis_server) == []
        config["routes"] = [EVEN, {**ODD, "name": "odd-2"}]
        bridge.configure(config)
        assert (await bridge.running.reload()).result == "ok"
        await until(lambda: _numbers(redis_server) == [1], "nothing holds it")
        await bridge.running.pause("other", paused=False)
        await until(lambda: bridge.connected("other"), "connected again")


async def test_a_process_that_is_started_anew_keeps_the_pauses(
    stream: StreamFeed, redis_server: Redis, tmp_path: Path
) -> None:
    """A pause is of the whole bridge: it outlives one of several processes."""
    async with _run(tmp_path, {**stream.config(redis_server), "processes": 2}) as bridge:
        await bridge.running.pause("feed", paused=True)
        assert isinstance(bridge.running, Supervisor)
        for child in bridge.running._children:
            lives = child._lives
            child.kill()
            await until(lambda child=child, lives=lives: child._lives > lives and child.ready.is_set(), "started anew")  # type: ignore[misc]
        await _publish(stream, 1)
        await asyncio.sleep(0.5)
        assert _numbers(redis_server) == []
        await bridge.running.pause("feed", paused=False)
        await until(lambda: _numbers(redis_server) == [1], "its message")


async def test_what_a_paused_route_holds_goes_to_the_spool(
    redis_server: Redis, new_redis: Callable[..., Redis], tmp_path: Path
) -> None:
    """Of a source that nobody redelivers: once the window is full, as with backpressure; then nothing is lost."""
    sink = new_redis()
    feed = PubsubFeed(redis_server)
    spool = {"directory": str(tmp_path / "spool")}
    config = {**feed.config(sink, window={"events": 10}), "routes": [EVEN, ODD], "spool": spool}
    async with _run(tmp_path, config) as bridge:
        await bridge.running.pause("odd", paused=True)
        await _publish(feed, *range(200))
        await until(lambda: (bridge.running.state().sources["feed"].spooled or 0) > 100, "spooled")
        await bridge.running.pause("odd", paused=False)
        await until(lambda: len(_numbers(sink)) == 200, "all of them")
        assert _numbers(sink) == list(range(200))


async def test_a_paused_source_still_replays_its_spool(
    redis_server: Redis, new_redis: Callable[..., Redis], tmp_path: Path
) -> None:
    """Events that are received are finished, also those on the disk."""
    sink = new_redis()
    feed = PubsubFeed(redis_server)
    async with _run(tmp_path, {**feed.config(sink), "spool": {"directory": str(tmp_path / "spool")}}) as bridge:
        sink.stop()
        await _publish(feed, *range(50))
        await until(lambda: bridge.running.state().sources["feed"].spooled == 50, "spooled")
        await bridge.running.pause("feed", paused=True)
        await asyncio.to_thread(sink.start)
        await until(lambda: len(_numbers(sink)) == 50, "written")


async def test_a_quorum_queue_loses_no_event_to_a_paused_route(
    rabbitmq: Any, redis_server: Redis, tmp_path: Path
) -> None:
    """Its connection ends while a batch is held: it does not consume until the route is resumed, so nothing is redelivered often."""
    feed = AmqpFeed(rabbitmq)
    await asyncio.to_thread(feed.prepare)
    async with _run(tmp_path, {**feed.config(redis_server), "routes": [EVEN, ODD]}) as bridge:
        await bridge.running.pause("odd", paused=True)
        await _publish(feed, 1)
        assert isinstance(bridge.running, OneProcess)
        inside = bridge.running._bridge
        await until(lambda: inside._route_pauses.holds("feed"), "held")
        for pipeline in inside._pipelines:
            pipeline.reconnect("a test")
        await until(lambda: not bridge.connected(), "no connection")
        await asyncio.sleep(1)
        assert not bridge.connected()
        await bridge.running.pause("odd", paused=False)
        await until(lambda: _numbers(redis_server) == [1], "its message")


async def test_a_name_that_nobody_has_is_refused_with_those_that_there_are(
    stream: StreamFeed, redis_server: Redis, tmp_path: Path
) -> None:
    """A source before a route of the same name; `route:` tells them apart."""
    async with _run(tmp_path, stream.config(redis_server, {"name": "feed"})) as bridge:
        with pytest.raises(UnknownName, match="no source or route has the name 'fed'; there are feed"):
            await bridge.running.pause("fed", paused=True)
        assert (await bridge.running.pause("route:feed", paused=True)).kind == "route"
        assert (await bridge.running.pause("feed", paused=True)).kind == "source"


def _of(lines: list[EventDict], event: str) -> list[EventDict]:
    return [line for line in lines if line["event"] == event]


async def test_the_accounts_agree_at_every_moment_of_a_reload_and_a_pause(
    redis_server: Redis, new_redis: Callable[..., Redis], tmp_path: Path
) -> None:
    """Received and recovered events are those with a class, in flight and spooled: also while one pipeline follows another."""
    sink = new_redis(appendonly=True)
    feeds: dict[str, Feed] = {"stream": StreamFeed(redis_server), "pubsub": PubsubFeed(redis_server)}
    feeds["stream"].prepare()
    config: dict[str, Any] = {
        "dramatiq": {"url": sink.url_of(0)},
        "sources": {name: {**feed.source, "window": {"events": 50}} for name, feed in feeds.items()},
        "routes": [{"from": name, "name": name, "actor": name, "args": ["$payload.n"]} for name in feeds],
        "spool": {"directory": str(tmp_path / "spool")},
    }
    async with _run(tmp_path, config) as bridge:
        wrong: list[str] = []

        async def scrape() -> None:
            while True:
                for name, source in bridge.running.state().sources.items():
                    if source.accounting_error:
                        wrong.append(f"{name}: {source}")
                await asyncio.sleep(0)

        scraping = asyncio.create_task(scrape())
        for step in range(6):
            for feed in feeds.values():
                await _publish(feed, *range(step * 100, step * 100 + 100))
            if step == 1:
                sink.stop()
            if step == 4:
                await asyncio.to_thread(sink.start)
            config["sources"]["stream"]["window"] = {"events": 51 + step}
            config["sources"]["pubsub"]["window"] = {"events": 61 + step}
            bridge.configure(config)
            assert (await bridge.running.reload()).result == "ok"
            for name in ("stream", "pubsub"):
                await bridge.running.pause(f"route:{name}" if step % 2 else name, paused=True)
            await asyncio.sleep(0.1)
            await bridge.running.pause("route:stream" if step % 2 else "stream", paused=False)
            await bridge.resume("route:pubsub" if step % 2 else "pubsub", "pubsub")
        # Not by the counts: of an entry that was written when the sink stopped, and whose answer never came, the stream brings
        # another delivery, which is a duplicate.
        await until(lambda: len(_numbers(sink)) >= 1200, "all of them", bridge.running.state)
        scraping.cancel()
        assert not wrong
    by_source = bridge.running.counts()
    counts = bridge.counts()
    assert (counts.came, counts.settled, counts.lost) == (counts.received, counts.came, 0)
    assert (by_source["pubsub"].received, by_source["pubsub"].enqueued) == (600, 600)
    assert by_source["stream"].enqueued <= 600 <= by_source["stream"].enqueued + by_source["stream"].deduplicated
    assert sorted(_numbers(sink)) == sorted([*range(600), *range(600)])


async def test_a_reload_in_an_outage_waits_for_a_slow_disk(
    redis_server: Redis, new_redis: Callable[..., Redis], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events beyond the window, which Redis has sent already, are received as the spool makes room; then the source restarts."""
    append = Spool.append

    async def slow(*args: Any, **options: Any) -> None:
        await asyncio.sleep(0.2)
        await append(*args, **options)

    monkeypatch.setattr(Spool, "append", slow)
    sink = new_redis()
    feed = PubsubFeed(redis_server)
    config = {**feed.config(sink, window={"events": 10}), "spool": {"directory": str(tmp_path / "spool")}}
    async with _run(tmp_path, config) as bridge:
        sink.stop()
        await _publish(feed, *range(60))
        await until(lambda: bridge.running.state().sources["feed"].spooled, "the first events on the disk")
        config["sources"]["feed"]["window"] = {"events": 11}
        bridge.configure(config)
        assert (await bridge.running.reload()).result == "ok"
        assert bridge.counts().received == 60
        await asyncio.to_thread(sink.start)
        await until(lambda: len(_numbers(sink)) >= 60, "all of them", bridge.running.state)
        assert _numbers(sink) == list(range(60))
    assert bridge.counts().lost == 0


async def test_a_stop_loses_nothing_behind_a_paused_route(
    redis_server: Redis, new_redis: Callable[..., Redis], tmp_path: Path
) -> None:
    """With a spool: also the events that the session holds and that were never routed wait on the disk for the next start."""
    sink = new_redis()
    feed = PubsubFeed(redis_server)
    config = {**feed.config(sink), "routes": [EVEN, ODD], "spool": {"directory": str(tmp_path / "spool")}}
    async with _run(tmp_path, config) as bridge:
        await bridge.running.pause("odd", paused=True)
        for start in range(0, 800, 100):
            await _publish(feed, *range(start, start + 100))
        await until(lambda: bridge.running.state().sources["feed"].counts.received == 800, "received")
    assert bridge.counts().lost == 0
    async with _run(tmp_path, config):
        await until(lambda: len(_numbers(sink)) == 800, "all of them")
        assert _numbers(sink) == list(range(800))


async def test_spooled_events_of_a_source_without_a_spool_are_accounted_for(
    redis_server: Redis, new_redis: Callable[..., Redis], tmp_path: Path
) -> None:
    """A source of the name becomes a stream, which is never spooled: its events wait on the disk, and are shown as such."""
    sink = new_redis()
    channel, stream = PubsubFeed(redis_server), StreamFeed(redis_server)
    stream.prepare()
    config = {**channel.config(sink), "spool": {"directory": str(tmp_path / "spool")}}
    async with _run(tmp_path, config) as bridge:

        def source() -> SourceState:
            state = bridge.running.state().sources["feed"]
            assert state.accounting_error == 0
            return state

        sink.stop()
        await _publish(channel, *range(50))
        await until(lambda: source().spooled == 50, "spooled")
        bridge.configure({**config, "sources": {"feed": stream.source}})
        reload = asyncio.create_task(bridge.running.reload())
        await until(reload.done, "reloaded")
        assert reload.result().result == "ok"
        assert source().spooled == 50
        bridge.configure(config)
        reload = asyncio.create_task(bridge.running.reload())
        await until(lambda: source().type and reload.done(), "reloaded")
        await asyncio.to_thread(sink.start)
        await until(lambda: len(_numbers(sink)) == 50, "written")
        await until(lambda: source().spooled == 0, "an empty spool")
        assert (source().counts.received, source().counts.recovered, source().counts.enqueued) == (50, 0, 50)
