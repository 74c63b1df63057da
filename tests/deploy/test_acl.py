"""`deploy/redis/users.acl`: the bridge does everything under it, its users can do nothing else, and need every command."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from redis import Redis as Client
from redis.exceptions import AuthenticationError

from bridge.cli import main
from bridge.errors import SinkUnavailable
from bridge.model.batch import Batch, DeadLetter
from bridge.sink.attempts import RedisAttempts
from tests.support.batches import DEAD, Entry, Sinks, batch, batch_of, event
from tests.support.brokers import Mosquitto, Redis
from tests.support.children import REPOSITORY, wait_until
from tests.support.documents import acl_line
from tests.support.feeds import MqttFeed, PubsubFeed, StreamFeed
from tests.support.letters import ORDERS, order
from tests.support.processes import Bridges, queue_messages

FILE: Final = REPOSITORY / "deploy" / "redis" / "users.acl"
LINES: Final = FILE.read_text().splitlines()
#: That of the workers and of administrators, who may do everything: without its line nobody would need a password.
EVERYTHING: Final = "default"
USERS: Final = tuple(user for line in LINES if (user := line.split()[1]) != EVERYTHING)
#: What every client may do, also before it has logged in.
EVERYBODY: Final = {"auth", "hello", "quit", "reset"}
SECRET: Final = "secret"
#: Of streams: to tell a lost group from a late duplicate, to count trimmed entries, to forget a consumer that is gone.
RARE: Final = {"xpending", "xrange", "xgroup|delconsumer"}


def granted(user: str) -> set[str]:
    """Return the commands that the file grants to a user."""
    (line,) = [line for line in LINES if line.split()[1] == user]
    return {word[1:] for word in line.split() if word.startswith("+")}


@pytest.fixture
def server(new_redis: Callable[..., Redis], tmp_path: Path) -> Redis:
    """A Redis with the file as its ACL file, the passwords replaced; the tests' own client may do everything."""
    path = tmp_path / "users.acl"
    lines = [" ".join([f">{SECRET}" if word.startswith(">") else word for word in line.split()]) for line in LINES[1:]]
    path.write_text("\n".join([*lines, "user default on nopass ~* &* +@all", ""]))
    return new_redis({"aclfile": path})


@pytest.fixture
def admin(server: Redis) -> Iterator[Any]:
    """A client that may do everything."""
    with server.client() as client:
        yield client


def denied(admin: Any) -> list[str]:
    """Return everything that was denied since the last call."""
    entries = admin.acl_log()
    admin.acl_log_reset()
    return [f"{entry['username']}: {entry['reason']} {entry['object']}" for entry in entries]


def test_the_documents_have_the_line_of_the_bridge() -> None:
    """One source of truth: this file."""
    line = acl_line()
    (own,) = [line for line in LINES if line.startswith("user bridge ")]
    assert [word for word in line.split()[2:] if word[0] != ">"] == [word for word in own.split()[1:] if word[0] != ">"]


def test_every_password_has_to_be_replaced() -> None:
    """A placeholder says so, and every user has one of its own."""
    passwords = [word for line in LINES for word in line.split() if word.startswith(">")]
    assert passwords == [f">REPLACE-THIS-PASSWORD-OF-{user.upper()}" for user in (EVERYTHING, *USERS)]


def test_nobody_enters_without_a_password(new_redis: Callable[..., Redis], tmp_path: Path) -> None:
    """With an ACL file Redis forgets `requirepass`: the file has the password of the default user too."""
    path = tmp_path / "users.acl"
    path.write_text(FILE.read_text())
    server = new_redis({"aclfile": path, "requirepass": LINES[0].split(">")[1].split()[0]})
    with Client(port=server.port) as stranger, pytest.raises(AuthenticationError):
        stranger.ping()


