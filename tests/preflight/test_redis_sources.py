"""`check --connect` at the Redis of a source: streams, groups, channels and rights, without a group, a consumer or a read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.preflight.conftest import Looked
from tests.support.brokers import Redis
from tests.support.children import REPOSITORY


@pytest.fixture
def admin(redis_server: Redis) -> Iterator[redis.Redis]:
    """A client who may do everything; what it has set is undone at the end."""
    with redis_server.client() as client:
        yield client
        client.execute_command("ACL", "DELUSER", "reader")
        client.config_set("notify-keyspace-events", "")


def stream(server: Redis, *streams: str, **more: Any) -> dict[str, Any]:
    """Return a source of streams."""
    return {"type": "redis-stream", "url": server.url_of(0), "streams": list(streams), "group": "g", **more}


def pubsub(server: Redis, **more: Any) -> dict[str, Any]:
    """Return a source of pub/sub."""
    return {"type": "redis-pubsub", "url": server.url, **more}


def reader(server: Redis, admin: redis.Redis, *rules: str) -> dict[str, str]:
    """Make a user with these rights, and return its login."""
    admin.execute_command("ACL", "SETUSER", "reader", "reset", "on", ">p", *rules)
    return {"username": "reader", "password": "p"}


def test_streams_and_groups_are_seen_and_left_as_they_are(
    redis_server: Redis, admin: redis.Redis, look: Looked
) -> None:
    """How many entries are unread and pending; a stream or a group that is not there is not made."""
    for number in range(5):
        admin.xadd("audit", {"n": number})
    admin.xgroup_create("audit", "g", "0")
    admin.xreadgroup("g", "other", {"audit": ">"}, count=2)
    admin.xadd("lonely", {"n": 1})

    def state() -> object:
        dumps = {key: admin.dump(key) for key in admin.scan_iter()}
        return dumps, admin.xpending("audit", "g"), admin.xinfo_consumers("audit", "g")[0]["pending"]

    before = state()
    found = look(source=stream(redis_server, "audit", "lonely", "absent"))
    assert found[1:] == [
        "ok: stream audit: group g has 1 consumer, 3 entries unread, 2 pending",
        "ok: stream lonely: group g is not there yet: `run` makes it, and it begins at the first entry",
        "ok: stream absent is not there yet: `run` makes it, and it begins at the first entry",
    ]
    assert state() == before


def test_a_key_that_is_no_stream(redis_server: Redis, admin: redis.Redis, look: Looked) -> None:
    """It is named."""
    admin.set("wrong", 1)
    assert look(source=stream(redis_server, "wrong"), code=1)[1] == (
        "problem: key 'wrong' holds no stream; delete it, or write the key of the stream"
    )


@pytest.mark.parametrize("in_sink", [True, False], ids=["sink", "elsewhere"])
def test_missing_rights_of_a_stream(in_sink: bool, redis_server: Redis, admin: redis.Redis, look: Looked) -> None:
    """Each with the line that gives it; once these have been carried out, nothing is missing."""
    login = reader(redis_server, admin, "~other", "+ping", "+info", "+eval")
    dramatiq = {"url": redis_server.url_of(0 if in_sink else 1), **login}
    source = stream(redis_server, "audit", **login)
    given: set[str] = set()
    for _ in range(3):
        lines = [one.rpartition("; ")[2] for one in look(dramatiq, source, code=-1) if "ACL SETUSER" in one]
        for line in lines:
            assert line.startswith("ACL SETUSER reader ")
            admin.execute_command(*line.split())
            given.update(line.split())
    assert [one for one in look(dramatiq, source) if not one.startswith("ok: ")] == []
    assert ("+xpending" in given) == in_sink
    assert {"~audit", "+xreadgroup", "+xgroup", "+xack", "+xautoclaim", "+xinfo"} <= given


def test_a_stream_at_a_replica(new_redis: Any, look: Looked) -> None:
    """A group can't be read there."""
    server = new_redis({"replicaof": "127.0.0.1 1"})
    problems = [one for one in look(source=stream(server, "audit"), code=1) if one.startswith("problem")]
    assert problems[0].startswith("problem: READONLY")
    assert "this server is a replica" in problems[0]


