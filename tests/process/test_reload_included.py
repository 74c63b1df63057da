"""SIGHUP of a configuration of several files: those that it includes are read again, and a mistake in one changes nothing."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any, Final

from tests.config.test_written_files import written
from tests.support.brokers import Redis
from tests.support.children import wait_until
from tests.support.feeds import StreamFeed
from tests.support.processes import BridgeProcess, Bridges, queue_messages

TABLE: Final = "number,account\n" + "".join(f"{number},new\n" for number in range(50))


def _route(actor: str) -> str:
    return f"routes:\n  - {{from: s, actor: {actor}, args: ['$lookup(\"t\", payload.n)']}}\n"


def _reload(bridge: BridgeProcess, result: str, times: int) -> dict[str, Any]:
    bridge.signal(signal.SIGHUP)
    return bridge.wait_for(result, times=times)


def test_a_reload_reads_included_files_and_their_tables_again(
    redis_server: Redis, new_bridge: Bridges, tmp_path: Path
) -> None:
    """One that comes is loaded. A mistake in one keeps everything, and is named. A table that is half written is waited for."""
    feed = StreamFeed(redis_server)
    routes = tmp_path / "routes"
    routes.mkdir()
    table = tmp_path / "routes" / "t.csv"
    table.write_text("number,account\n1,old\n")
    (routes / "tables.yaml").write_text("tables: {t: {file: t.csv, key: number, value: account}}\n")
    (routes / "orders.yaml").write_text(_route("first"))
    config = {"dramatiq": {"url": redis_server.url}, "sources": {"s": feed.source}}
    bridge = new_bridge({**config, "include": [f"{routes}/*.yaml"]}).ready()
    connected = len(bridge.events("source.connected"))

    def calls(sent: int) -> set[tuple[str, str]]:
        """Return the actors and arguments of one more event."""
        with redis_server.client() as client:
            client.delete("dramatiq:default", "dramatiq:default.msgs")
            feed.publish([{"n": 1}])
            wait_until(lambda: client.llen("dramatiq:default") >= sent, 60, f"{sent} messages")
            return {(one["actor_name"], one["args"][0]) for one in queue_messages(client, "default")}

    assert calls(1) == {("first", "old")}
    (routes / "orders.yaml").write_text(_route("second"))
    (routes / "more.yaml").write_text(_route("third"))
    changes = _reload(bridge, "bridge.reloaded", 1)["changes"]
    assert changes == ["route first removed", "route third added", "route second added"]
    assert calls(2) == {("second", "old"), ("third", "old")}
    (routes / "more.yaml").write_text(_route("third").replace("payload.n", "paylod.n"))
    cause = _reload(bridge, "bridge.reload_failed", 1)["cause"]
    assert f"{routes}/more.yaml:2:50: routes[0].args[0]: there is no name 'paylod'" in cause
    assert calls(2) == {("second", "old"), ("third", "old")}
    (routes / "more.yaml").write_text(_route("third"))
    with written(table, TABLE, endless=False):
        assert _reload(bridge, "bridge.reloaded", 2)["changes"] == ["table t changed"]
    assert calls(2) == {("second", "new"), ("third", "new")}
    assert len(bridge.events("source.connected")) == connected
    bridge.terminate()
