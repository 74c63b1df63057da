"""`check --connect` at Dramatiq's Redis: each condition is named with its remedy, and nothing is written."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import redis

from bridge.sink.redis_sink import COMMANDS
from tests.preflight.conftest import Looked
from tests.support.brokers import Redis
from tests.support.children import free_port
from tests.support.documents import acl_line
from tests.support.odd_servers import Sentinel, odd_server

NewRedis = Callable[..., Redis]
DURABLE = {"appendonly": "yes"}


@pytest.fixture(scope="module")
def durable() -> Iterator[Redis]:
    """A Redis that keeps what it takes."""
    with Redis(appendonly=True) as server:
        yield server


@pytest.fixture
def admin(durable: Redis) -> Iterator[redis.Redis]:
    """A client who may do everything; what it has set is undone at the end."""
    with durable.client() as client:
        yield client
        client.execute_command("ACL", "DELUSER", "bridge")
        client.config_set("maxmemory", 0)
        client.config_set("maxmemory-policy", "noeviction")
        client.flushall()


def test_a_redis_that_takes_everything(durable: Redis, look: Looked) -> None:
    """It is named with its version."""
    connected, able = look({"url": durable.url})
    assert re.fullmatch(r"ok: connected: Redis \d+\.\d+\.\d+", connected)
    assert able == "ok: the user may run every command that a batch needs"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_missing_right_is_named_with_the_line_that_gives_it(
    command: str, durable: Redis, admin: redis.Redis, look: Looked
) -> None:
    """Once the line has been carried out, nothing is missing."""
    rights = ["reset", "on", ">p", "~*", "+@all", f"-{command}"]
    admin.execute_command("ACL", "SETUSER", "bridge", *rights)
    config = {"url": durable.url, "username": "bridge", "password": "p"}
    problem = look(config, code=1)[-1]
    text, line = problem.split("; ")
    assert text == f"problem: the user bridge may not run {command.lower()}"
    assert line == f"ACL SETUSER bridge +{command.lower()}"
    admin.execute_command(*line.split())
    assert look(config)[-1].startswith("ok: ")


def test_all_missing_rights_stand_in_one_line(durable: Redis, admin: redis.Redis, look: Looked) -> None:
    """Commands and keys together, for a user who may log in; the line is all that a batch needs."""
    admin.execute_command("ACL", "SETUSER", "bridge", "reset", "on", ">p", "-@all", "+eval", "+info", "+time", "~no")
    config = {"url": durable.url, "username": "bridge", "password": "p"}
    (problem,) = [one for one in look(config, code=1, queue="alarms") if one.startswith("problem")]
    line = problem.partition("; ")[2]
    assert line.startswith("ACL SETUSER bridge ")
    admin.execute_command(*line.split())
    # A denied command hides a denied key behind it.
    for one in [one for one in look(config, queue="alarms", code=line.count("~") < 2) if one.startswith("problem")]:
        admin.execute_command(*one.partition("; ")[2].split())
    assert "ok: the user may run every command that a batch needs" in look(config, queue="alarms")


def test_without_eval_the_line_gives_all_that_a_batch_needs(durable: Redis, admin: redis.Redis, look: Looked) -> None:
    """Without it nobody can ask for the other rights."""
    admin.execute_command("ACL", "SETUSER", "bridge", "reset", "on", ">p", "-@all")
    config = {"url": durable.url, "username": "bridge", "password": "p"}
    (problem,) = [one for one in look(config, code=1) if one.startswith("problem")]
    text, line = problem.split("; ")
    assert text == (
        "problem: the user bridge may not run eval, without which nobody can ask for its other rights:"
        " the line gives all that a batch needs"
    )
    admin.execute_command(*line.split())
    assert "ok: the user may run every command that a batch needs" in look(config)


def test_the_minimal_acl_is_enough(durable: Redis, admin: redis.Redis, look: Looked) -> None:
    """The permissions that the documents name leave no problem and no note."""
    admin.execute_command(*acl_line().split())
    config = {"url": durable.url, "username": "bridge", "password": "secret", "max_queue_depth": 10}
    assert [one[:3] for one in look(config)] == ["ok:", "ok:"]


def test_a_right_that_the_bridge_goes_on_without_is_a_note(durable: Redis, admin: redis.Redis, look: Looked) -> None:
    """It says what is not known then."""
    admin.execute_command("ACL", "SETUSER", "bridge", "reset", "on", ">p", "~*", "+@all", "-info", "-time")
    found = look({"url": durable.url, "username": "bridge", "password": "p"})
    assert found[1].startswith("unseen: the version, the memory, maxmemory-policy and appendonly")
    (note,) = [one for one in found if one.startswith("note")]
    assert note.startswith("note: the user bridge may not run info, time: the bridge does not know the version")
    assert note.endswith("; ACL SETUSER bridge +info +time")


@pytest.mark.parametrize(
    ("policy", "kind", "said"),
    [
        (
            "allkeys-lru",
            "problem",
            "the dramatiq Redis deletes messages when it is full (maxmemory-policy allkeys-lru)",
        ),
        ("volatile-lru", "note", "when it is full, Redis deletes what the bridge remembers of written events"),
    ],
)
def test_a_redis_that_evicts(  # noqa: PLR0917 - pytest's
    policy: str, kind: str, said: str, durable: Redis, admin: redis.Redis, look: Looked
) -> None:
    """With messages among it the bridge is not ready, unless the file allows it."""
    admin.config_set("maxmemory", "1gb")
    admin.config_set("maxmemory-policy", policy)
    found = look({"url": durable.url}, code=kind == "problem")
    assert found[1].startswith(f"{kind}: {said}")
    if kind == "problem":
        assert "; set noeviction there, or dramatiq: {allow_eviction: true} here" in found[1]
        assert look({"url": durable.url, "allow_eviction": True})[1].startswith(f"note: {said}")


def test_a_redis_that_is_full(durable: Redis, admin: redis.Redis, look: Looked) -> None:
    """Its refusal is that of a write; and the bridge would wait, since more than max_memory is in use."""
    admin.config_set("maxmemory", 1)
    found = look({"url": durable.url}, code=1)
    remedy = "raise maxmemory, or wait for the workers to empty the queues"
    assert f"problem: OOM command not allowed when used memory > 'maxmemory'; {remedy}" in found
    assert any("(max_memory): every source waits" in one for one in found)


def test_a_queue_that_is_full(durable: Redis, admin: redis.Redis, look: Looked) -> None:
    """Its sources would wait."""
    admin.rpush("dramatiq:alarms", *"abc")
    limits = {"alarms": 3, "*": 9}
    found = look({"url": durable.url, "max_queue_depth": limits}, queue="alarms")
    said = "queue alarms has 3 of 3 messages (max_queue_depth): its sources wait for the workers"
    assert found[-1] == f"note: {said}"


def test_clocks_that_differ(durable: Redis, look: Looked, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the time of Redis itself."""
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 60)
    (note,) = [one for one in look({"url": durable.url}) if one.startswith("note")]
    assert note.startswith("note: Redis's clock is 1m behind this machine's")


