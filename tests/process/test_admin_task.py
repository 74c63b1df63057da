"""The admin server of a real bridge: it never ends the bridge, finds a sink that refuses writes, and follows a reload."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable
from pathlib import Path
from signal import SIGHUP
from typing import Any

import pytest

from tests.support.brokers import Redis
from tests.support.children import free_port, wait_until
from tests.support.feeds import StreamFeed
from tests.support.processes import BridgeProcess, Bridges
from tests.support.unix_http import UnixConnection


def _ask(connection: http.client.HTTPConnection, method: str, path: str, token: str = "") -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def _get(path: Path, url: str) -> tuple[int, str]:
    return _ask(UnixConnection(path, 30), "GET", url)


def _listening(config: dict[str, Any], directory: Path) -> Path:
    path = directory / "admin.sock"
    config["admin"] = {"listen": f"unix:{path}"}
    return path


def test_an_address_that_is_taken_is_a_warning(redis_server: Redis, new_bridge: Bridges) -> None:
    """The bridge runs on without its server, and moves events."""
    feed = StreamFeed(redis_server)
    port = free_port()
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        bridge = new_bridge({**feed.config(redis_server), "admin": {"listen": f"127.0.0.1:{port}"}}).ready()
        warning = bridge.wait_for("admin.unavailable")
        assert (warning["level"], warning["cause"]) == ("warning", "Address already in use")
        feed.publish([{"n": 1}])
        with redis_server.client() as client:
            wait_until(lambda: client.llen("dramatiq:default") == 1, what="the message")


@pytest.mark.parametrize("processes", [1, 2])
def test_an_idle_bridge_finds_that_redis_takes_no_writes(
    new_redis: Callable[..., Redis], new_bridge: Callable[..., BridgeProcess], tmp_path: Path, processes: int
) -> None:
    """No event comes, and /readyz names the sink all the same; and is ready again after it is mended."""
    events, sink = new_redis(), new_redis()
    feed = StreamFeed(events)
    feed.prepare()
    config = {**feed.config(sink), "processes": processes}
    path = _listening(config, tmp_path)
    new_bridge(config).ready()
    wait_until(lambda: _get(path, "/readyz")[0] == 200, what="ready")
    with sink.client() as client:
        client.config_set("min-replicas-to-write", 1)  # every write is refused, with NOREPLICAS
        wait_until(lambda: _get(path, "/readyz")[0] == 503, what="not ready")
        assert "sink: it takes no writes: NOREPLICAS" in _get(path, "/readyz")[1]
        client.config_set("min-replicas-to-write", 0)
    wait_until(lambda: _get(path, "/readyz")[0] == 200, what="ready again")


def test_the_messages_of_each_queue_are_shown(redis_server: Redis, new_bridge: Bridges, tmp_path: Path) -> None:
    """Of all queues of the routes, also those that nobody has used."""
    feed = StreamFeed(redis_server)
    config = feed.config(redis_server)
    config["routes"].append({"name": "later", "from": "feed", "actor": "record", "queue": "slow", "delay": "1h"})
    path = _listening(config, tmp_path)
    new_bridge(config).ready()
    feed.publish([{"n": n} for n in range(3)])

    def queues() -> Any:
        return json.loads(_get(path, "/status")[1]).get("queues")

    none = {"waiting": 0, "delayed": 0, "in_flight": 0, "dead": 0}
    expected = {"default": {**none, "waiting": 3}, "slow": {**none, "delayed": 3}}
    wait_until(lambda: queues() == expected, what="the messages")


def test_a_reload_brings_another_token(redis_server: Redis, new_bridge: Bridges) -> None:
    """The old one is refused from then on; the address stays."""
    feed = StreamFeed(redis_server)
    port = free_port()
    config = {
        **feed.config(redis_server),
        "admin": {"listen": f"127.0.0.1:{port}", "token": "the-first-token-of-all"},
    }
    bridge = new_bridge(config).ready()

    def pause(token: str) -> int:
        return _ask(http.client.HTTPConnection("127.0.0.1", port, timeout=30), "POST", "/pause?name=feed", token)[0]

    assert [pause(token) for token in ("", "another-token-entirely", "the-first-token-of-all")] == [401, 401, 200]
    config["admin"] = {"listen": f"127.0.0.1:{port}", "token": "the-second-token-of-all"}
    bridge.configure(config)
    bridge.signal(SIGHUP)
    bridge.wait_for("bridge.reloaded")
    assert [pause(token) for token in ("the-first-token-of-all", "the-second-token-of-all")] == [401, 200]
    assert not any("token-of-all" in line for line in bridge.lines)


def test_without_admin_nothing_listens_and_nothing_is_loaded(redis_server: Redis, new_bridge: Bridges) -> None:
    """The libraries of the server are not in the memory of a bridge that has none."""
    bridge = new_bridge(StreamFeed(redis_server).config(redis_server), env={"PYTHONUNBUFFERED": "1"}).ready()
    assert not bridge.events("admin.listening")
    maps = Path(f"/proc/{bridge.pid}/maps").read_text()
    assert "aiohttp" not in maps


def test_of_a_service_the_command_line_says_where_it_listens(
    redis_server: Redis, new_bridge: Bridges, tmp_path: Path
) -> None:
    """`run --admin` wins over the file, also at a reload, which would be refused if the address had changed."""
    feed = StreamFeed(redis_server)
    config = feed.config(redis_server)
    path = tmp_path / "service.sock"
    bridge = new_bridge(config, arguments=["--admin", f"unix:{path}"]).ready()
    assert _get(path, "/readyz")[0] == 200
    config["routes"][0]["queue"] = "other"
    bridge.configure(config)
    bridge.signal(SIGHUP)
    assert bridge.wait_for("bridge.reloaded")["changes"] == ["route record changed: queue"]
