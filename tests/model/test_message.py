"""The wire form: key by key the same as the installed Dramatiq writes for the same call."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.redis import RedisBroker

from bridge import cli
from bridge.config import Config
from bridge.errors import BadEvent
from bridge.model.batch import Batch
from bridge.model.event import Event
from bridge.model.message import (
    FREE_MESSAGE_BYTES,
    MAX_GROWTH,
    MAX_MESSAGE_BYTES,
    MessageIds,
    Template,
    check_growth,
    encode_dynamic_options,
)
from bridge.routing.compiler import compile_routes
from bridge.routing.message_builder import check_arguments
from bridge.routing.router import make
from bridge.sink import RedisSink
from tests.support.brokers import Redis
from tests.support.processes import assert_no_orphans, queue_state

CALLS: list[dict[str, Any]] = [
    {"args": [], "kwargs": {}},
    {"args": [1, -2.5, "x", None, True, [], {}], "kwargs": {"a": {"b": [1.0, 0]}, "c": None}},
    {"args": ['grüße 😀 \x00 \x1f \u2028 \\ " /'], "kwargs": {"ключ": "é"}},
    {"args": [2**64, -(2**70), 0.1, 1e300, 0]},
    {"args": [1], "queue": "alarms"},
    {"args": [1], "queue": "alarms", "options": {"max_retries": 5, "time_limit": 30_000}},
    {
        "args": [1],
        "options": {"max_retries": None, "notify_shutdown": True, "on_success": "record", "x": [1, {"y": 2}]},
    },
    {"args": [1], "delay": 10_000},
    {"args": [1], "delay": 0},
    {"args": [1], "queue": "alarms", "options": {"max_age": 60_000}, "delay": 3_600_000},
]
IDS = ["empty", "types", "unicode", "numbers", "queue", "options", "more-options", "delayed", "delay-0", "all"]


def with_dramatiq(server: Redis, namespace: str, call: dict[str, Any]) -> None:
    """Enqueue the message with Dramatiq, as a user's program does."""
    broker = RedisBroker(url=server.url, namespace=namespace)
    queue = call.get("queue", "default")
    message: dramatiq.Message[None] = dramatiq.Message(
        queue_name=queue,
        actor_name="record",
        args=tuple(call.get("args", ())),
        kwargs=call.get("kwargs", {}),
        options=call.get("options", {}),
    )
    broker.declare_queue(queue)
    broker.enqueue(message, delay=call.get("delay"))
    broker.close()


async def with_a_route(server: Redis, namespace: str, call: dict[str, Any]) -> None:
    """Enqueue the same message with a route, from an event that brings args and kwargs."""
    options = {
        name: f"{value}ms" if name in {"time_limit", "max_age"} else value
        for name, value in call.get("options", {}).items()
    }
    config = Config.model_validate({
        "sources": {"s": {"type": "redis-pubsub", "url": "redis://localhost", "channels": ["c"]}},
        "routes": [{
            "from": "s", "actor": "record", "queue": call.get("queue", "default"), "options": options,
            "args": "$payload.args", "kwargs": "$default(payload.kwargs, {})",
            "delay": f"{call['delay']}ms" if "delay" in call else None,
        }],
    })  # fmt: skip
    router = make(config.sources["s"], compile_routes(config)[0]["s"])
    body = json.dumps({"args": call.get("args", []), "kwargs": call.get("kwargs", {})})
    batch = Batch([Event("s", "c", body.encode(), 0)])
    router.route(batch)
    assert batch.dead_letters == []
    sink = RedisSink(
        config.dramatiq.model_copy(update={"url": server.url, "namespace": namespace}), config.dead_letters
    )
    await sink.write(batch)
    await sink.close()


def comparable(message: dict[str, Any]) -> str:
    """Return a message as text, with its types and the order of its keys, but without ids and times."""
    options = {**message["options"], "redis_message_id": "-"}
    if "eta" in options:
        options["eta"] = type(options["eta"]).__name__
    shown = {**message, "message_id": "-", "message_timestamp": type(message["message_timestamp"]).__name__}
    return json.dumps({**shown, "options": dict(sorted(options.items()))})


def same_state(server: Redis, call: dict[str, Any], before_ms: int, namespaces: tuple[str, str]) -> None:
    """Check that list, hash, JSON, ids and times agree in both namespaces."""
    queue = call.get("queue", "default") + (".DQ" if "delay" in call else "")
    with server.client() as client:
        states = [queue_state(client, queue, namespace) for namespace in namespaces]
        for namespace in namespaces:
            assert_no_orphans(client, namespace)
            keys = {key.decode() for key in client.scan_iter(f"{namespace}:*") if b":__" not in key}
            assert keys == {f"{namespace}:{queue}", f"{namespace}:{queue}.msgs"}
    shown = []
    for state in states:
        ((redis_id, message),) = state["hash"].items()
        assert state["list"] == [redis_id] == [message["options"]["redis_message_id"]]
        assert str(uuid.UUID(redis_id)) == redis_id
        assert str(uuid.UUID(message["message_id"])) == message["message_id"] != redis_id
        assert type(message["message_timestamp"]) is int
        after_ms = time.time_ns() // 1_000_000
        assert before_ms <= message["message_timestamp"] <= after_ms
        if "delay" in call:
            assert before_ms + call["delay"] <= message["options"]["eta"] <= after_ms + call["delay"]
        shown.append(comparable(message))
    assert shown[0] == shown[1]


