"""The page's tools at a bridge of two processes: its parent answers them, and the children move the events."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from typing import Any

from tests.support.brokers import Redis
from tests.support.children import free_port, wait_until
from tests.support.feeds import StreamFeed
from tests.support.processes import BridgeProcess, queue_messages

TOKEN = "the-token-of-these-tests"


def test_the_tools_work_beside_children(redis_server: Redis, new_bridge: Callable[..., BridgeProcess]) -> None:
    """A letter that a child wrote is shown, retried once, and gone; an event is tried, and none is moved; the feed counts both."""
    feed, port = StreamFeed(redis_server), free_port()
    route = {"name": "all", "from": "feed", "actor": "record", "queue": "history", "args": ["$payload.n"]}
    admin = {"listen": f"127.0.0.1:{port}", "token": TOKEN}
    config = feed.config(redis_server) | {"routes": [route], "processes": 2, "admin": admin}
    bridge = new_bridge(config).ready()

    def ask(method: str, path: str, body: object = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"Authorization": f"Bearer {TOKEN}"})
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    feed.publish([{"m": n} for n in range(20)])
    wait_until(lambda: ask("GET", "/dead-letters")["total"] == 20, 30, "twenty dead letters")
    letter = ask("GET", "/dead-letters?limit=1")["letters"][0]
    assert (letter["reason"], letter["route"], letter["place"]) == ("missing-field", "all", "args.0")
    tried = ask("POST", "/try", {"source": "feed", "topic": feed.name, "payload": {"n": 7}})
    assert tried["result"] == "fits"
    assert [each["verdict"] for each in tried["routes"]] == ["message"]
    assert bridge.state()["enqueued"] == 0

    route["args"] = ["$payload.m"]
    bridge.configure(config)
    assert ask("POST", "/reload")["result"] == "ok"
    assert ask("POST", f"/dead-letters/retry?id={letter['id']}")["outcome"] == "retried"
    assert ask("POST", f"/dead-letters/retry?id={letter['id']}")["outcome"] == "gone"
    assert ask("GET", "/dead-letters?limit=1")["total"] == 19
    with redis_server.client() as client:
        (message,) = queue_messages(client, "history")
    assert message["args"] in [[n] for n in range(20)]
