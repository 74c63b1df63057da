"""At `debug` a line for each event tells which routes fit, why the others do not, and its ids."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import structlog

from bridge.config import Config
from bridge.delivery.event_log import EventLog
from bridge.model.accounting import Outcome
from bridge.model.batch import Batch, DeadLetter
from bridge.model.event import Event
from bridge.observe import logs
from tests.support.brokers import Redis
from tests.support.feeds import StreamFeed
from tests.support.processes import BridgeProcess, queue_messages
from tests.support.routing import event

ROUTES: list[dict[str, Any]] = [
    {"name": "hot", "from": "feed", "actor": "alarm", "when": "payload.c > 250", "args": ["$payload.c"]},
    {"name": "all", "from": "feed", "actor": "record", "queue": "history", "args": ["$payload.c"]},
    {"name": "named", "from": "feed", "actor": "greet", "when": "payload.c > 0", "args": ["$payload.name"]},
    {"name": "other", "from": "feed", "topic": "elsewhere:{x}", "actor": "record"},
]


@pytest.mark.parametrize("level", ["debug", "info"])
def test_each_event_has_one_line_at_debug(
    redis_server: Redis, new_bridge: Callable[..., BridgeProcess], level: str
) -> None:
    """With its entry's id, the ids of its messages, and the values that a condition saw; above `debug` there is none."""
    feed = StreamFeed(redis_server)
    config = feed.config(redis_server)
    config |= {"routes": ROUTES, "log": {"level": level}}
    bridge = new_bridge(config).ready()
    feed.publish([{"c": 200}])
    bridge.wait_for("event.dead_lettered")
    if level == "info":
        assert not bridge.events("event.outcome")
        return
    line = bridge.wait_for("event.outcome")
    assert line["outcome"] == "dead-lettered"
    with redis_server.client() as client:
        (message,) = queue_messages(client, "history")
        ((entry_id, _),) = client.xrange(feed.name)
    assert line["messages"] == [f"{message['message_id']} for record in history"]
    assert (line["source"], line["entry_id"]) == ("feed", entry_id.decode())
    routes = line["routes"]
    assert routes["hot"] == "when: `payload.c > 250` is false: payload.c is 200"
    assert routes["all"] == "fits"
    assert routes["named"].startswith("dead letter: args.0")
    assert "does not fit elsewhere:{x}" in routes["other"]
    with redis_server.client() as client:
        client.xadd(feed.name, {"data": "no JSON"})
    line = bridge.wait_for("event.outcome", times=2)
    assert (line["outcome"], line["dead_letter"].partition(":")[0]) == ("dead-lettered", "decode")


def test_whether_it_is_debug_is_known() -> None:
    """Only then the routes are compiled once more."""
    assert not logs.is_debug()


def test_explanations_have_a_bound_in_time() -> None:
    """A thousand events with many long conditions would keep the event loop for half a minute: most go unexplained, and say so."""
    long = " or ".join(f"payload.c == {n}" for n in range(-60, 0))
    routes = [{"name": f"r{n}", "from": "s", "actor": "a", "when": long} for n in range(20)]
    config = Config.model_validate({
        "sources": {"s": {"type": "mqtt", "url": "mqtt://localhost", "client_id": "c"}}, "routes": routes
    })  # fmt: skip
    explained = EventLog(config)
    batch = Batch([event("a/b", b'{"c": 1}') for _ in range(1000)])
    with structlog.testing.capture_logs() as lines:
        began = time.thread_time()
        explained.written(batch, Outcome.SPOOLED)
        took = time.thread_time() - began
    assert took < 10  # tenfold
    assert len(lines) == 1000
    assert "is false" in lines[0]["routes"]["r0"]
    assert lines[-1]["cause"].startswith("not explained")


def test_a_line_at_debug_has_no_redacted_value() -> None:
    """Neither in the words of a condition, nor in a dead letter's, nor among the ids."""
    config = Config.model_validate({
        "sources": {"s": {"type": "amqp", "url": "amqp://h/", "queue": "q"}},
        "dead_letters": {"redact": ["payload.c", "meta.message_id"]},
        "routes": [
            {"name": "hot", "from": "s", "actor": "a", "when": "payload.c == 'none'"},
            {"name": "all", "from": "s", "actor": "a", "args": ["$int(payload.c)"]},
        ],
    }, by_alias=True, by_name=False)  # fmt: skip
    made = Event("s", "t", b'{"c": "4111-1111"}', 1, raw=({}, {"message_id": "s3cret", "correlation_id": "c"}))
    with structlog.testing.capture_logs() as lines:
        EventLog(config).written(Batch([made]), Outcome.WRITTEN)
    (line,) = lines
    assert line["correlation_id"] == "c"
    assert set(line["routes"]) == {"hot", "all"}
    assert "***" in line["routes"]["hot"]
    assert "4111" not in str(line)
    assert "s3cret" not in str(line)


def test_an_event_that_ended_a_process_is_not_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its explanation would end the process once more: the line says so, and the event beside it is explained."""
    config = Config.model_validate({
        "sources": {"s": {"type": "mqtt", "url": "mqtt://localhost", "client_id": "c"}},
        "routes": [{"name": "all", "from": "s", "actor": "a"}],
    }, by_alias=True, by_name=False)  # fmt: skip
    explained = EventLog(config)
    seen: list[Event] = []
    run = explained._routes.run

    def seeing(made: Event, now_ms: int) -> Any:
        seen.append(made)
        return run(made, now_ms)

    monkeypatch.setattr(explained._routes, "run", seeing)
    poison, other = event("a/b", b"{}"), event("a/c", b"{}")
    batch = Batch([poison, other])
    batch.dead_letters.append((0, DeadLetter(poison, "poison", "it has ended 5 processes")))
    with structlog.testing.capture_logs() as lines:
        explained.written(batch, Outcome.WRITTEN)
    assert seen == [other]
    assert lines[0]["dead_letter"] == "poison: it has ended 5 processes"
    assert "routes" not in lines[0]
    assert lines[1]["routes"] == {"all": "fits"}