def test_channels_that_the_user_may_not_get(redis_server: Redis, admin: redis.Redis, look: Looked) -> None:
    """With the line that gives them; a pattern is permitted by itself alone."""
    login = reader(redis_server, admin, "&news", "+@all")
    source = pubsub(redis_server, channels=["news", "a*c"], patterns=["x.*"], **login)
    (problem,) = [one for one in look(source=source, code=1) if one.startswith("problem")]
    assert problem == ("problem: the user reader may not get the channels a\\*c, x.*; ACL SETUSER reader &a\\*c &x.*")
    admin.execute_command(*problem.rpartition("; ")[2].split())
    assert look(source=source)[-1] == "ok: subscribed to 3 of 3 channels and patterns"
    admin.execute_command("ACL", "SETUSER", "reader", "-psubscribe")
    (problem,) = [one for one in look(source=source, code=1) if one.startswith("problem")]
    assert problem == "problem: the user reader may not run psubscribe; ACL SETUSER reader +psubscribe"


def test_the_commands_that_end_a_subscription(redis_server: Redis, admin: redis.Redis, look: Looked) -> None:
    """A pause and a stop need them; the line gives them."""
    login = reader(redis_server, admin, "&*", "+ping", "+info", "+subscribe")
    source = pubsub(redis_server, channels=["news"], **login)
    (note,) = [one for one in look(source=source) if one.startswith("note")]
    line = note.rpartition("; ")[2]
    assert note.startswith("note: the user reader may not run unsubscribe, punsubscribe: at a pause")
    assert line == "ACL SETUSER reader +unsubscribe +punsubscribe"
    admin.execute_command(*line.split())
    assert look(source=source)[1:] == ["ok: subscribed to 1 of 1 channels and patterns"]


def test_events_of_keys_that_redis_does_not_publish(redis_server: Redis, admin: redis.Redis, look: Looked) -> None:
    """They are off by default; a letter for the kind of channel, and one for a kind of event, turns them on."""
    source = pubsub(redis_server, patterns=["__keyspace@0__:*"], channels=["__keyevent@0__:expired"])
    for flags, problems in (("", 2), ("Kx", 1), ("KE", 2), ("KEA", 0)):
        admin.config_set("notify-keyspace-events", flags)
        found = look(source=source, code=-1)
        assert len([one for one in found if "notify-keyspace-events is" in one]) == problems, (flags, found)
    login = reader(redis_server, admin, "&*", "+@all", "-config")
    assert any(
        one.startswith("unseen: whether Redis publishes the events of its keys")
        for one in look(source={**source, **login})
    )


def test_a_look_takes_no_message_from_a_subscriber(redis_server: Redis, admin: redis.Redis, look: Looked) -> None:
    """Everybody has a copy; afterwards the look's subscription is gone."""
    with admin.pubsub() as other:
        other.subscribe("news")
        look(source=pubsub(redis_server, channels=["news"]))
        assert admin.publish("news", "x") == 1


def test_the_users_of_the_acl_file_have_every_right(new_redis: Any, tmp_path: Path, look: Looked) -> None:
    """`deploy/redis/users.acl` leaves neither a problem nor a note about rights."""
    text = (REPOSITORY / "deploy/redis/users.acl").read_text()
    acl = tmp_path / "users.acl"
    acl.write_text(
        re.sub(
            r">\S+", ">p", text.replace("user default on >REPLACE-THIS-PASSWORD-OF-DEFAULT", "user default on nopass")
        )
    )
    server = new_redis({"aclfile": acl})
    streams, source = ({"username": name, "password": "p"} for name in ("bridge-streams", "bridge-source"))
    dramatiq = {"url": server.url, **streams}
    for one in (stream(server, "audit", **streams), pubsub(server, channels=["signups"], **source)):
        assert [found for found in look(dramatiq, one) if "ACL SETUSER" in found or found.startswith("unseen")] == []
    elsewhere = {"url": server.url_of(1), **streams}
    assert [found for found in look(elsewhere, stream(server, "audit", **source)) if not found.startswith("ok")] == []
