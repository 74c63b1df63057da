"""Redis by its Unix socket: as Dramatiq's own, as both kinds of source, and for `send`."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from bridge import cli
from bridge.config import Dramatiq
from bridge.errors import Disconnected
from bridge.redis_io.client import same_server
from bridge.redis_io.connection import RedisConnection
from tests.support.brokers import Redis
from tests.support.children import REPOSITORY, wait_until
from tests.support.processes import Bridges, queue_messages

PASSWORD = "p@ss:w/rd%#?"


class Local:
    """A Redis with a Unix socket whose path has odd characters; with a user nobody else may log in."""

    def __init__(self, server: Redis, path: Path) -> None:
        self.server = server
        self.path = path

    def url(self, db: int = 0, *, login: bool = True) -> str:
        """The URL of a database."""
        user, word = quote(self.server.user or "", safe=""), quote(PASSWORD, safe="")
        return f"unix://{f'{user}:{word}@' if login else ''}{quote(str(self.path))}?db={db}"


@pytest.fixture(params=[None, "brücke"], ids=["requirepass", "user"])
def local(request: pytest.FixtureRequest, new_redis: Callable[..., Redis], tmp_path: Path) -> Local:
    """With one password for all, or with a user's."""
    path = tmp_path / "redis@1.sock"
    return Local(new_redis({"unixsocket": path, "unixsocketperm": 700}, user=request.param, password=PASSWORD), path)


def _config(dramatiq: dict[str, Any], source: dict[str, Any]) -> dict[str, Any]:
    return {
        "dramatiq": dramatiq,
        "sources": {
            "pubsub": {"type": "redis-pubsub", "channels": ["c"], **source},
            "stream": {"type": "redis-stream", "streams": ["s"], "group": "g", "field": "data", **source},
        },
        "routes": [{"from": name, "actor": "record", "args": [name, "$payload.n"]} for name in ("pubsub", "stream")],
    }


def _publish(local: Local) -> None:
    with local.server.client(2) as client:
        client.publish("c", '{"n": 1}')
        client.xadd("s", {"data": '{"n": 2}'})


def _arrive(local: Local, db: int, count: int) -> list[Any]:
    client: Any
    with local.server.client(db) as client:
        wait_until(lambda: client.llen("dramatiq:default") == count, what="the messages")
        return sorted(message["args"] for message in queue_messages(client, "default"))


def test_a_unix_socket_is_dramatiqs_redis_and_both_kinds_of_source(local: Local, new_bridge: Bridges) -> None:
    """With a database, a user and a password in the URL; a stream in the same database is written exactly once."""
    bridge = new_bridge(_config({"url": local.url(2)}, {"url": local.url(2)})).ready()
    connected = bridge.wait_for("source.connected", source="stream")
    assert connected["guarantee"] == "exactly once enqueued"
    _publish(local)
    assert _arrive(local, 2, 2) == [["pubsub", 1], ["stream", 2]]
    text = "\n".join(bridge.lines)
    assert quote(str(local.path)) in text
    assert PASSWORD not in text
    assert quote(PASSWORD, safe="") not in text
    bridge.terminate()
    assert bridge.wait(25) == 0


def test_the_password_may_stand_beside_the_url(local: Local, new_bridge: Bridges) -> None:
    """And the sink may be another database, or the same server by its port: then a stream is one from elsewhere."""
    beside = {"password": PASSWORD, **({"username": local.server.user} if local.server.user else {})}
    config = _config({"url": local.server.url_of(3)}, {"url": local.url(2, login=False), **beside})
    bridge = new_bridge(config).ready()
    assert bridge.wait_for("source.connected", source="stream")["guarantee"] == "at least once"
    _publish(local)
    assert _arrive(local, 3, 2) == [["pubsub", 1], ["stream", 2]]


def test_send_writes_by_a_unix_socket(local: Local) -> None:
    """One message, in the database of the URL."""
    command = [sys.executable, "-m", "bridge", "send", "record", "7", "--redis", local.url(2)]
    subprocess.run(command, cwd=REPOSITORY, check=True, timeout=60, capture_output=True)
    assert _arrive(local, 2, 1) == [[7]]


