"""A running bridge's dead letters, from the source to the worker: redacted there, retried here, run once."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.batches import DEAD, answer
from tests.support.brokers import Redis
from tests.support.children import REPOSITORY, wait_until
from tests.support.feeds import StreamFeed
from tests.support.processes import Bridges, Worker

CARD = "4111-1111-1111-1111"


def dead(path: object, *words: str) -> str:
    """Run a command of `dead` on a bridge's file, and return its output."""
    command = [sys.executable, "-m", "bridge", "dead", *words, "--config", str(path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize("processes", [1, 2])
async def test_from_the_source_to_the_worker(
    redis_server: Redis, stream: StreamFeed, new_bridge: Bridges, new_worker: Callable[..., Worker], processes: int
) -> None:
    """Letters of a bridge that runs: no secret in Redis, nor in the log; a mended route runs each of them once."""
    redact: dict[str, Any] = {"redact": ["payload.card", "headers.token"], "max_length": 5000}
    route = {"args": ["$payload.n", "$int(payload.card)"]}
    config = stream.config(redis_server, route, decode="json") | {"dead_letters": redact, "processes": processes}
    bridge = new_bridge(config).ready()
    with redis_server.client() as client:
        for n in range(100):
            client.xadd(stream.name, {"data": json.dumps({"n": n, "card": CARD}), "token": "s3cret-token"})
        await asyncio.to_thread(wait_until, lambda: client.xlen(DEAD) == 100, 60, "the letters")
        bridge.wait_for("event.dead_lettered")  # behind the reply of the write that the letters are in
        whole = str(answer(client.xrange(DEAD)))
    for text in (whole, bridge.log_tail(10_000), dead(bridge.path, "export"), dead(bridge.path, "list")):
        assert "wrong-type" in text
        assert CARD[:9] not in text
        assert "s3cret" not in text
    bridge.configure({**config, "routes": [{**config["routes"][0], "args": ["$payload.n"]}]})
    bridge.signal(signal.SIGHUP)
    bridge.wait_for("bridge.reloaded")
    worker = new_worker(redis_server.url)
    assert dead(bridge.path, "retry", "--all") == "100 retried; 100 messages written\n"
    calls = await asyncio.to_thread(worker.wait_for, 100)
    assert sorted(call["args"][0] for call in calls) == list(range(100))
    # The bridge goes on writing letters by the same books.
    with redis_server.client() as client:
        client.xadd(stream.name, {"data": "{"})
        await asyncio.to_thread(wait_until, lambda: client.xlen(DEAD) == 1, 60, "another letter")
        assert answer(client.hget(f"{DEAD}:books", "count")) == b"1"


async def test_a_source_that_a_reload_adds_is_redacted(
    redis_server: Redis, stream: StreamFeed, new_bridge: Bridges
) -> None:
    """By its own format: the sink that is kept learns it."""
    config: dict[str, Any] = stream.config(redis_server) | {"dead_letters": {"redact": ["payload.card"]}}
    bridge = new_bridge(config).ready()
    other = StreamFeed(redis_server)
    other.prepare()
    config["sources"]["other"] = other.source | {"decode": "text"}
    config["routes"].append({"from": "other", "name": "other", "actor": "record", "args": ["$json(payload).none"]})
    bridge.configure(config)
    bridge.signal(signal.SIGHUP)
    bridge.wait_for("bridge.reloaded")
    with redis_server.client() as client:
        client.xadd(other.name, {"data": json.dumps({"n": 1, "card": CARD})})
        client.xadd(other.name, {"data": "plain text"})
        await asyncio.to_thread(wait_until, lambda: client.xlen(DEAD) == 2, 60, "the letters")
        bodies = [fields[b"body"] for _, fields in answer(client.xrange(DEAD))]
    assert bodies == [b'{"n":1}', b"plain text"]
