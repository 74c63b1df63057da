"""Old and odd servers as a stream's: each command that is missing is one line, and reading goes on where it can."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.proxy import Proxy
from tests.support.batches import answer
from tests.support.brokers import Redis
from tests.support.children import wait_until
from tests.support.feeds import Feed, PubsubFeed, StreamFeed
from tests.support.odd_servers import ANSWERS, odd_server
from tests.support.processes import Bridges, queue_messages
from tests.support.reconnecting import reconnect_and_flow

NewRedis = Callable[..., Redis]


def without(new_redis: NewRedis, command: str) -> Redis:
    """Start a Redis that does not know `command`."""
    return new_redis({"rename-command": f'{command} ""'})


@pytest.mark.parametrize("in_sink", [True, False], ids=["dramatiqs-redis", "elsewhere"])
@pytest.mark.parametrize("missing", ["renamed", "not permitted"])
def test_a_redis_that_cannot_claim_is_read(
    missing: str, in_sink: bool, new_redis: NewRedis, new_bridge: Bridges
) -> None:
    """Without XAUTOCLAIM (before Redis 6.2) nothing is claimed, which is one line; every entry is written once."""
    rights = "on >secret ~* &* +@all -xautoclaim"
    server = without(new_redis, "XAUTOCLAIM") if missing == "renamed" else new_redis({f"user bridge {rights}": ""})
    feed = StreamFeed(server)
    login: dict[str, Any] = {} if missing == "renamed" else {"username": "bridge", "password": "secret"}
    config = feed.config(server if in_sink else new_redis(), claim_after="1s", **login)
    bridge = new_bridge(config).ready()
    said = bridge.wait_for("source.claiming_impossible", level="warning")
    assert "XAUTOCLAIM" in said["cause"].upper()
    assert "entries that are pending at a consumer which is gone wait" in said["cause"]
    for start in (0, 10, 20):
        feed.publish([{"n": n} for n in range(start, start + 10)])
        time.sleep(0.7)  # claiming would be due again
    wait_until(lambda: feed.unacknowledged() == 0, 20, "every entry acknowledged")
    assert len(bridge.events("source.claiming_impossible")) == 1
    assert not bridge.events("source.disconnected")
    bridge.terminate()
    assert bridge.wait() == 0


@pytest.mark.parametrize("in_sink", [True, False], ids=["dramatiqs-redis", "elsewhere"])
@pytest.mark.parametrize("command", ["XACK", "XREADGROUP", "XGROUP"])
def test_a_redis_without_consumer_groups_is_refused(
    command: str, in_sink: bool, new_redis: NewRedis, new_bridge: Bridges
) -> None:
    """Before any entry is read, since none could be acknowledged; the cause names the command."""
    server = without(new_redis, command)
    feed = StreamFeed(server)
    bridge = new_bridge(feed.config(server if in_sink else new_redis()))
    said = bridge.wait_for("source.unavailable")
    assert f"unknown command '{command}': the bridge needs it" in said["cause"] or command == "XGROUP"
    assert not bridge.events("bridge.ready")


@pytest.mark.parametrize("command", ["INFO", "CLIENT", "TIME", "XINFO", "XRANGE", "EXISTS", "XPENDING"])
def test_a_redis_without_another_command_is_read(command: str, new_redis: NewRedis, new_bridge: Bridges) -> None:
    """A source needs none of them: every entry is written, and the connection stays."""
    server = without(new_redis, command)
    feed, sink = StreamFeed(server), new_redis()
    bridge = new_bridge(feed.config(sink)).ready()
    with server.client() as client:
        for n in range(20):
            answer(client.execute_command("XADD", feed.name, "*", "data", f'{{"n": {n}}}'))
    with sink.client() as client:
        wait_until(lambda: len(queue_messages(client, "default")) == 20, 20, "every message")
    assert not bridge.events("source.disconnected")


def older(data: bytes) -> bytes:
    """Return INFO with a version 5 of Redis in the place of its own."""
    return re.sub(rb"(redis_version:)\d", rb"\g<1>5", data)


@pytest.mark.parametrize("kind", [StreamFeed, PubsubFeed])
def test_an_old_redis_is_said_once(kind: type[Feed], redis_server: Redis, new_bridge: Bridges) -> None:
    """A version before the oldest that is supported is a warning, of the sink and of the source; and events flow."""
    feed = kind(redis_server)
    with Proxy(redis_server.port) as proxy:
        proxy.rewrite = older
        url = f"redis://127.0.0.1:{proxy.port}"
        config = feed.config(redis_server, url=url)
        config["dramatiq"]["url"] = url
        bridge = new_bridge(config).ready()
        for event in ("sink.old_server", "source.old_server"):
            said = bridge.wait_for(event, level="warning")
            assert re.match(r"Redis 5\.\d+\.\d+ is older than 6\.2, the oldest supported", said["cause"])
        reconnect_and_flow(proxy, bridge, feed, redis_server)
        assert len(bridge.events("source.old_server")) == len(bridge.events("sink.old_server")) == 1


@pytest.mark.parametrize("kind", [StreamFeed, PubsubFeed])
@pytest.mark.parametrize("answered", ANSWERS)
def test_a_server_that_answers_nonsense_is_no_source(
    answered: str, kind: type[Feed], redis_server: Redis, new_bridge: Bridges
) -> None:
    """Whatever it answers, the source says that it cannot connect, and another source goes on."""
    good = PubsubFeed(redis_server)
    with odd_server(ANSWERS[answered]) as server:
        config = good.config(redis_server)
        config["sources"]["odd"] = {**kind(redis_server).source, "url": server.url, "connect_timeout": "2s"}
        config["routes"].append({"from": "odd", "actor": "record", "name": "odd"})
        bridge = new_bridge(config)
        bridge.wait_for("source.unavailable", source="odd")
        bridge.wait_for("source.connected", source="feed")
        good.publish([{"n": 1}])
        with redis_server.client() as client:
            wait_until(lambda: queue_messages(client, "default"), 20, "the message")
        assert bridge.running
        assert not bridge.events("bridge.ready")