def test_a_path_that_does_not_work_is_said_in_words(local: Local, new_bridge: Bridges, tmp_path: Path) -> None:
    """A missing socket, a file that is none, and one that nobody listens on; each with its path."""
    nobody, file, left = tmp_path / "none.sock", tmp_path / "file", tmp_path / "left.sock"
    file.touch()
    subprocess.run(
        [sys.executable, "-c", "import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])", str(left)],
        check=True,
    )
    causes = {nobody: "No such file or directory", file: "Connection refused", left: "Connection refused"}
    config = _config({"url": local.url()}, {"url": local.url()})
    for number, path in enumerate(causes):
        source = {**config["sources"]["pubsub"], "url": f"unix://{path}", "channels": ["d"]}
        config["sources"][f"wrong-{number}"] = source
        config["routes"].append({"from": f"wrong-{number}", "actor": "record"})
    bridge = new_bridge(config)
    for number, (path, cause) in enumerate(causes.items()):
        assert bridge.wait_for("source.unavailable", source=f"wrong-{number}")["cause"] == f"{path}: {cause}"


def test_check_shows_the_socket_and_no_password(
    local: Local, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the guarantee of a stream in the same database."""
    path = tmp_path / "bridge.json"  # which is YAML
    path.write_text(json.dumps(_config({"url": local.url(2)}, {"url": local.url(2)})))
    assert cli.main(["check", str(path)]) == 0
    out = capsys.readouterr().out
    assert "exactly once enqueued" in out
    assert f"@{quote(str(local.path))}?db=2" in out
    assert quote(PASSWORD, safe="") not in out


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("unix://run/redis.sock", "the path of a socket begins with /; as in unix:///run/redis/redis.sock"),
        ("unix:///", "this URL names no socket; as in unix:///run/redis/redis.sock"),
        (f"unix:///{'x' * 107}", "the path of a socket has at most 107 bytes"),
        ("unix:///a%00b", "the path of a socket cannot hold control characters"),
        ("unix:///r.sock?db=two", "the database in this URL is no number; as in unix:///run/redis/redis.sock?db=2"),
        (
            "unix:///r.sock?database=2",
            "the query of this URL can hold db, as in ?db=2; timeouts are set beside the URL",
        ),
        ("unix:///r.sock?db=1&db=2", "this URL names two databases; write one of them"),
        ("redis://localhost/two", "the database in this URL is no number; as in redis://localhost/2"),
        ("redis://localhost/1?db=2", "this URL names two databases; write one of them"),
    ],
)
def test_a_wrong_url_is_said_at_load(url: str, says: str, mistakes: Callable[[str], str]) -> None:
    """Where the client library would connect elsewhere, or fail when the bridge runs."""
    text = f"dramatiq: {{url: '{url}'}}\nsources: {{a: {{type: redis-pubsub, url: 'redis://h'}}}}\n"
    assert f"dramatiq.url: {says}\n" in mistakes(f"{text}routes: [{{from: a, actor: b}}]\n")


def test_a_socket_is_the_same_server_as_itself() -> None:
    """By its path and database, however the URL spells them and whoever logs in."""
    assert same_server("unix:///run/a.sock", "unix:///run/a.sock?db=0")
    assert same_server("unix://u:p@/run/a%2Esock?db=2", "unix:///run/a.sock?db=2")
    assert not same_server("unix:///run/a.sock?db=1", "unix:///run/a.sock?db=2")
    assert not same_server("unix:///run/a.sock", "unix:///run/b.sock")
    assert not same_server("unix:///localhost", "redis://localhost")


@pytest.mark.parametrize("answer", ["", "\x15\x03\x03\x00\x02\x02\x16"], ids=["hangs-up", "tls"])
async def test_a_socket_that_is_no_redis_is_not_taken_for_tls(tmp_path: Path, answer: str) -> None:
    """There is no unixs://: the cause says that the connection ended, or quotes the answer."""
    path = tmp_path / "other.sock"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer.encode("latin-1"))
        writer.close()

    async with await asyncio.start_unix_server(serve, path):
        connection = RedisConnection(Dramatiq(url=f"unix://{path}"), timeout_s=5)
        with pytest.raises(Disconnected) as refused:
            await connection.open()
        await connection.close()
    cause = str(refused.value)
    assert "unixs" not in cause
    assert "TLS" not in cause
    if not answer:
        assert "perhaps this is not the socket of a Redis" in cause
