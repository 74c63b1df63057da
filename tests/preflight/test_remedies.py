"""`check --connect` at a Redis that refuses: what to do stands beside it, at the setting's own place."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import redis

from tests.preflight.conftest import Looked
from tests.support.brokers import Redis

NewRedis = Callable[..., Redis]


@pytest.fixture
def admin(redis_server: Redis) -> Iterator[redis.Redis]:
    """A client who may do everything; what it has set is undone at the end."""
    with redis_server.client() as client:
        yield client
        client.execute_command("ACL", "DELUSER", "bridge")
        client.flushall()


@pytest.mark.parametrize(
    ("key", "kind", "so"),
    [
        ("dramatiq:alarms", "list", "its events become dead letters"),
        ("dramatiq:alarms.msgs", "hash", "its events become dead letters"),
        ("dramatiq-bridge:dead-letters", "stream", "every write waits"),
        ("dramatiq-bridge:dead-letters:books", "hash", "every write with a dead letter waits"),
    ],
)
def test_a_key_of_another_type(  # noqa: PLR0917 - pytest's
    key: str, kind: str, so: str, redis_server: Redis, admin: redis.Redis, look: Looked
) -> None:
    """No event could be written there."""
    admin.set(key, "x")
    (problem,) = [one for one in look({"url": redis_server.url}, queue="alarms", code=1) if one.startswith("problem")]
    assert problem == f"problem: key {key} holds a string, not a {kind}: {so}; rename or delete it"
    admin.rename(key, f"{key}.old")
    look({"url": redis_server.url}, queue="alarms")


@pytest.mark.parametrize("at", ["sink", "source"])
def test_a_refused_login_names_its_remedy(at: str, new_redis: NewRedis, redis_server: Redis, look: Looked) -> None:
    """At the password's own place; the source says it once."""

    def of(**connection: str) -> list[str]:
        source = {"type": "redis-pubsub", "channels": ["c"], **connection}
        return look(*((connection, None) if at == "sink" else (None, source)), code=1)

    server = new_redis(password="s3cret")
    (problem,) = of(url=f"redis://127.0.0.1:{server.port}")
    assert problem == (
        "problem: NOAUTH Authentication required: this Redis wants a password;"
        " write `password`, and `username` unless it is the default user's"
    )
    (problem,) = of(url=redis_server.url, password="x")
    assert problem.startswith("problem: AUTH <password> called without any password configured")
    assert problem.endswith(
        "; leave `password` out, since this Redis has none for its default user, or name a `username`"
    )
    assert of(url=redis_server.url_of(99)) == [
        "problem: DB index is out of range; write a lower number into the URL, or raise `databases` in redis.conf"
    ]


@pytest.mark.parametrize("at", ["sink", "source"])
def test_another_database_without_the_right_to_select_it(
    at: str, redis_server: Redis, admin: redis.Redis, look: Looked
) -> None:
    """The line that the finding names gives it."""
    admin.execute_command("ACL", "SETUSER", "bridge", "reset", "on", ">p", "~*", "&*", "+@all", "-select")
    connection = {"url": redis_server.url_of(2), "username": "bridge", "password": "p"}
    source = {"type": "redis-stream", "streams": ["audit"], "group": "g", **connection}
    looked = (connection, None) if at == "sink" else (None, source)
    (problem,) = look(*looked, code=1)
    text, line = problem.split("; ")
    assert "'select' command" in text
    assert line == "ACL SETUSER bridge +select"
    admin.execute_command(*line.split())
    look(*looked)
