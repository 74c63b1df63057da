"""Routes that make several messages, from a stream to real workers of Dramatiq: what they run, in which order, on which queue."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, Final

from tests.support.brokers import Redis
from tests.support.feeds import StreamFeed
from tests.support.processes import Bridges, Worker, assert_no_orphans, queue_state

QUEUES: Final = ("default", "slow")
EACH: Final[dict[str, Any]] = {
    "name": "lines",
    "foreach": "$payload.lines",
    "actor": "first",
    "args": ["$payload.id", "$item.sku"],
    "queue_by": {"key": "$item.size", "queues": {"large": "slow"}},
    "eta": "$received_at + item.wait",
    "then": [
        {"actor": "second", "args": ["$item.sku"]},
        {"actor": "third", "queue": "slow", "kwargs": {"n": "$index"}, "delay": "200ms", "ignore_result": True},
        {"actor": "second", "args": ["last"]},
    ],
}


def test_every_element_runs_through_its_steps(
    redis_server: Redis, stream: StreamFeed, new_bridge: Bridges, new_worker: Callable[..., Worker]
) -> None:
    """Each step gets the result of the one before, unless it ignores it; a delay of a step counts from the step before."""
    worker = new_worker(redis_server.url, QUEUES, actors="step_actors", threads=1)
    config = stream.config(redis_server, EACH)
    config["routes"].append(
        {"from": config["routes"][0]["from"], "name": "rest", "otherwise": True, "actor": "first", "args": ["rest"]}
    )
    new_bridge(config).ready()
    started = time.time()
    stream.publish([
        {"id": 1, "lines": [{"sku": "apple", "size": "s", "wait": 0}, {"sku": "pear", "size": "large", "wait": 1500}]},
        {"id": 2, "lines": [{"sku": "x", "size": "s", "wait": 0}, {"sku": "y", "size": "s"}]},
        {"id": 3, "lines": []},
    ])  # fmt: skip
    calls = worker.wait_for(9)
    worker.stop()
    assert time.time() - started > 1.5
    by_line = {sku: [call for call in calls if sku in json.dumps(call)] for sku in ("apple", "pear")}
    for sku, queue, n in (("apple", "default", 0), ("pear", "slow", 1)):
        chain = [call for call in calls if call["actor"] == "third" and call["kwargs"] == {"n": n}]
        assert [call["args"] for call in chain] == [[]]  # it ignores the result
        assert [(call["actor"], call["args"], call["queue"]) for call in by_line[sku][:2]] == [
            ("first", [1, sku], queue),
            ("second", [sku, ["first", sku]], "default"),
        ]
    assert sorted(call["args"] for call in calls if call["args"][:1] == ["last"]) == [["last", ["third", None]]] * 2
    assert [call["args"] for call in calls if call["args"][:1] == ["rest"]] == [["rest"]]
    # One bad element: none of the messages of its event.
    assert not any("x" in call["args"] for call in calls)
    with redis_server.client() as client:
        ((_, fields),) = client.xrange("dramatiq-bridge:dead-letters")
        assert fields[b"error"] == b"element 1 of foreach: eta: no field 'wait' in `item.wait`"
        assert_no_orphans(client)
        for queue in QUEUES:
            assert queue_state(client, f"{queue}.DQ")["list"] == []