def test_a_redis_without_a_disk_is_noted(redis_server: Redis, look: Looked) -> None:
    """The default of Redis itself."""
    assert look({"url": redis_server.url})[1].startswith("note: the dramatiq Redis writes no append-only file")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"replicaof": "127.0.0.1 1"}, "READONLY You can't write against a read only replica"),
        ({"min-replicas-to-write": "1"}, "NOREPLICAS Not enough good replicas to write"),
        (
            {"rename-command": 'RPUSH ""'},
            "unknown command 'RPUSH'; the bridge needs it; is it renamed (rename-command)",
        ),
        ({"rename-command": 'EVAL ""'}, "unknown command 'EVAL'; the bridge needs it; is it renamed (rename-command)"),
    ],
)
def test_a_redis_that_takes_no_writes(config: dict[str, str], said: str, new_redis: NewRedis, look: Looked) -> None:
    """In the words of `run`."""
    server = new_redis({**DURABLE, **config})
    (problem,) = [one for one in look({"url": server.url}, code=1) if one.startswith("problem")]
    assert problem.startswith(f"problem: {said}")


def test_a_sentinel(look: Looked) -> None:
    """Its port answers INFO, and takes no messages."""
    with Sentinel() as sentinel:
        connected, problem = look({"url": sentinel.url}, code=1)
    assert connected.endswith("(sentinel)")
    assert "is this a Sentinel's port" in problem