@pytest.mark.parametrize("namespaces", [("theirs", "ours"), ("t{t}", "{o}.x")], ids=["plain", "hash-tag"])
@pytest.mark.parametrize("call", CALLS, ids=IDS)
async def test_a_message_equals_dramatiqs_own(
    redis_server: Redis, call: dict[str, Any], namespaces: tuple[str, str]
) -> None:
    """List, hash, keys, types and order are the same as after `Broker.enqueue` for the same call."""
    before_ms = time.time_ns() // 1_000_000
    with_dramatiq(redis_server, namespaces[0], call)
    await with_a_route(redis_server, namespaces[1], call)
    same_state(redis_server, call, before_ms, namespaces)


@pytest.mark.parametrize("call", [call for call in CALLS if "options" not in call])
def test_send_writes_the_same_as_dramatiq(
    redis_server: Redis, call: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """`dramatiq-bridge send` writes the same as a program, and prints the message's id."""
    before_ms = time.time_ns() // 1_000_000
    with_dramatiq(redis_server, "theirs", call)
    words = ["send", f"--redis={redis_server.url}", "--namespace=ours", f"--queue={call.get('queue', 'default')}"]
    words += [f"--delay={call['delay']}ms"] if "delay" in call else []
    words += [f"--kwarg={name}={json.dumps(value)}" for name, value in call.get("kwargs", {}).items()]
    assert cli.main([*words, "record", "--", *map(json.dumps, call["args"])]) == 0
    same_state(redis_server, call, before_ms, ("theirs", "ours"))
    queue = call.get("queue", "default") + (".DQ" if "delay" in call else "")
    with redis_server.client() as client:
        (message,) = queue_state(client, queue, "ours")["hash"].values()
    assert capsys.readouterr().out == message["message_id"] + "\n"


def test_ids_are_random_uuids() -> None:
    """Every id is a UUID of version 4, and no two are alike."""
    template = Template("a", "q")
    made = [template.fill([], {}, ids) for ids in (MessageIds(1), MessageIds(1)) for _ in range(5_000)]
    ids = [redis_id.decode() for redis_id, _ in made] + [json.loads(body)["message_id"] for _, body in made]
    assert len(set(ids)) == 20_000
    for text in ids:
        parsed = uuid.UUID(text)
        assert str(parsed) == text
        assert parsed.version == 4
        assert parsed.variant == uuid.RFC_4122
    assert {text[19] for text in ids} <= set("89ab")


@pytest.fixture
def fill() -> Callable[..., dict[str, Any]]:
    """Fill a plain template and return the JSON."""

    def call(args: object, kwargs: object, options: object = None, eta_ms: int | None = None) -> dict[str, Any]:
        check_arguments(args, kwargs)
        redis_id, body = Template("a", "q").fill(args, kwargs, MessageIds(1), encode_dynamic_options(options, eta_ms))
        loaded: dict[str, Any] = json.loads(body)
        assert loaded["options"]["redis_message_id"].encode() == redis_id
        return loaded

    return call


def test_a_message_has_seven_keys_in_dramatiqs_order(fill: Callable[..., dict[str, Any]]) -> None:
    """One key more or less would stop a worker's consumer."""
    names = ["queue_name", "actor_name", "args", "kwargs", "options", "message_id", "message_timestamp"]
    assert list(fill([], {})) == names
    assert list(fill([], {}, options={"max_retries": 1}, eta_ms=7)) == names
    options = fill([], {}, options={"max_retries": 1}, eta_ms=7)["options"]
    assert list(options) == ["redis_message_id", "eta", "max_retries"]
    assert (options["eta"], options["max_retries"]) == (7, 1)


@pytest.mark.parametrize(
    ("args", "kwargs", "reason", "words"),
    [
        ({}, {}, "wrong-type", "args takes a list, not a mapping"),
        ("ab", {}, "wrong-type", "args takes a list, not text"),
        (None, {}, "wrong-type", "args takes a list"),
        ([], [1], "wrong-type", "kwargs takes a mapping, not a list"),
        ([], None, "wrong-type", "kwargs takes a mapping"),
        ([], {1: 2}, "wrong-type", "kwargs takes text keys, not a number"),
        (["\ud800"], {}, "not-json", "can't be written as JSON"),
        ([{None: {}, (1, 2): 3}], {}, "not-json", "can't be written as JSON"),
        ([object()], {}, "not-json", "can't be written as JSON"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_arguments_that_cannot_be_a_message_are_refused(
    fill: Callable[..., dict[str, Any]], args: object, kwargs: object, reason: str, words: str
) -> None:
    """Arguments that a worker can't take never reach Redis."""
    with pytest.raises(BadEvent) as caught:
        fill(args, kwargs)
    assert caught.value.reason == reason
    assert words in caught.value.detail
    assert len(caught.value.detail) <= 300


@pytest.mark.parametrize(
    ("event_size", "most"),
    [
        (0, FREE_MESSAGE_BYTES),
        (2048, FREE_MESSAGE_BYTES + 2048 * MAX_GROWTH),
        (1 << 20, MAX_MESSAGE_BYTES),
    ],
)
def test_a_message_grows_over_its_event_within_a_bound(event_size: int, most: int) -> None:
    """64 KiB for every message, 16 bytes for each byte of the event, and 4 MiB at most."""
    check_growth(most, event_size)
    with pytest.raises(BadEvent, match=f"of an event of {event_size} bytes a route makes {most} at most") as caught:
        check_growth(most + 1, event_size)
    assert caught.value.reason == "too-large"