@pytest.mark.parametrize("user", USERS)
def test_a_user_can_do_nothing_else(admin: Any, user: str) -> None:
    """Every other command of the server is denied, every other key, and every other channel."""
    allowed = set()
    for name, arity in commands(admin):
        arguments = ["x"] * (abs(arity) - 1 - name.count("|"))
        reply = admin.execute_command("ACL", "DRYRUN", user, *name.split("|"), *arguments)
        if "no permissions to run" not in str(reply):
            allowed.add(name)
    assert allowed == granted(user) | EVERYBODY
    outside: list[tuple[str, ...]] = [
        ("GET", "dramatiq2:x"),
        ("XRANGE", "other", "-", "+"),
        ("SUBSCRIBE", "other"),
        ("GET", "x"),
    ]
    for words in outside:
        assert "no permissions" in str(admin.execute_command("ACL", "DRYRUN", user, *words)), words


def commands(admin: Any) -> Iterator[tuple[str, int]]:
    """Yield every command of the server, those of containers by their full names, with its arity."""
    for command in admin.execute_command("COMMAND", "INFO", NEVER_DECODE=True).values():
        if not command["subcommands"]:
            yield command["name"], command["arity"]
        for sub in command["subcommands"]:
            yield sub[0].decode(), sub[1]


async def exercise(server: Redis, admin: Any) -> list[str]:
    """Do everything that a sink does, as the user `bridge`; return the causes of failures."""
    causes = []
    admin.flushall()
    for n in range(20):
        admin.xadd(DEAD, {"body": b"%d" % n})  # letters without books are adopted
    async with Sinks() as sinks:
        sink = sinks(server, cap=10, username="bridge", password=SECRET)
        attempts = RedisAttempts(sink.connections, "dramatiq")
        letters = [DeadLetter(event(), "decode", "x")]
        for step in (
            sink.ping, sink.probe, sink.memory, sink.is_durable, sink.outdated, sink.delete_old_dead_letters,
            lambda: sink.write(batch(1, 2, once=True)),
            lambda: sink.write(batch_of([Entry(event(), [], letters)])),
            lambda: sink.queue_length("default"),
            lambda: sink.queue_state("default"),
            lambda: attempts.begin("a", [b"1"], below=5),
            lambda: attempts.forget("a", [b"1"]),
        ):  # fmt: skip
            try:
                await step()
            except (SinkUnavailable, PermissionError) as error:
                causes.append(str(error))
    return causes


async def test_the_bridge_needs_every_command(server: Redis, admin: Any) -> None:
    """With all of them nothing is denied; without one, something is missing, and the words or Redis's own log name it."""
    denied(admin)
    assert await exercise(server, admin) == []
    assert denied(admin) == []
    for command in sorted(granted("bridge")):
        admin.execute_command("ACL", "SETUSER", "bridge", f"-{command}")
        causes = await exercise(server, admin)
        said = [*causes, *denied(admin)]
        assert any(command.split("|")[0] in cause.lower() for cause in said), (command, said)
        admin.execute_command("ACL", "SETUSER", "bridge", f"+{command}")


