"""The workers, and the checks of what is in Redis, that the other tests rely on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.brokers import Redis
from tests.support.children import wait_until
from tests.support.processes import Worker, assert_no_orphans, assert_queue_empty, queue_messages, queue_state


def test_a_worker_runs_what_is_in_its_queues(redis_server: Redis, new_worker: Callable[..., Worker]) -> None:
    """A real Dramatiq worker takes a message written by plain commands, and leaves empty queues."""
    message = (
        '{"queue_name": "alarms", "actor_name": "record", "args": [1, "x"], "kwargs": {"k": null},'
        ' "options": {"redis_message_id": "r1"}, "message_id": "m1", "message_timestamp": 1}'
    )
    with redis_server.client() as client:
        client.hset("dramatiq:alarms.msgs", "r1", message)
        client.rpush("dramatiq:alarms", "r1")
        assert_no_orphans(client)
        assert queue_state(client, "alarms")["list"] == ["r1"]
        assert queue_messages(client, "alarms")[0]["args"] == [1, "x"]
        worker = new_worker(redis_server.url, queues=["alarms"])
        entry = {"actor": "record", "args": [1, "x"], "kwargs": {"k": None}, "message_id": "m1", "queue": "alarms"}
        assert worker.wait_for(1) == [entry]
        wait_until(lambda: not client.exists("dramatiq:alarms.msgs"), 10, "the acknowledgement")
        assert_queue_empty(client, "alarms")


@pytest.mark.parametrize("half", ["list", "hash"])
def test_an_orphan_is_noticed(redis_server: Redis, half: str) -> None:
    """Half a message, in the list or in the hash alone, does not pass the tests' check."""
    with redis_server.client() as client:
        if half == "list":
            client.rpush("dramatiq:default.DQ", "r1")
        else:
            client.hset("dramatiq:default.msgs", "r1", '{"options": {"redis_message_id": "r1"}}')
        with pytest.raises(AssertionError, match=f"only in the {half}: \\['r1'\\]"):
            assert_no_orphans(client)
