"""SIGHUP: the file is loaded again, checked, and made live while the bridge runs; or nothing changes, and it says why."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.brokers import Mosquitto, RabbitMQ, Redis
from tests.support.child_processes import children
from tests.support.children import free_port, wait_until
from tests.support.feeds import AmqpFeed, Feed, MqttFeed, PubsubFeed, StreamFeed
from tests.support.processes import BridgeProcess, Bridges, queue_messages

PROCESSES = pytest.mark.parametrize("processes", [1, 2])


def reload(bridge: BridgeProcess, config: dict[str, Any] | str, result: str = "bridge.reloaded") -> dict[str, Any]:
    """Write the file, send SIGHUP, and return the line that says how it went."""
    said = len(bridge.events(result))
    bridge.configure(config)
    bridge.signal(signal.SIGHUP)
    return bridge.wait_for(result, times=said + 1)


def calls(sink: Redis, queue: str = "default") -> list[tuple[int, str]]:
    """Return the number of each event in the queue, and the actor of its message, in order."""
    with sink.client() as client:
        return [(message["args"][0], message["actor_name"]) for message in queue_messages(client, queue)]


def wait_for_calls(sink: Redis, count: int) -> list[tuple[int, str]]:
    """Return so many messages, once they are there."""
    with sink.client() as client:
        wait_until(lambda: client.llen("dramatiq:default") >= count, 60, f"{count} messages")
    return calls(sink)


def _routed(feed: Feed, sink: Redis, actor: str, **more: Any) -> dict[str, Any]:
    return {**feed.config(sink, {"actor": actor}), **more}


def _connections(bridge: BridgeProcess) -> Counter[str]:
    return Counter(line["source"] for line in bridge.events("source.connected"))


def _stop(bridge: BridgeProcess) -> dict[str, Any]:
    bridge.terminate()
    assert bridge.wait() == 0, bridge.log_tail()
    return bridge.wait_for("bridge.stopped")


@PROCESSES
def test_routes_change_while_connections_stay(
    feed: Feed, redis_server: Redis, new_bridge: Bridges, processes: int
) -> None:
    """Each event is routed by the file of its time; the log names the change, and no source connects anew."""
    bridge = new_bridge(_routed(feed, redis_server, "old", processes=processes)).ready()
    connected = len(bridge.events("source.connected"))
    feed.publish_numbers(*range(10))
    wait_for_calls(redis_server, 10)
    line = reload(bridge, _routed(feed, redis_server, "new", processes=processes))
    assert line["changes"] == ["route old removed", "route new added"]
    feed.publish_numbers(*range(10, 20))
    found = wait_for_calls(redis_server, 20)
    assert Counter(found) == Counter([(n, "old" if n < 10 else "new") for n in range(20)])
    assert len(bridge.events("source.connected")) == connected
    stopped = _stop(bridge)
    assert (stopped["received"], stopped["enqueued"]) == (20, 20)


@PROCESSES
def test_a_source_that_changed_restarts_alone(
    feed: Feed, redis_server: Redis, new_bridge: Bridges, processes: int
) -> None:
    """With the same client_id, group or queue; the counts of a source go on."""
    other = StreamFeed(redis_server)
    other.prepare()
    config = _routed(feed, redis_server, "act", processes=processes)
    config["sources"]["other"] = other.source
    bridge = new_bridge(config).ready()
    feed.publish_numbers(*range(10))
    wait_for_calls(redis_server, 10)
    before = _connections(bridge)
    config["sources"]["feed"]["window"] = {"events": 17}
    assert reload(bridge, config)["changes"] == ["source feed changed: window"]
    wait_until(lambda: _connections(bridge)["feed"] == 2 * before["feed"], what="each process connected anew")
    assert _connections(bridge)["other"] == before["other"] == processes
    feed.publish_numbers(*range(10, 20))
    assert {n for n, _ in wait_for_calls(redis_server, 20)} == set(range(20))
    stopped = _stop(bridge)
    assert (stopped["received"], stopped["enqueued"]) == (20, 20)
    assert feed.unacknowledged() == 0 or not feed.settles


def test_every_source_at_once_and_a_new_sink(
    mosquitto: Mosquitto, rabbitmq: RabbitMQ, redis_server: Redis, new_redis: Callable[..., Redis], new_bridge: Bridges
) -> None:
    """Another `dramatiq` restarts all four; what comes then goes to the new Redis, and both ends are said."""
    second = new_redis()
    feeds: dict[str, Feed] = {
        "amqp": AmqpFeed(rabbitmq),
        "mqtt": MqttFeed(mosquitto),
        "pubsub": PubsubFeed(redis_server),
        "stream": StreamFeed(redis_server),
    }
    for feed in feeds.values():
        feed.prepare()
    config: dict[str, Any] = {
        "dramatiq": {"url": redis_server.url},
        "sources": {name: feed.source for name, feed in feeds.items()},
        "routes": [{"from": name, "actor": name, "args": ["$payload.n"]} for name in feeds],
    }
    bridge = new_bridge(config).ready()
    for feed in feeds.values():
        feed.publish_numbers(*range(5))
    wait_for_calls(redis_server, 20)
    config["dramatiq"] = {"url": second.url, "namespace": "other"}
    assert reload(bridge, config)["changes"] == ["dramatiq changed: url, namespace"]
    bridge.wait_for("sink.connected", namespace="other")
    bridge.wait_for("source.connected", times=8)
    for feed in feeds.values():
        feed.publish_numbers(*range(5, 10))
    with second.client() as client:
        wait_until(lambda: client.llen("other:default") >= 20, what="the rest")
        messages = queue_messages(client, "default", "other")
    assert Counter((m["actor_name"], m["args"][0]) for m in messages) == Counter(
        (name, n) for name in feeds for n in range(5, 10)
    )
    assert len(calls(redis_server)) == 20
    stopped = _stop(bridge)
    assert (stopped["received"], stopped["enqueued"]) == (40, 40)


@PROCESSES
def test_sources_come_and_go(stream: StreamFeed, redis_server: Redis, new_bridge: Bridges, processes: int) -> None:
    """A new source runs at once; a removed one finishes its events, and is counted at the end all the same."""
    config = _routed(stream, redis_server, "first", processes=processes)
    bridge = new_bridge(config).ready()
    stream.publish_numbers(0, 1)
    wait_for_calls(redis_server, 2)
    other = StreamFeed(redis_server)
    other.prepare()
    both = {**config, "sources": {**config["sources"], "more": other.source}}
    both["routes"] = [*config["routes"], {"from": "more", "actor": "second", "args": ["$payload.n"]}]
    assert reload(bridge, both)["changes"] == ["source more added", "route second added"]
    other.publish_numbers(2, 3)
    wait_for_calls(redis_server, 4)
    only = {**both, "sources": {"more": other.source}, "routes": both["routes"][1:]}
    assert reload(bridge, only)["changes"] == ["source feed removed", "route first removed"]
    stream.publish_numbers(4)
    other.publish_numbers(5)
    wait_for_calls(redis_server, 5)
    assert stream.unacknowledged() == 1
    reload(bridge, both)
    assert Counter(wait_for_calls(redis_server, 6))[4, "first"] == 1
    reload(bridge, only)
    bridge.terminate()
    assert bridge.wait() == 0
    assert {line["source"]: line["enqueued"] for line in bridge.events("source.counts")} == {"feed": 3, "more": 3}


def test_two_sources_exchange_their_names_at_the_broker(
    mosquitto: Mosquitto, redis_server: Redis, new_bridge: Bridges
) -> None:
    """Both are ended before either begins: no session takes over that of the other."""
    one, two = MqttFeed(mosquitto), MqttFeed(mosquitto)
    config: dict[str, Any] = {
        "dramatiq": {"url": redis_server.url},
        "sources": {"one": one.source, "two": two.source},
        "routes": [{"from": name, "actor": name, "args": ["$payload.n"]} for name in ("one", "two")],
    }
    bridge = new_bridge(config).ready()
    config["sources"] = {"one": two.source, "two": one.source}
    reload(bridge, config)
    bridge.wait_for("source.connected", times=4)
    one.publish_numbers(1)
    two.publish_numbers(2)
    assert set(wait_for_calls(redis_server, 2)) == {(1, "two"), (2, "one")}
    assert not bridge.events("source.disconnected")
    _stop(bridge)


def test_subscriptions_follow_the_routes(mosquitto: Mosquitto, redis_server: Redis, new_bridge: Bridges) -> None:
    """Without `topics` an MQTT source subscribes to what its routes need: it connects anew for another topic."""
    feed, other = MqttFeed(mosquitto), MqttFeed(mosquitto)
    config = feed.config(redis_server, {"topic": feed.name})
    del config["sources"]["feed"]["topics"]
    bridge = new_bridge(config).ready()
    config["routes"].append({"from": "feed", "topic": other.name, "actor": "other", "args": ["$payload.n"]})
    assert reload(bridge, config)["changes"] == ["source feed changed: subscriptions", "route other added"]
    bridge.wait_for("source.connected", times=2)
    other.publish_numbers(7)
    assert wait_for_calls(redis_server, 1) == [(7, "other")]
    _stop(bridge)


@PROCESSES
def test_a_bad_file_changes_nothing_and_is_explained(
    stream: StreamFeed, redis_server: Redis, new_bridge: Bridges, processes: int
) -> None:
    """Good, bad, good, bad: each bad one is one line with the place of the mistake, and no secret."""
    configs = {name: _routed(stream, redis_server, name, processes=processes) for name in ("a", "b", "c")}
    bridge = new_bridge(configs["a"]).ready()
    bad = _routed(stream, redis_server, "b", processes=processes, drain_timeout="soon")
    bad["dramatiq"]["password"] = "hunter2-and-more"
    line = reload(bridge, bad, "bridge.reload_failed")
    assert line["result"] == "invalid"
    assert f"{bridge.path}:" in line["cause"]
    assert "drain_timeout" in line["cause"]
    assert line["cause"].endswith("; nothing has changed")
    reload(bridge, configs["b"])
    assert "the file is empty" in reload(bridge, "", "bridge.reload_failed")["cause"]
    bridge.path.unlink()
    bridge.signal(signal.SIGHUP)
    assert "nothing has changed" in bridge.wait_for("bridge.reload_failed", times=3)["cause"]
    stream.publish_numbers(1)
    assert wait_for_calls(redis_server, 1) == [(1, "b")]
    reload(bridge, configs["c"])
    stream.publish_numbers(2)
    assert wait_for_calls(redis_server, 2)[1] == (2, "c")
    assert "hunter2" not in "\n".join(bridge.lines)
    _stop(bridge)


@PROCESSES
def test_what_needs_a_restart_is_refused(
    stream: StreamFeed, redis_server: Redis, new_bridge: Bridges, processes: int, tmp_path: Path
) -> None:
    """All of the file: also its routes stay as they were."""
    bridge = new_bridge(_routed(stream, redis_server, "old", processes=processes)).ready()
    new = _routed(stream, redis_server, "new", processes=3, spool={"directory": str(tmp_path)})
    line = reload(bridge, new, "bridge.reload_refused")
    assert f"processes: {processes} cannot become 3" in line["cause"]
    assert "spool" in line["cause"]
    stream.publish_numbers(1)
    assert wait_for_calls(redis_server, 1) == [(1, "old")]
    _stop(bridge)


def test_the_path_is_read_again_and_not_an_inode(stream: StreamFeed, redis_server: Redis, new_bridge: Bridges) -> None:
    """As Kubernetes swaps a ConfigMap: file -> ..data/file, and ..data -> a new directory."""
    bridge = new_bridge(_routed(stream, redis_server, "old")).ready()
    _stop(bridge)
    volume = bridge.directory
    bridge.path.unlink()
    for name in ("old", "new"):
        (volume / name).mkdir()
        config = yaml.safe_dump(_routed(stream, redis_server, name), sort_keys=False)
        (volume / name / bridge.path.name).write_text(config)
    (volume / "..data").symlink_to("old")
    bridge.path.symlink_to(f"..data/{bridge.path.name}")
    bridge.start().ready()
    (volume / "..data_tmp").symlink_to("new")
    (volume / "..data_tmp").rename(volume / "..data")
    bridge.signal(signal.SIGHUP)
    bridge.wait_for("bridge.reloaded")
    stream.publish_numbers(1)
    assert wait_for_calls(redis_server, 1) == [(1, "new")]
    _stop(bridge)


@PROCESSES
def test_the_log_changes_at_once(stream: StreamFeed, redis_server: Redis, new_bridge: Bridges, processes: int) -> None:
    """Its level, and the secrets that it masks: a password that the new file brings is in no line of a server or library."""
    config = _routed(stream, redis_server, "act", processes=processes, log={"level": "warning"})
    bridge = new_bridge(config)
    with redis_server.client() as client:
        wait_until(
            lambda: client.exists(stream.name) and client.xinfo_consumers(stream.name, "bridge"), what="connected"
        )
    config["log"] = {"level": "debug"}
    assert reload(bridge, config)["changes"] == ["log changed: level"]
    stream.publish_numbers(1)
    wait_for_calls(redis_server, 1)
    bridge.wait_for("event.outcome")
    config["log"] = {"level": "error"}
    bridge.configure(config)
    bridge.signal(signal.SIGHUP)
    wait_until(lambda: _quiet(bridge), what="no more lines")
    bridge.terminate()
    assert bridge.wait() == 0
    assert not bridge.events("bridge.stopped")


def _quiet(bridge: BridgeProcess) -> bool:
    before = len(bridge.lines)
    bridge.signal(signal.SIGUSR1)
    time.sleep(0.3)
    return len(bridge.lines) == before


@PROCESSES
def test_a_storm_of_signals_is_a_few_reloads(
    stream: StreamFeed, redis_server: Redis, new_bridge: Bridges, processes: int
) -> None:
    """Those that come during a reload are one more; the last file is live in the end."""
    bridge = new_bridge(_routed(stream, redis_server, "a0", processes=processes)).ready()
    for n in range(1, 200):
        bridge.configure(_routed(stream, redis_server, f"a{n}", processes=processes))
        bridge.signal(signal.SIGHUP)
    wait_until(
        lambda: any("route a199 added" in line["changes"] for line in bridge.events("bridge.reloaded")), what="the last"
    )
    stream.publish_numbers(1)
    assert wait_for_calls(redis_server, 1) == [(1, "a199")]
    assert bridge.running
    _stop(bridge)


@PROCESSES
def test_a_stop_during_a_reload_wins(
    stream: StreamFeed, new_redis: Callable[..., Redis], new_bridge: Bridges, processes: int
) -> None:
    """The reload waits for a sink that is away; nothing is lost, and the process ends in time."""
    sink = new_redis()
    config = _routed(stream, sink, "act", processes=processes, drain_timeout="2s")
    bridge = new_bridge(config).ready()
    sink.stop()
    stream.publish_numbers(*range(30))
    bridge.wait_for("sink.unavailable")
    config["sources"]["feed"]["window"] = {"events": 77}
    bridge.configure(config)
    bridge.signal(signal.SIGHUP)
    bridge.wait_for("bridge.reload_requested")
    bridge.terminate()
    assert bridge.wait(30) == 0, bridge.log_tail()
    assert stream.unacknowledged() == 30
    sink.start()
    bridge.start().ready()
    assert {n for n, _ in wait_for_calls(sink, 30)} == set(range(30))


def test_a_reload_while_redis_is_away(feed: Feed, new_redis: Callable[..., Redis], new_bridge: Bridges) -> None:
    """A source restarts all the same, and neither what it has received nor what comes then is lost."""
    sink = new_redis()
    config = _routed(feed, sink, "act")
    bridge = new_bridge(config).ready()
    sink.stop()
    feed.publish_numbers(*range(30))
    bridge.wait_for("sink.unavailable")
    wait_until(lambda: bridge.state()["held"] == 30, what="all received")
    config["sources"]["feed"]["max_body"] = "1MiB"
    reload(bridge, config)
    if not feed.redelivers:
        bridge.wait_for("source.connected", times=2)
    feed.publish_numbers(*range(30, 40))
    sink.start()
    assert {n for n, _ in wait_for_calls(sink, 40)} == set(range(40))
    bridge.wait_for("sink.recovered")
    stopped = _stop(bridge)
    assert (stopped["enqueued"], stopped["lost"]) == (40, 0)


def test_a_reload_before_redis_was_ever_there(stream: StreamFeed, redis_server: Redis, new_bridge: Bridges) -> None:
    """A wrong URL in the first file is mended without a restart, and then the bridge is ready."""
    config = _routed(stream, redis_server, "act")
    wrong = {**config, "dramatiq": {"url": f"redis://127.0.0.1:{free_port()}/0"}}
    bridge = new_bridge(wrong)
    bridge.wait_for("sink.unavailable")
    reload(bridge, config)
    bridge.ready()
    stream.publish_numbers(1)
    assert wait_for_calls(redis_server, 1) == [(1, "act")]
    _stop(bridge)


@PROCESSES
def test_a_reload_while_a_broker_is_away(
    stream: StreamFeed, redis_server: Redis, new_bridge: Bridges, processes: int
) -> None:
    """It waits for no broker; a source whose URL was wrong connects by the new one, and the bridge becomes ready."""
    config = _routed(stream, redis_server, "act", processes=processes)
    url = config["sources"]["feed"]["url"]
    config["sources"]["feed"]["url"] = f"redis://127.0.0.1:{free_port()}/0"
    bridge = new_bridge(config)
    bridge.wait_for("source.unavailable")
    config["routes"][0]["actor"] = "other"
    reload(bridge, config)
    config["sources"]["feed"]["url"] = url
    reload(bridge, config)
    bridge.ready()
    stream.publish_numbers(1)
    assert wait_for_calls(redis_server, 1) == [(1, "other")]
    _stop(bridge)


def test_the_spool_stays_open(
    redis_server: Redis, new_redis: Callable[..., Redis], new_bridge: Bridges, tmp_path: Path
) -> None:
    """Events that wait on the disk are written once by the successor, in order, behind none that came later."""
    sink = new_redis()
    feed = PubsubFeed(redis_server)
    config = _routed(feed, sink, "act", spool={"directory": str(tmp_path / "spool")})
    bridge = new_bridge(config).ready()
    sink.stop()
    feed.publish_numbers(*range(200))
    wait_until(lambda: bridge.state().get("spooled") == 200, what="all spooled")
    config["sources"]["feed"]["window"] = {"events": 50}
    reload(bridge, config)
    bridge.wait_for("source.connected", times=2)
    feed.publish_numbers(*range(200, 300))
    wait_until(lambda: bridge.state().get("spooled") == 300, what="all spooled")
    sink.start()
    assert [n for n, _ in wait_for_calls(sink, 300)] == list(range(300))
    stopped = _stop(bridge)
    assert (stopped["received"], stopped["enqueued"], stopped["recovered"]) == (300, 300, 0)


def test_the_spool_of_a_removed_source_waits_for_its_return(
    redis_server: Redis, new_redis: Callable[..., Redis], new_bridge: Bridges, tmp_path: Path
) -> None:
    """Nothing of it is written meanwhile, and each event of it is counted once."""
    sink = new_redis()
    feed, other = PubsubFeed(redis_server), PubsubFeed(redis_server)
    config = _routed(feed, sink, "act", spool={"directory": str(tmp_path / "spool")}, drain_timeout="1s")
    bridge = new_bridge(config).ready()
    sink.stop()
    feed.publish_numbers(*range(100))
    wait_until(lambda: bridge.state().get("spooled") == 100, what="all spooled")
    without = {**config, "sources": {"other": other.source}, "routes": []}
    reload(bridge, without)
    assert bridge.wait_for("spool.kept")["events"] == 100
    sink.start()
    bridge.wait_for("sink.recovered")
    reload(bridge, config)
    assert [n for n, _ in wait_for_calls(sink, 100)] == list(range(100))
    bridge.terminate()
    assert bridge.wait() == 0
    counts = bridge.wait_for("source.counts", source="feed")
    assert (counts["received"], counts["recovered"], counts["enqueued"]) == (100, 0, 100)


def test_a_process_that_dies_during_reloads_begins_with_the_newest_file(
    stream: StreamFeed, redis_server: Redis, new_bridge: Bridges
) -> None:
    """Its parent does not wait for it for ever."""
    bridge = new_bridge(_routed(stream, redis_server, "old", processes=2)).ready()
    children(bridge)[1].suspend()
    bridge.configure(_routed(stream, redis_server, "new", processes=2))
    bridge.signal(signal.SIGHUP)
    bridge.wait_for("bridge.reload_requested")
    children(bridge)[1].kill()
    bridge.wait_for("bridge.reloaded")
    bridge.wait_for("process.recovered")
    stream.publish_numbers(*range(500))
    found = wait_for_calls(redis_server, 500)
    assert Counter(found) == Counter((n, "new") for n in range(500))
    _stop(bridge)


def test_a_source_that_comes_by_a_reload_takes_over_what_earlier_processes_have_left(
    mosquitto: Mosquitto, redis_server: Redis, new_bridge: Bridges
) -> None:
    """Sessions of a shared subscription that an earlier start had processes for: the broker deals them nothing any more."""
    feed, other = MqttFeed(mosquitto), StreamFeed(redis_server)
    other.prepare()
    config = feed.config(redis_server, topics=[f"$share/bridge/{feed.name}"])
    bridge = new_bridge({**config, "processes": 3}).ready()
    with redis_server.client() as client:
        wait_until(
            lambda: len(client.keys(f"dramatiq-bridge:subscriptions:feed:{feed.name}*")) == 3, what="three records"
        )
    _stop(bridge)
    bridge.configure({**config, "sources": {"other": other.source}, "routes": []})
    bridge.start().ready()
    reload(bridge, {**config, "sources": {**config["sources"], "other": other.source}})
    bridge.wait_for("source.unsubscribed", times=2)
    feed.publish_numbers(*range(100))
    assert {n for n, _ in wait_for_calls(redis_server, 100)} == set(range(100))
    _stop(bridge)


def test_a_source_that_retires_from_a_hanging_broker_does_not_hold_up_the_reload(
    redis_server: Redis, new_redis: Callable[..., Redis], new_bridge: Bridges
) -> None:
    """Its connection is given up after seconds; the new one goes to another broker."""
    silent = new_redis()
    before, after = StreamFeed(silent), StreamFeed(redis_server)
    for feed in (before, after):
        feed.prepare()
    bridge = new_bridge(_routed(before, redis_server, "act")).ready()
    silent.pause()
    reload(bridge, _routed(after, redis_server, "act"))
    after.publish_numbers(1)
    assert wait_for_calls(redis_server, 1) == [(1, "act")]
    silent.resume()
    _stop(bridge)


def test_processes_that_a_reload_would_need_are_asked_for(
    redis_server: Redis, new_bridge: Bridges, stream: StreamFeed
) -> None:
    """A bridge that began as one process, since no source could be shared, stays one, and says so."""
    channel = PubsubFeed(redis_server)
    config = _routed(channel, redis_server, "act", processes=2)
    bridge = new_bridge(config).ready()
    config["sources"]["more"] = stream.source
    reload(bridge, config)
    assert "restart the bridge" in bridge.wait_for("bridge.one_process", times=2)["cause"]
    _stop(bridge)