@pytest.mark.parametrize(
    "source", [None, {"type": "redis-stream", "streams": ["s"], "group": "g"}], ids=["sink", "source"]
)
def test_a_server_that_is_no_redis(source: dict[str, str] | None, look: Looked) -> None:
    """Its answer is shown."""
    for reply, shown in ((b":1\r\n", "1"), (b"+OK\r\n", "b'OK'")):
        with odd_server(reply) as server:
            dramatiq = {"url": server.url}
            found = look(dramatiq, None if source is None else {**source, "url": server.url}, code=1)
        assert found[-1] == f"problem: this is no Redis's port: it answers with {shown}"


def test_a_cluster_needs_a_hash_tag(new_redis: NewRedis, look: Looked) -> None:
    """The keys of a batch must be in one slot."""
    server = new_redis({**DURABLE, "cluster-enabled": "yes", "cluster-port": str(free_port())})
    with server.client() as client:
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        while b"cluster_state:ok" not in client.execute_command("CLUSTER", "INFO"):
            pass
    (problem,) = [one for one in look({"url": server.url}, code=1) if one.startswith("problem")]
    assert problem.startswith("problem: CROSSSLOT")
    assert "write the namespace in braces, as in '{dramatiq}'" in problem
    assert look({"url": server.url, "namespace": "{dramatiq}"})[0].endswith("(cluster)")


def test_a_wrong_password_and_a_port_of_nobody(new_redis: NewRedis, look: Looked) -> None:
    """The cause is that of the connection, and the password is not in it."""
    server = new_redis(password="s3cret")
    (problem,) = look({"url": f"redis://:s3crets@127.0.0.1:{server.port}"}, code=1)
    assert problem == (
        "problem: invalid username-password pair or user is disabled;"
        " check `username` and `password`, and whether the user is on (ACL LIST)"
    )
    (problem,) = look({"url": f"redis://127.0.0.1:{free_port()}"}, code=1)
    assert problem.endswith("Connection refused")


def test_no_key_is_written_nor_any_command_that_could(durable: Redis, admin: redis.Redis, look: Looked) -> None:
    """The keys, and the number of changes since the start, are those of before; every write is one that writes nothing."""
    admin.rpush("dramatiq:default", "a")
    admin.hset("dramatiq:default.msgs", "a", "b")

    def state() -> object:
        persistence = admin.info("persistence")
        return {key: admin.dump(key) for key in admin.scan_iter()}, persistence["rdb_changes_since_last_save"]

    before = state()
    seen: list[str] = []
    with admin.monitor() as monitor:
        thread = threading.Thread(
            target=lambda: seen.extend(iter(lambda: monitor.next_command()["command"], "PING end"))
        )
        thread.start()
        look({"url": durable.url, "max_queue_depth": 100})
        admin.execute_command("PING", "end")
        thread.join(10)
    assert state() == before
    sent = {command.split()[0] for command in seen}
    assert sent <= {
        "HELLO",
        "CLIENT",
        "INFO",
        "EVAL",
        "EVALSHA",
        "LLEN",
        "TYPE",
        "TIME",
        "SELECT",
        "PING",
        *COMMANDS,
        "XLEN",
        "MEMORY",
    }
    assert "EVAL" in sent
