"""The dispatcher's promises that need no broker of their own: accounting, and what the sink refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bridge.redis_io import client as redis_client
from tests.support.brokers import Redis
from tests.support.children import wait_until
from tests.support.feeds import StreamFeed
from tests.support.processes import BridgeProcess, queue_messages


def test_what_redis_refuses_is_said_and_counted(redis_server: Redis, new_bridge: Callable[..., BridgeProcess]) -> None:
    """Events whose queue's key is of a wrong type are dead letters, said once and counted as such; the others pass."""
    feed = StreamFeed(redis_server)
    feed.prepare()
    config = feed.config(redis_server, {"when": "payload.n % 2 == 0"})
    odd = {"from": "feed", "name": "odd", "when": "payload.n % 2 == 1", "actor": "record", "queue": "odd"}
    config["routes"].append(odd)
    with redis_server.client() as client:
        client.set("dramatiq:odd", "not a list")
        bridge = new_bridge(config).ready()
        feed.publish([{"n": 1}])
        wait_until(lambda: client.xlen("dramatiq-bridge:dead-letters") == 1, 20, "the first dead letter")
        feed.publish([{"n": n} for n in range(20)])
        wait_until(lambda: client.llen("dramatiq:default") == 10, 20, "the even ones")
        wait_until(lambda: client.xlen("dramatiq-bridge:dead-letters") == 11, 20, "the odd ones")
        assert [message["args"] for message in queue_messages(client, "default")] == [[n] for n in range(0, 20, 2)]
        assert client.get("dramatiq:odd") == b"not a list"
        pending: Any = client.xpending(feed.name, "bridge")
        assert pending["pending"] == 0
    bridge.terminate()
    assert bridge.wait() == 0
    stopped = bridge.wait_for("bridge.stopped")
    assert (stopped["received"], stopped["enqueued"], stopped["dead_lettered"]) == (21, 10, 11)
    lines = bridge.events("event.dead_lettered")
    assert {line["reason"] for line in lines} == {"refused-by-redis"}
    assert sum(1 + line.get("repeated", 0) for line in lines) == 11
    assert len(lines) == 2, "at once, and at the stop"


def test_every_event_has_one_fate(redis_server: Redis, new_bridge: Callable[..., BridgeProcess]) -> None:
    """What was received is routed, filtered, unmatched, dead-lettered or returned, and nothing else."""
    feed = StreamFeed(redis_server)
    other = StreamFeed(redis_server)
    for one in (feed, other):
        one.prepare()
    config = feed.config(redis_server, {"topic": feed.name, "when": "payload.n < 50"}, unmatched="drop")
    config["sources"]["feed"]["streams"].append(other.name)
    bridge = new_bridge(config).ready()
    feed.publish([{"n": n} for n in range(100)])
    feed.publish([{"n": "text"} for _ in range(7)])
    other.publish([{"n": n} for n in range(30)])
    with redis_server.client() as client:
        wait_until(lambda: client.llen("dramatiq:default") == 50, 20, "50 messages")
        wait_until(lambda: feed.unacknowledged() + other.unacknowledged() == 0, 20, "everything settled")
    bridge.terminate()
    assert bridge.wait() == 0
    stopped = bridge.wait_for("bridge.stopped")
    fates = {name: stopped[name] for name in ("enqueued", "filtered", "unmatched", "dead_lettered", "returned", "lost")}
    assert fates == {"enqueued": 50, "filtered": 50, "unmatched": 30, "dead_lettered": 7, "returned": 0, "lost": 0}
    assert stopped["received"] == sum(fates.values()) == 137


def test_only_the_same_database_of_the_same_server_is_dramatiqs_own() -> None:
    """Whether a stream's XACK can be part of the write depends on host, port and database, however they are written."""
    same = redis_client.same_server
    assert same("redis://localhost:6379/0", "redis://127.0.0.1")
    assert same("redis://LOCALHOST/", "redis://localhost:6379?db=0")
    assert same("redis://user:secret@h/3", "rediss://h:6379?db=3")
    assert same("unix:///run/redis.sock?db=2", "unix:///run/redis.sock?db=2")
    assert not same("redis://h/0", "redis://h/0?db=3")
    assert not same("redis://h/0", "redis://h/1")
    assert not same("redis://h:1/0", "redis://h:2/0")
    assert not same("redis://a/0", "redis://b/0")
    assert not same("unix:///run/redis.sock?db=2", "unix:///run/redis.sock")
