"""A manifest in the file of a running bridge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bridge.config.manifest import manifest_json
from bridge.manifest.application import import_application
from tests.support.brokers import Redis
from tests.support.children import wait_until
from tests.support.feeds import StreamFeed
from tests.support.processes import Bridges, queue_messages


@pytest.mark.parametrize("processes", [1, 2])
def test_calls_that_do_not_bind_become_dead_letters(
    processes: int, redis_server: Redis, new_bridge: Bridges, tmp_path: Path
) -> None:
    """In each process; the others go to the actor's own queue, which the route does not name."""
    manifest = tmp_path / "actors.json"
    manifest.write_bytes(manifest_json(import_application(["tests.app.shapes:broker"])))
    feed = StreamFeed(redis_server)
    route: dict[str, Any] = {"from": "s", "actor": "ClassBased", "args": "$payload.args"}
    bridge = new_bridge(
        {
            "dramatiq": {"url": redis_server.url},
            "manifest": str(manifest),
            "enforce_manifest": True,
            "sources": {"s": feed.source},
            "routes": [route],
            "processes": processes,
        }
    ).ready()
    feed.publish([{"args": [1] * (number % 3)} for number in range(300)])
    with redis_server.client() as client:
        wait_until(lambda: client.xlen("dramatiq-bridge:dead-letters") >= 200, 60, "the dead letters")
        wait_until(lambda: client.hlen("dramatiq:classes.msgs") >= 100, 60, "the messages")
        letters: Any = client.xrange("dramatiq-bridge:dead-letters")
        assert [message["args"] for message in queue_messages(client, "classes")] == [[1]] * 100
    assert {fields[b"reason"] for _, fields in letters} == {b"arguments"}
    assert len(letters) == 200
    bridge.terminate()
    assert bridge.wait() == 0
