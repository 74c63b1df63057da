"""Ready means that a write probe succeeded: a server that cannot take batches is refused in words, before any is sent."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from importlib.resources import files
from pathlib import Path

import pytest
import redis

from bridge.errors import SinkUnavailable
from bridge.model.batch import DeadLetter, Written
from bridge.model.event import OnceByXack
from bridge.sink import RedisSink, attempts
from bridge.sink.dead_letters import LetterBounds
from bridge.sink.redis_sink import COMMANDS, SCRIPT
from bridge.sink.script_arguments import ScriptArguments
from tests.support.batches import DEAD, Entry, Sinks, answer, batch, batch_of, event, message, numbers
from tests.support.brokers import Redis
from tests.support.children import free_port, wait_until
from tests.support.documents import acl_line
from tests.support.odd_servers import ANSWERS, odd_server

NewRedis = Callable[..., Redis]
REPOSITORY = Path(__file__).parents[2]
#: Without them a batch is written too; the scripts use the first four where they are.
_OPTIONAL = {"TIME", "XLEN", "MEMORY", "XPENDING"}
#: The source of a stream in Dramatiq's Redis checks it.
_OF_STREAMS = {"XACK"}
_OTHERS = ("INFO", "CLIENT", "HELLO", "SCRIPT", "LLEN", "XRANGE", "XINFO", "XAUTOCLAIM", "MULTI", "ACL", "CONFIG")


@pytest.fixture
async def make() -> AsyncIterator[Sinks]:
    """Make sinks that are closed at the end."""
    async with Sinks() as sinks:
        yield sinks


async def refusals(sink: RedisSink) -> Iterator[SinkUnavailable]:
    """Return the errors of a probe, and of a write."""
    errors = []
    for attempt in (sink.probe(), sink.write(batch(1))):
        with pytest.raises(SinkUnavailable) as caught:
            await attempt
        errors.append(caught.value)
    return iter(errors)


def node() -> dict[str, str]:
    """Return the configuration of a node of a cluster; its second port would be 10,000 higher, where another may listen."""
    return {"cluster-enabled": "yes", "cluster-port": str(free_port())}


def moved(client: redis.Redis) -> bool:
    """Tell whether a node knows by now that another one holds a key."""
    try:
        client.get("{dramatiq}")
    except redis.ResponseError as error:
        return "MOVED" in f"{type(error).__name__} {error}".upper()
    return False


def test_the_probe_knows_every_command_of_the_scripts() -> None:
    """A command that a script calls is probed, unless the script goes on without it."""
    # The lengths of the queues are for the admin server alone, which goes on without them.
    paths = [path for path in files("bridge.sink").iterdir() if path.name.endswith(".lua")]
    texts = [path.read_text() for path in paths if path.name != "queue_state.lua"]
    texts += [attempts._BEGIN, attempts._FORGET]
    called = {command for text in texts for command in re.findall(r"redis\.p?call\('([A-Z]+)'", text)}
    assert called - _OPTIONAL - _OF_STREAMS == set(COMMANDS)


@pytest.mark.parametrize("command", ["EVAL", "EVALSHA", *COMMANDS])
async def test_a_server_without_a_needed_command_is_refused_in_words(
    command: str, new_redis: NewRedis, make: Sinks
) -> None:
    """The cause names the command and the remedy, and nothing of the batch is written."""
    sink = make(new_redis({"rename-command": f'{command} ""'}))
    for error in await refusals(sink):
        assert error.cause.startswith(f"unknown command '{command}': the bridge needs it; is it renamed")
        assert "args" not in error.cause
        assert error.denied


@pytest.mark.parametrize("command", COMMANDS)
async def test_a_user_without_a_needed_permission_is_refused_in_words(
    command: str, new_redis: NewRedis, make: Sinks
) -> None:
    """The cause names the command; nothing of the batch is written, and nothing stays behind of the probe."""
    server = new_redis({"user bridge": f"on >secret ~* +@all -{command}"})
    for error in await refusals(make(server, username="bridge", password="secret")):
        assert error.cause == f"NOPERM the user may not run {command} on dramatiq-bridge:probe"
        assert error.denied
    await asyncio.sleep(0.05)
    with server.client() as client:
        assert answer(client.keys()) == []


async def test_a_redis_without_a_question_for_permissions_loses_nothing(new_redis: NewRedis, make: Sinks) -> None:
    """Before 7.0 the script tries each command where it has no effect: an entry is acknowledged with its message, or not at all."""
    server = new_redis()
    sink = make(server, username="bridge", password="p")
    older = "local redis = {call = redis.call, pcall = redis.pcall, error_reply = redis.error_reply}\n" + SCRIPT
    with server.client() as client:
        answer(client.xgroup_create("audit", "g", "0", mkstream=True))
        entry_id = answer(client.xadd("audit", {"n": 1}))
        client.xreadgroup("g", "me", {"audit": ">"})
        entry = event(OnceByXack("audit", "g", ":audit:g:", 60_000, "audit g"), deduplication_key=entry_id)
        same = batch_of([Entry(entry, [message(1)], [DeadLetter(entry, "decode", "x")])])
        arguments = ScriptArguments("dramatiq", LetterBounds(100, 1 << 20, 60_000), same, same.assign_number())
        for command in ("xadd", "hset", "hmget", "hdel", "expire", "rpush", "xack"):
            client.execute_command("ACL", "SETUSER", "bridge", "reset", "on", ">p", "~*", "+@all", f"-{command}")
            for _ in range(3):
                reply = await sink.connections.execute_raw(arguments.command("EVAL", older))
                assert str(reply).startswith(f"NOPERM the user may not run {command.upper()} on ")
            assert answer(client.xpending("audit", "g"))["pending"] == 1
            assert answer(client.keys("dramatiq:*")) == []
            assert not client.exists(DEAD)
        client.execute_command("ACL", "SETUSER", "bridge", "+@all")
        assert await sink.connections.execute_raw(arguments.command("EVAL", older)) == b"1 0 1 -1"
        assert numbers(client) == [1]
        assert answer(client.xpending("audit", "g"))["pending"] == 0
        assert answer(client.xlen(DEAD)) == 1


@pytest.mark.parametrize("line", ["", "Error running script (call to f_" + "5" * 40 + "): @user_script:17: "])
async def test_the_errors_of_an_older_redis_are_understood(line: str, make: Sinks) -> None:
    """Before 7.0 the words of a script stand before the code: remedy, denial and the end of the connection follow all the same."""
    for words, cause, kept in [
        (
            "@user_script: 17: -READONLY You can't write against a read only replica.",
            r"READONLY .*: this server is a replica",
            0,
        ),
        ("@user_script: 17: -OOM command not allowed when used memory > 'maxmemory'.", r"OOM command not allowed", 1),
        ("@user_script: 17: The user executing the script can't run this command or subcommand", r"NOPERM The user", 1),
    ]:
        with odd_server(f"-{line and 'ERR '}{line}{words}\r\n".encode()) as server:
            sink = make(server)
            with pytest.raises(SinkUnavailable, match=f"^{cause}") as caught:
                await sink.probe()
            assert caught.value.denied is ("NOPERM" in cause)
            assert len(sink.connections._idle) == kept


@pytest.mark.parametrize("command", [*sorted(_OPTIONAL), *_OTHERS])
async def test_a_server_without_another_command_takes_batches(command: str, new_redis: NewRedis, make: Sinks) -> None:
    """Of all other commands the write needs none."""
    sink = make(new_redis({"rename-command": f"{command} {command}_RENAMED"}))
    await sink.probe()
    assert await sink.write(batch(1, 2)) == Written(2, 0)


async def test_a_cluster_needs_a_namespace_in_braces(new_redis: NewRedis, make: Sinks) -> None:
    """All keys must be in one slot: without braces the probe is refused, with them a batch is written."""
    server = new_redis(node())
    plain, tagged = make(server), make(server, namespace="{dramatiq}")
    with pytest.raises(SinkUnavailable, match="CLUSTERDOWN"):
        await tagged.probe()
    with server.client() as client:
        answer(client.execute_command("CLUSTER", "ADDSLOTS", *range(16_384)))
        wait_until(lambda: b"cluster_state:ok" in answer(client.execute_command("CLUSTER", "INFO")), what="the cluster")
        for error in await refusals(plain):
            assert error.cause.startswith("CROSSSLOT")
            assert "write the namespace in braces" in error.cause
        await tagged.probe()
        assert await tagged.write(batch(1)) == Written(1, 0)
        assert answer(client.llen("{dramatiq}:default")) == 1


async def test_the_wrong_node_of_a_cluster_names_the_right_one(new_redis: NewRedis, make: Sinks) -> None:
    """MOVED is refused with the address of the node that holds the keys."""
    right, wrong = new_redis(node()), new_redis(node())
    with right.client() as client, wrong.client() as other:
        answer(client.execute_command("CLUSTER", "ADDSLOTS", *range(16_384)))
        answer(other.execute_command("CLUSTER", "MEET", "127.0.0.1", right.port, right.config["cluster-port"]))
        wait_until(lambda: moved(other), 30, "the other node's knowledge")
    for error in await refusals(make(wrong, namespace="{dramatiq}")):
        assert error.cause.startswith("MOVED")
        assert f"127.0.0.1:{right.port}: this node of a Redis Cluster does not hold the keys" in error.cause


@pytest.mark.parametrize("kind", ANSWERS)
async def test_a_server_that_answers_nonsense_is_no_sink(kind: str, make: Sinks) -> None:
    """Whatever it answers, every question ends in SinkUnavailable, or says that memory is not known."""
    with odd_server(ANSWERS[kind]) as server:
        sink = make(server, connect_timeout="2s", timeout="2s")
        for error in await refusals(sink):
            assert "this is no Redis's port" in error.cause or kind in {"an error", "HTTP"}
        for ask in (sink.memory, sink.is_durable, sink.delete_old_dead_letters, lambda: sink.queue_length("default")):
            try:
                await ask()
            except (SinkUnavailable, PermissionError):
                continue
            # Of a text without `aof_enabled` durability is not doubted, and a number may be a length.
            assert ask == sink.is_durable or kind == "a number"


async def test_a_replica_names_the_remedy(new_redis: NewRedis, make: Sinks) -> None:
    """READONLY says what to write instead; nothing stays behind of a probe that succeeded."""
    server = new_redis()
    sink = make(server)
    with server.client() as client:
        await sink.probe()
        await asyncio.sleep(0.05)
        assert numbers(client) == []
        assert answer(client.exists("dramatiq-bridge:probe")) == 0
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(SinkUnavailable, match=r"READONLY .*replica: this server is a replica: write the address"):
            await sink.probe()


async def test_the_permissions_in_the_documents_are_enough(new_redis: NewRedis, make: Sinks) -> None:
    """The probe needs none beside those of a batch, of its bounds, and of the questions about memory and version."""
    rights = acl_line().removeprefix("ACL SETUSER bridge ")
    sink = make(new_redis({"user bridge": rights}), username="bridge", password="secret")
    await sink.probe()
    assert await sink.write(batch(1, 2)) == Written(2, 0)
    assert (await sink.memory()).used > 0
    assert await sink.outdated() == ""
    assert await sink.delete_old_dead_letters() == 0
