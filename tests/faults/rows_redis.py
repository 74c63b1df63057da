"""Rows whose victim is Dramatiq's Redis: it goes away, stands still, forgets, or its replies are lost."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import redis

from tests.faults import checker
from tests.faults.proxy import Proxy
from tests.faults.publishers import plain_client
from tests.faults.rows import Says, row
from tests.faults.sources import EVERY
from tests.faults.stage import Stage
from tests.support.brokers import Redis
from tests.support.children import wait_until

AWAY: Final = (Says("sink.unavailable"),)
#: So that a Redis that stands still for some seconds is found to do so.
_IMPATIENT: Final = {"settings": {"dramatiq": {"timeout": "1s", "connect_timeout": "1s"}}}


@row("redis-kill", says=AWAY, unready=("sink: ",))
def kill(stage: Stage) -> None:
    """Redis is killed (kill -9) and, some seconds later, started again from its append-only file."""
    stage.sink.kill()
    stage.wait(1, 2, 10)
    stage.sink.start()


@row("redis-outage", says=AWAY, unready=("sink: ",), only_long=True, stage={"rate": 50})
def outage(stage: Stage) -> None:
    """Redis is away for 90 s."""
    stage.sink.stop()
    time.sleep(90)
    stage.sink.start()


@row("redis-loading", says=(Says("sink.unavailable", cause="LOADING"),))
def loading(stage: Stage) -> None:
    """Redis is started again with so much data that it is LOADING for seconds."""
    with stage.client() as client:
        # It says LOADING after each 1,024 commands that it has read.
        client.eval("for i = 1, 20000 do redis.call('SET', 'ballast:' .. i, i) end", 0)
    stage.sink.config["key-load-delay"] = "100"  # microseconds
    try:
        stage.sink.kill()
        stage.sink.start()
    finally:
        del stage.sink.config["key-load-delay"]


@row("redis-pause", says=(Says("sink.unavailable", cause="timed out"),), unready=("sink: ",), stage=_IMPATIENT)
def pause(stage: Stage) -> None:
    """Redis is stopped by SIGSTOP for longer than a write may take (1 s), and does later what it was sent meanwhile."""
    stage.sink.pause()
    stage.wait(3, 4, 20)
    stage.sink.resume()


@row("redis-latency", keeps_all=True, stage={"through": ("sink",)})
def latency(stage: Stage) -> None:
    """Every reply of Redis takes 200 ms longer."""
    stage.proxies["sink"].latency_s = 0.2
    stage.wait(3, 4, 20)
    stage.proxies["sink"].latency_s = 0


@row("redis-cut-replies", says=AWAY, stage={"through": ("sink",)})
def cut_replies(stage: Stage) -> None:
    """Connections to Redis end after a random number of reply bytes, the command having been done."""
    proxy = stage.proxies["sink"]
    proxy.cut_after = (20, 400)
    proxy.reset()
    stage.wait(4, 5, 20)
    wait_until(lambda: proxy.cuts >= 5, what="five replies cut")
    proxy.cut_after = None


@row("redis-script-flush", keeps_all=True)
def script_flush(stage: Stage) -> None:
    """Redis forgets the script (SCRIPT FLUSH) twenty times."""
    with stage.client() as client:
        for _ in range(20):
            client.script_flush()
            time.sleep(0.1)


@row("redis-wrong-type", keeps_all=True, says=(Says("event.dead_lettered", "mqtt", ("reason", "cause", "topic")),))
def wrong_type(stage: Stage) -> None:
    """Another program has put a text at the key of one queue: its events become dead letters, all others flow."""
    with stage.client() as client:
        client.pipeline().rename("dramatiq:mqtt", "aside").set("dramatiq:mqtt", "a text").execute()
        stage.wait(1, 2)
        client.rename("aside", "dramatiq:mqtt")
        arrived = checker.look(client, stage.sources)
    refused = {source for source, its in arrived.items() if its.dead}
    if refused != {"mqtt"}:
        stage.failures.append(f"dead letters of {sorted(refused)}, not of mqtt alone")


@contextmanager
def _replicated(stage: Stage) -> Iterator[tuple[Redis, redis.Redis, Proxy]]:
    """Give the sink a replica, which gets everything through a proxy, and a client of it."""
    replica = Redis(appendonly=True).start()
    stage.later(replica.close)
    with Proxy(stage.sink.port) as between, plain_client(replica.port, 10) as client:
        client.replicaof("127.0.0.1", str(between.port))
        wait_until(lambda: _answer(client.info("replication"))["master_link_status"] == "up", what="the replica")
        yield replica, client, between


def _take_over(stage: Stage, replica: Redis, client: redis.Redis) -> None:
    client.replicaof("NO", "ONE")
    stage.proxies["sink"].target = replica.port
    stage.proxies["sink"].reset()
    stage.promote(replica)


@row("redis-failover", says=AWAY, stage={"through": ("sink",)})
def failover(stage: Stage) -> None:
    """A planned failover: the old master becomes read-only, the replica has everything, and then the name leads to it."""
    old = stage.sink
    with _replicated(stage) as (replica, client, _), stage.client() as master:
        # Refused from now on: what the replica then has is all there is.
        master.config_set("min-replicas-to-write", "99")
        stage.bridge.wait_for("sink.unavailable", timeout=5)
        wait_until(
            lambda: _offset(master, "master_repl_offset") == _offset(client, "slave_repl_offset"), what="the copy"
        )
        _take_over(stage, replica, client)
    # Away for good: whoever still wrote there would write to nobody.
    old.kill()


@row(
    "redis-failover-unplanned",
    says=AWAY,
    own_loss="Redis replicates after it has acknowledged: what the old master had not sent when it died is gone",
    losers=EVERY,
    again=1,
    stage={"through": ("sink",)},
)
def failover_unplanned(stage: Stage) -> None:
    """The master is killed (kill -9), its replica, 0.3 s behind, is promoted, and the name leads there."""
    with _replicated(stage) as (replica, client, between):
        stage.wait(0.5, 1)
        between.stalled = True
        time.sleep(0.3)
        stage.sink.kill()
        stage.bridge.wait_for("sink.unavailable", timeout=5)
        _take_over(stage, replica, client)


@row("redis-order", keeps_all=True, recovery_s=None)
def order(stage: Stage) -> None:
    """Nothing is broken: MONITOR shows that each message is in its hash before its id is in the list."""
    ended = threading.Event()
    early: list[str] = []
    seen = [0]

    def watch() -> None:
        hashed: set[str] = set()
        with plain_client(stage.sink.port, 0.5) as client, client.monitor() as monitor:
            while not ended.is_set():
                with suppress(redis.TimeoutError):
                    words = monitor.next_command()["command"].split(" ")
                    if words[0] == "HSET":
                        hashed.update(_IDS.findall(" ".join(words[2:])))
                    elif words[0] == "RPUSH":
                        seen[0] += len(words) - 2
                        early.extend(one for one in words[2:] if one not in hashed)

    watcher = threading.Thread(target=watch, name="monitor")
    watcher.start()
    time.sleep(2)
    ended.set()
    watcher.join(10)
    if early:
        stage.failures.append(f"{len(early)} of {seen[0]} ids were in the list before their messages were in the hash")
    if seen[0] < 100:
        stage.failures.append(f"MONITOR showed only {seen[0]} ids")


_IDS: Final = re.compile(r"\b[0-9a-f]{8}-[0-9a-f-]{27}\b")


def _offset(client: redis.Redis, name: str) -> int:
    return int(_answer(client.info("replication"))[name])


def _answer(value: object) -> Any:
    return value