def test_a_bridge_with_streams_works(
    server: Redis, admin: Any, new_bridge: Bridges, new_mosquitto: Callable[[], Mosquitto], tmp_path: Path
) -> None:
    """A stream beside the queues, pub/sub, deduplication keys, dead letters, the queues' depth, the admin server, the spool."""
    stream, channel, plant = StreamFeed(server), PubsubFeed(server), MqttFeed(new_mosquitto())
    stream.name, channel.name = "audit", "signups"
    plant.prepare()
    login = {"username": "bridge-streams", "password": SECRET}
    config = {
        "dramatiq": {"url": server.url, "max_queue_depth": 1000, **login},
        "spool": {"directory": str(tmp_path / "spool")},
        "admin": {"listen": f"unix:{tmp_path / 'admin.sock'}"},
        "sources": {
            "audit": {**stream.source, **login},
            "signups": {**channel.source, "username": "bridge-source", "password": SECRET},
            "wide": {
                **channel.source,
                "channels": [],
                "patterns": ["signups"],
                "unmatched": "drop",
                "username": "bridge-source",
                "password": SECRET,
            },
            "plant": {**plant.source, "deduplicate": {"key": "$payload.n", "within": "1d"}},
        },
        "routes": [
            {"from": name, "actor": "record", "args": [name, "$payload.n"]} for name in ("audit", "signups", "plant")
        ],
    }
    denied(admin)
    bridge = new_bridge(config).ready()
    stream.publish_numbers(1, 2)
    channel.publish([{"n": 1}, {}])
    plant.publish_numbers(1, 1)
    wait_until(lambda: admin.llen("dramatiq:default") == 4 and admin.xlen(DEAD) == 1, what="everything")
    admin.xgroup_destroy("audit", "bridge")
    bridge.wait_for("source.group_made_again")
    stream.publish_numbers(3)
    wait_until(lambda: admin.llen("dramatiq:default") == 5, what="the event behind the new group")
    status = subprocess.run(
        [sys.executable, "-m", "bridge", "status", "--config", str(bridge.path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert status.returncode == 0, status
    bridge.restart()
    bridge.terminate()
    assert bridge.wait() == 0
    assert len(queue_messages(admin, "default")) == 5
    assert denied(admin) == []
    assert (granted("bridge-streams") | granted("bridge-source")) - granted("bridge") - ran(admin) == RARE


def run(admin: Any, commands: Sequence[Sequence[str]]) -> set[str]:
    """Run commands of the program; return the commands of Redis that they ran, those of scripts too."""
    admin.config_resetstat()
    for words in commands:
        # The retry of a letter that fails again is not a success.
        assert main(list(words)) == (1 if words[2] == commands[5][2] else 0), words
    return ran(admin)


def ran(admin: Any) -> set[str]:
    """Return the commands that the server has run, those of scripts too."""
    stats = admin.info("commandstats")
    return {name.removeprefix("cmdstat_") for name, one in stats.items() if one["calls"] or one["rejected_calls"]}


async def test_the_dead_letters_need_every_command(server: Redis, admin: Any, tmp_path: Path) -> None:
    """`dead` with all its actions, for the bridge's letters and for those of the workers."""
    path = tmp_path / "bridge.yaml"
    route = {"name": "note", "from": "orders", "actor": "record", "args": ['$default(payload.n, "none")']}
    source = {**ORDERS, "deduplicate": {"key": "$payload.id", "within": "1d"}}
    login = {"url": server.url, "username": "bridge-dead", "password": SECRET}
    path.write_text(yaml.safe_dump({"dramatiq": login, "sources": {"orders": source}, "routes": [route]}))
    events = [order(b'{"id": %d}' % n) for n in range(4)]
    letters = [(n, DeadLetter(one, "missing-field", "x", "note")) for n, one in enumerate(events)]
    bad = [(0, DeadLetter(order(b"no JSON"), "decode", "x"))]
    async with Sinks() as sinks:
        sink = sinks(server, username="bridge", password=SECRET)
        await sink.write(Batch(events, dead_letters=letters))
        await sink.write(Batch([order(b"")], dead_letters=bad))
    first, second, third, fourth, bad_one = [entry_id.decode() for entry_id, _ in admin.xrange(DEAD)]
    for n in range(4):
        body: dict[str, Any] = {
            "queue_name": "default",
            "actor_name": "a",
            "args": [],
            "kwargs": {},
            "message_id": f"{n}",
        }
        body |= {"message_timestamp": 1, "options": {"redis_message_id": f"r{n}"}}
        admin.zadd("dramatiq:default.XQ", {f"r{n}": 1.7e9 + n})
        admin.hset("dramatiq:default.XQ.msgs", f"r{n}", json.dumps(body))
    admin.delete(f"{DEAD}:books")  # the retry of a letter that fails again adopts the others
    admin.set("dramatiq-bridge:seen:orders:1", "another-route")
    denied(admin)
    here = ("--config", str(path))
    used = await asyncio.to_thread(
        run,
        admin,
        [
            ("dead", "list", *here), ("dead", "show", first, *here), ("dead", "retry", first, *here),
            ("dead", "retry", second, third, *here), ("dead", "export", *here), ("dead", "retry", bad_one, *here),
            ("dead", "purge", fourth, "--yes", *here), ("dead", "purge", "--all", "--yes", *here),
            ("dead", "list", "--workers", *here), ("dead", "show", "r1", "--workers", *here),
            ("dead", "retry", "r1", "--workers", *here), ("dead", "purge", "r2", "--yes", "--workers", *here),
            ("dead", "export", "--workers", *here), ("dead", "retry", "--all", "--workers", *here),
        ],
    )  # fmt: skip
    assert denied(admin) == []
    assert granted("bridge-dead") - used == set()
