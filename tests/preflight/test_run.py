"""What `check --connect` sees before the start, `run` says at its start: once, with the same remedy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from tests.preflight.conftest import Looked
from tests.support.brokers import Redis
from tests.support.children import wait_until
from tests.support.processes import Bridges

PUBSUB: dict[str, Any] = {"type": "redis-pubsub", "channels": ["c"]}
STREAM: dict[str, Any] = {"type": "redis-stream", "streams": ["audit"], "group": "g"}


@pytest.fixture
def admin(redis_server: Redis) -> Iterator[redis.Redis]:
    """A client who may do everything; what it has set is undone at the end."""
    with redis_server.client() as client:
        yield client
        client.execute_command("ACL", "DELUSER", "bridge")


def config(server: Redis, source: dict[str, Any], *, login: str = "") -> dict[str, Any]:
    """Return a configuration; `login` names the connections with the user `bridge`."""
    user = {"username": "bridge", "password": "p"}
    made = {"url": server.url, **source}
    return {
        "dramatiq": {"url": server.url, **(user if "sink" in login else {})},
        "sources": {"s": {**made, **(user if "source" in login else {})}},
        "routes": [{"from": "s", "actor": "act", "queue": "alarms", "args": ["$payload"]}],
    }


def permit(admin: redis.Redis, *rules: str) -> None:
    """Give the user `bridge` these rights alone."""
    admin.execute_command("ACL", "SETUSER", "bridge", "reset", "on", ">p", *rules)


@pytest.mark.parametrize(
    ("rules", "line", "event", "cause"),
    [
        (
            ["~dramatiq-bridge:*", "&*", "+@all"],
            "ACL SETUSER bridge ~dramatiq:*",
            "bridge.not_ready",
            "the user bridge may not use the keys dramatiq:*: ACL SETUSER bridge ~dramatiq:*",
        ),
        (
            ["~*", "&*", "+@all", "-rpush", "-hset"],
            "ACL SETUSER bridge +rpush +hset",
            "sink.unavailable",
            "NOPERM the user may not run RPUSH on dramatiq-bridge:probe",
        ),
    ],
    ids=["keys", "commands"],
)
def test_a_sink_that_denies_writes_is_not_ready(  # noqa: PLR0917 - pytest's
    rules: list[str], line: str, event: str, cause: str, redis_server: Redis, admin: redis.Redis, new_bridge: Bridges
) -> None:
    """Also where its own keys can be written: the line is that of `check`, and once it has been carried out, it is ready."""
    permit(admin, *rules)
    bridge = new_bridge(config(redis_server, PUBSUB, login="sink"))
    said = bridge.wait_for("sink.rights_missing", level="error")
    assert said["remedy"] == line
    wait_until(lambda: any(cause in one["cause"] for one in bridge.events(event)), what=cause)
    assert not bridge.events("bridge.ready")
    admin.execute_command(*line.split())
    bridge.ready()
    assert len(bridge.events("sink.rights_missing")) == 1


def test_rights_that_the_bridge_goes_on_without(redis_server: Redis, admin: redis.Redis, new_bridge: Bridges) -> None:
    """A warning; the bridge is ready."""
    permit(admin, "~*", "&*", "+@all", "-xlen", "-time")
    bridge = new_bridge(config(redis_server, PUBSUB, login="sink")).ready()
    said = bridge.wait_for("sink.rights_missing", level="warning")
    assert said["remedy"] == "ACL SETUSER bridge +time +xlen"


def test_a_redis_that_publishes_no_events_of_its_keys(redis_server: Redis, new_bridge: Bridges) -> None:
    """The source is connected, and nothing would ever come."""
    bridge = new_bridge(config(redis_server, {"type": "redis-pubsub", "patterns": ["__keyspace@0__:*"]}))
    said = bridge.wait_for("source.notifications_off", level="warning")
    assert said["remedy"] == "CONFIG SET notify-keyspace-events KA, or with fewer kinds of events"
    bridge.ready()


@pytest.mark.parametrize(
    ("rules", "source", "login", "said"),
    [
        (["~no", "&no", "+@all"], PUBSUB, "source", "ACL SETUSER bridge &c"),
        (["~no", "&no", "+@all"], STREAM, "source", "ACL SETUSER bridge ~audit"),
        (["~*", "+@all", "-xreadgroup"], STREAM, "source", "ACL SETUSER bridge +xreadgroup"),
        (["~*", "+@all", "-xack"], STREAM, "source sink", "ACL SETUSER bridge +xack"),
        (["~*", "+@all"], {**STREAM, "streams": ["wrong"]}, "source", "key 'wrong' holds no stream"),
    ],
    ids=["channel", "key", "command", "xack-in-sink", "type"],
)
def test_a_source_that_is_refused_names_the_remedy(  # noqa: PLR0917 - pytest's
    rules: list[str],
    source: dict[str, Any],
    login: str,
    said: str,
    redis_server: Redis,
    admin: redis.Redis,
    new_bridge: Bridges,
) -> None:
    """At its connect, before an event has come."""
    permit(admin, *rules)
    admin.set("wrong", 1)
    bridge = new_bridge(config(redis_server, source, login=login))
    assert bridge.wait_for("source.unavailable")["cause"].endswith(said)


def test_a_database_that_may_not_be_selected(redis_server: Redis, admin: redis.Redis, new_bridge: Bridges) -> None:
    """The causes of sink and source end with the line; once it has been carried out, the bridge is ready."""
    permit(admin, "~*", "&*", "+@all", "-select")
    made = config(redis_server, {**STREAM, "url": redis_server.url_of(2)}, login="sink source")
    made["dramatiq"]["url"] = redis_server.url_of(2)
    bridge = new_bridge(made)
    line = "ACL SETUSER bridge +select"
    for event in ("sink.unavailable", "source.unavailable"):
        assert bridge.wait_for(event)["cause"].endswith(f"'select' command: {line}")
    admin.execute_command(*line.split())
    bridge.ready()


def test_nothing_is_denied_once_the_lines_have_been_carried_out(
    redis_server: Redis, admin: redis.Redis, new_bridge: Bridges, look: Looked
) -> None:
    """From the start to the stop: `ACL LOG` stays empty, though the user has no more than what the lines of `check` give."""
    permit(admin, "&nothing", "-@all", "+eval")
    login = {"username": "bridge", "password": "p"}
    made = [(redis_server.url_of(0), source) for source in (PUBSUB, STREAM)]
    for _ in range(4):
        for url, source in made:
            for sees in (None, {**source, "url": url, **login}):
                for one in look({"url": url, **login}, sees, queue="alarms", code=-1):
                    if "; ACL SETUSER" in one:
                        admin.execute_command(*one.rpartition("; ")[2].split())
    both = config(redis_server, PUBSUB, login="sink source")
    url = redis_server.url_of(0)
    both["dramatiq"]["url"] = both["sources"]["s"]["url"] = url
    both["sources"]["t"] = {**STREAM, "url": url, **login}
    both["routes"].append({"from": "t", "actor": "act", "queue": "alarms", "args": ["$payload"]})
    admin.execute_command("ACL", "LOG", "RESET")
    bridge = new_bridge(both).ready()
    admin.xadd("audit", {"data": "1"})
    admin.publish("c", "1")
    wait_until(lambda: admin.llen("dramatiq:alarms") == 2, what="both messages")
    bridge.terminate()
    assert bridge.wait() == 0
    assert admin.execute_command("ACL", "LOG") == []
