"""The commands on a bridge that runs: what a person on call does, from the first look to the last."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.commands.conftest import Terminal
from tests.support.admin_server import TOKEN
from tests.support.brokers import Redis
from tests.support.children import free_port, wait_until
from tests.support.processes import BridgeProcess, Bridges


def _config(redis: Redis, listen: str, **more: Any) -> dict[str, Any]:
    source = {"type": "redis-stream", "url": redis.url, "streams": ["audit"], "group": "g"}
    return {
        "dramatiq": {"url": redis.url},
        "sources": {"audit": source, "extra": {**source, "streams": ["extra"]}},
        "routes": [
            {
                "name": "login",
                "from": "audit",
                "when": "payload.key != '${ALARM_KEY}'",
                "actor": "note",
                "queue": "notes",
            },
            {"name": "rest", "from": "extra", "actor": "archive"},
        ],
        "admin": {"listen": listen, "token": "${BRIDGE_TOKEN}"},
        **more,
    }


@pytest.fixture(params=[1, 2], ids=["one-process", "two-processes"])
def bridge(
    request: pytest.FixtureRequest, redis_server: Redis, new_bridge: Bridges, monkeypatch: pytest.MonkeyPatch
) -> BridgeProcess:
    """A bridge that is ready; its token is in the environment of the commands too."""
    secrets = {"BRIDGE_TOKEN": TOKEN, "ALARM_KEY": "s3cret-alarm-key"}
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    config = _config(redis_server, f"127.0.0.1:{free_port()}", processes=request.param)
    started: BridgeProcess = new_bridge(config, env=secrets)
    return started.ready()


def _publish(redis: Redis, count: int, stream: str = "audit") -> None:
    with redis.client() as client:
        for number in range(count):
            client.xadd(stream, {"key": f"k{number}"})


def _status(run: Terminal, path: str) -> dict[str, Any]:
    status: dict[str, Any] = json.loads(run("status", "--config", path, "--json"))
    return status


def _sources(run: Terminal, path: str) -> dict[str, Any]:
    """Return the sources, once each process has said how they stand."""
    wait_until(lambda: _status(run, path)["sources"].keys() == {"audit", "extra"}, 30, "the sources in /status")
    sources: dict[str, Any] = _status(run, path)["sources"]
    return sources


def _enqueued(run: Terminal, path: str) -> dict[str, int]:
    return {name: source["counts"]["enqueued"] for name, source in _sources(run, path).items()}


def test_status_top_and_graph(run: Terminal, bridge: BridgeProcess, redis_server: Redis) -> None:
    """Each shows the events that came, by source and by route; no secret is in any of them."""
    path = str(bridge.path)
    _publish(redis_server, 50)
    wait_until(lambda: _enqueued(run, path)["audit"] == 50, 30, "the events in /status")
    wait_until(lambda: _status(run, path)["queues"]["notes"]["waiting"] == 50, 30, "the messages in /status")
    text = run("status", "--config", path)
    assert text.startswith("dramatiq-bridge ")
    assert ": ready, up " in text.splitlines()[0]
    assert "audit (redis-stream)  connected" in text
    assert "50 received: 50 enqueued" in text
    assert "exactly once enqueued" in text
    assert re.search(r"^notes +50 +0 +0 +0$", text, re.MULTILINE)
    table = run("top", "--once", "--interval=200ms", "--config", path)
    assert re.search(r"^audit +connected ", table, re.MULTILINE)
    assert re.search(r"^login +audit +notes ", table, re.MULTILINE)
    address = next(line for line in Path(path).read_text().splitlines() if "listen" in line).split(" ")[-1]
    for words in (["graph", path], ["graph", path, "--live"], ["graph", "--admin", address]):
        drawn = run(*words)
        assert run.err == ""
        assert "  login: when payload.key != '***' -> note (queue notes)" in drawn
    assert "s3cret" not in json.dumps(_status(run, path))


def test_pause_and_resume(run: Terminal, bridge: BridgeProcess, redis_server: Redis) -> None:
    """A paused source and a paused route are named, and take nothing; after resume everything has come."""
    path = str(bridge.path)
    run("pause", "extra", "--config", path)
    run("pause", "login", "--config", path)
    wait_until(lambda: not _sources(run, path)["extra"]["connected"], 30, "the end of the connection")
    _publish(redis_server, 5, "extra")
    _publish(redis_server, 5)
    wait_until(lambda: _sources(run, path)["audit"]["held"], 30, "an event that is held")
    text = run("status", "--config", path)
    assert "paused     source extra, route login; `dramatiq-bridge resume NAME` ends it" in text
    assert "extra (redis-stream)  paused: by a person" in text
    assert "audit (redis-stream)  waits: its paused routes hold its events: login" in text
    assert _enqueued(run, path) == {"audit": 0, "extra": 0}
    run("resume", "extra", "--config", path)
    run("resume", "login", "--config", path)
    wait_until(lambda: _enqueued(run, path) == {"audit": 5, "extra": 5}, 30, "the events")
    run("pause", "lgin", "--config", path, code=1)
    assert "did you mean 'login'?" in run.err


def test_reload(run: Terminal, bridge: BridgeProcess, redis_server: Redis) -> None:
    """Changes are named; mistakes are shown in their places, and the bridge that ran on is still found by the broken file."""
    path = str(bridge.path)
    good = bridge.path.read_text()
    assert run("reload", "--wait", "--config", path) == "reloaded: nothing has changed\n"
    bridge.configure(good.replace("name: rest", "name: other"))
    assert run("reload", "--wait", "--config", path) == "reloaded: route rest removed; route other added\n"
    bridge.configure(good.replace("actor: archive", "aktor: archive"))
    run("reload", "--wait", "--config", path, code=1)
    assert re.search(r"^.*bridge\.yaml:\d+:\d+: routes\[1\]\.aktor: unknown key", run.err, re.MULTILINE)
    assert run.err.endswith("dramatiq-bridge: mistakes in the configuration; nothing has changed\n")
    assert "reloads    2 ok, 1 invalid" in run("status", "--config", path)
    assert run("reload", "--config", path).startswith("accepted: ")
    wait_until(lambda: _status(run, path)["reloads"] == {"ok": 2, "invalid": 2}, 30, "the reload")
    bridge.configure(good.replace("processes: ", "processes: 1"))
    run("reload", "--wait", "--config", path, code=1)
    assert "a change that can't be made in a running bridge: processes" in run.err
    assert run.err.endswith("; nothing has changed\n")
