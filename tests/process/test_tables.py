"""Tables and schemas of a running bridge: swapped whole by a reload, in each process; a bad file changes nothing; no secret is shown."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from bridge.config.loading import load
from bridge.process.file_watch import FileWatch
from bridge.process.loader import Loader
from tests.support.brokers import Redis
from tests.support.children import wait_until
from tests.support.feeds import StreamFeed
from tests.support.processes import BridgeProcess, Bridges, queue_messages


def _calls(sink: Redis, count: int) -> list[list[Any]]:
    with sink.client() as client:
        wait_until(lambda: client.llen("dramatiq:default") >= count, 60, f"{count} messages")
        return [message["args"] for message in queue_messages(client, "default")]


def _reload(bridge: BridgeProcess, result: str, times: int) -> dict[str, Any]:
    bridge.signal(signal.SIGHUP)
    return bridge.wait_for(result, times=times)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_reload_exchanges_tables_and_schemas(
    processes: int, redis_server: Redis, new_bridge: Bridges, tmp_path: Path
) -> None:
    """All of them or none; the connections stay. A child process has the tables of the file, not of its own start."""
    table, schema = tmp_path / "t.csv", tmp_path / "s.json"
    table.write_text("no,account\n1,old\n")
    schema.write_text('{"required": ["n"]}')
    feed = StreamFeed(redis_server)
    source = {**feed.source, "validate": str(schema)}
    config: dict[str, Any] = {
        "dramatiq": {"url": redis_server.url},
        "sources": {"s": source},
        "tables": {
            "t": {"file": str(table), "key": "no", "value": "account"},
            "secrets": {"values": {"hook": "${HOOK}"}},
        },
        "routes": [{"from": "s", "actor": "act", "args": ['$lookup("t", payload.n)', '$lookup("secrets", "hook")']},
                   {"from": "s", "actor": "bad", "when": "payload.n == 7", "args": ['$int(lookup("secrets", "hook"))']},
                   {"from": "s", "actor": "other", "when": 'lookup("secrets", "hook") == "x"'}],
        "log": {"level": "debug"},
        "processes": processes,
    }  # fmt: skip
    bridge = new_bridge(config, env={"HOOK": "hunter2222"}).ready()
    connected = len(bridge.events("source.connected"))
    feed.publish([{"n": 1}] * 20)
    assert _calls(redis_server, 20) == [["old", "hunter2222"]] * 20
    table.write_text("no,account\n1,bad\n1,twice\n")
    cause = _reload(bridge, "bridge.reload_failed", 1)["cause"]
    assert f"{table}:3:1: tables.t: the key '1' is there twice; the first is on line 2" in cause
    feed.publish([{"n": 1}] * 4)
    assert _calls(redis_server, 24) == [["old", "hunter2222"]] * 24
    table.write_text("no,account\n1,new\n")
    schema.write_text('{"required": ["n"], "properties": {"n": {"minimum": 0}}}')
    changes = _reload(bridge, "bridge.reloaded", 1)["changes"]
    assert changes == ["table t changed", f"schema {schema} changed"]
    feed.publish([{"n": 1}] * 20 + [{"n": -1}, {"n": 7}])
    assert sorted(_calls(redis_server, 44)[24:]) == [["new", "hunter2222"]] * 20
    with redis_server.client() as client:
        wait_until(lambda: client.xlen("dramatiq-bridge:dead-letters") >= 3, 60, "the dead letters")
        letters: Any = client.xrange("dramatiq-bridge:dead-letters")
    found = {fields[b"reason"]: fields[b"error"].decode() for _, fields in letters if fields[b"route"] != b"act"}
    assert found == {
        b"invalid": "payload.n: [value] is less than the minimum of 0 (s.json#/properties/n/minimum)",
        b"wrong-type": 'args.0: \'***\' is not a whole number in `int(lookup("secrets", "hook"))`',
    }
    assert len(bridge.events("source.connected")) == connected
    bridge.terminate()
    assert bridge.wait() == 0, bridge.log_tail()
    stopped = bridge.wait_for("bridge.stopped")
    assert stopped["received"] == stopped["enqueued"] + stopped["dead_lettered"] == 46
    assert "hunter2222" not in bridge.log_tail(100_000)


def _file(tmp_path: Path, **more: Any) -> Path:
    path = tmp_path / "bridge.yaml"
    source = {"type": "mqtt", "url": "mqtt://localhost", "validate": "s.json"}
    tables = {"t": {"file": "t.json"}}
    path.write_text(
        json.dumps({"sources": {"s": source}, "tables": tables, "routes": [{"from": "s", "actor": "a"}], **more})
    )
    (tmp_path / "t.json").write_text('{"a": 1}')
    (tmp_path / "s.json").write_text("{}")
    return path


async def test_the_watch_sees_tables_and_schemas(tmp_path: Path) -> None:
    """Of a table it remembers a digest of the contents, and not the contents."""
    path = _file(tmp_path)
    watch = FileWatch(Loader(str(path)).load)
    await asyncio.to_thread(watch.load)
    assert await watch.look() == []
    (tmp_path / "t.json").write_text('{"a": 2}')
    (tmp_path / "s.json").write_text('{"type": "object"}')
    assert await watch.look() == []  # it may be half written
    assert sorted(await watch.look()) == [str(tmp_path / "s.json"), str(tmp_path / "t.json")]
    assert {len(read.digest or b"") for read in watch._reads.values()} == {32}


def test_a_value_from_outside_is_a_secret_of_the_logs(tmp_path: Path) -> None:
    """Whole, as it stands in the table; words of every line are none."""
    path = _file(
        tmp_path, tables={"t": {"values": {"a": "Bearer ${TOKEN}", "b": {"c": ["${FLAG}"]}, "d": "${NONE:-fallback}"}}}
    )
    loaded = load(path, environ={"TOKEN": "hunter2222", "FLAG": "true"})
    assert loaded.rows["t"]["a"] == "Bearer hunter2222"
    assert loaded.secrets() == {"hunter2222"}
