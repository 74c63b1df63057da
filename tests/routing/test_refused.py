"""An event that would damage a Dramatiq worker never reaches its queues: it becomes a dead letter that says why."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from bridge import config
from bridge.routing.compiler import check_routes
from tests.support.batches import dead_letters, load, write
from tests.support.brokers import Redis
from tests.support.children import wait_until
from tests.support.processes import Worker, assert_no_orphans, assert_queue_empty, queue_messages

GOOD = b'{"args": [1], "good": true}'
#: A route that takes all of its args and kwargs from the event.
WHOLE = {"args": "$payload.args", "kwargs": "$default(payload.kwargs, {})"}


async def refused(server: Redis, loaded: config.Config, body: bytes, good: bytes = GOOD) -> dict[bytes, bytes]:
    """Write `body` alone, then between two good ones; return the dead letter."""
    with server.client() as client:
        await write(loaded, body)
        assert list(client.scan_iter("dramatiq:*")) == []
        (letter,) = dead_letters(client)
        assert letter[b"body"] == body
        await write(loaded, good, body, good)
        assert len(queue_messages(client, loaded.routes[0].queue)) == 2
        assert_no_orphans(client)
        assert len(dead_letters(client)) == 2
    return letter


DEEP = b'{"args":' + b"[" * 64 + b"]" * 64 + b"}"


@pytest.mark.parametrize(
    ("body", "reason", "words"),
    [
        (b'{"args": ["\xff"]}', b"decode", b"utf-8"),
        (b"\xff\xfe" + GOOD.decode().encode("utf-16-le"), b"decode", b"set charset: utf-16"),
        (b'{"args": [' + b"1" * 4301 + b"]}", b"decode", b"out of range"),
        (DEEP, b"decode", b"nested more than 64 deep"),
        (b'{"args":' + b"[" * 100_000, b"decode", b"not JSON: nested too deeply"),
        (b'{"args": [NaN]}', b"decode", b"not JSON"),
        (b'{"args": [1e999]}', b"decode", b"out of range"),
        (b'{"args": ["\\ud800"]}', b"decode", b"not JSON"),
        (b'{"args": {"0": 1}}', b"wrong-type", b"args takes a list, not a mapping"),
        (b'{"args": "abc"}', b"wrong-type", b"args takes a list, not text"),
        (b'{"args": null}', b"wrong-type", b"args takes a list, not null"),
        (b'{"args": 1}', b"wrong-type", b"args takes a list, not a number"),
        (b'{"args": [], "kwargs": [1]}', b"wrong-type", b"kwargs takes a mapping, not a list"),
        (b'{"args": [], "kwargs": [["a", 1]]}', b"wrong-type", b"kwargs takes a mapping, not a list"),
        (b'{"args": [], "kwargs": []}', b"wrong-type", b"kwargs takes a mapping, not a list"),
        (b'{"args": [], "kwargs": "x"}', b"wrong-type", b"kwargs takes a mapping, not text"),
        (b"[]", b"wrong-type", b"args:"),
        (b"null", b"missing-field", b"args:"),
        (b"{}", b"missing-field", b"no field 'args'"),
        (b'{"args": ["' + b"x" * 300_000 + b'"]}', b"too-large", b"max_body is 262144"),
    ],
    ids=lambda value: repr(value)[:30],
)
async def test_a_body_that_would_damage_a_worker_becomes_a_dead_letter(
    redis_server: Redis, tmp_path: Path, body: bytes, reason: bytes, words: bytes
) -> None:
    """Only this event becomes a dead letter, with its reason, source, topic and headers; the next ones flow."""
    loaded = load(tmp_path, redis_server.url, WHOLE)
    if reason == b"too-large":
        with redis_server.client() as client:
            await write(loaded, GOOD, body, GOOD)
            (letter,) = dead_letters(client)
            assert len(queue_messages(client, "default")) == 2
            assert letter[b"body_size"] == str(len(body)).encode()
    else:
        letter = await refused(redis_server, loaded, body)
    assert letter[b"reason"] == reason
    assert words in letter[b"error"]
    assert letter[b"source"] == b"s"
    assert letter[b"topic"] == b"c"
    assert json.loads(letter[b"headers"]) == {"h": "v"}


@pytest.mark.parametrize("kwargs", [{b"a": 1}, {None: 1}, {True: 1}, {1.5: 1}, {(1, 2): 1}], ids=repr)
async def test_keys_that_are_not_text(redis_server: Redis, tmp_path: Path, kwargs: dict[object, object]) -> None:
    """A MessagePack key that is neither text nor an integer makes a dead letter."""
    loaded = load(tmp_path, redis_server.url, WHOLE, decode="msgpack")
    body, good = (msgspec.msgpack.encode({"args": [], "kwargs": value}) for value in (kwargs, {"a": 1}))
    letter = await refused(redis_server, loaded, body, good)
    assert letter[b"reason"] == b"decode"
    assert b"a key is neither text nor an integer" in letter[b"error"]


async def test_integer_keys_become_text(redis_server: Redis, tmp_path: Path) -> None:
    """A msgpack mapping with integer keys reaches the actor with text keys, as in JSON."""
    await write(load(tmp_path, redis_server.url, WHOLE, decode="msgpack"), b"\x82\xa4args\x90\xa6kwargs\x81\x07\x01")
    with redis_server.client() as client:
        assert queue_messages(client, "default")[0]["kwargs"] == {"7": 1}


STEP = {"actor_name": "record"}


@pytest.mark.parametrize(
    ("options", "value", "words"),
    [
        ({"max_retries": "$payload.r"}, "3", "options.max_retries: takes a whole number from 0, not text"),
        ({"max_retries": "$payload.r"}, 2.5, "options.max_retries: takes a whole number"),
        ({"max_retries": "$payload.r"}, True, "options.max_retries: takes a whole number"),
        ({"max_retries": "$payload.r"}, -1, "options.max_retries: takes a whole number"),
        ({"max_retries": "$payload.r"}, 2**63, "options.max_retries: takes a whole number"),
        ({"time_limit": "$payload.r"}, "30s", "options.time_limit: takes whole milliseconds"),
        ({"time_limit": "$payload.r"}, None, "options.time_limit: takes whole milliseconds"),
        ({"min_backoff": "$payload.r"}, 1.5, "options.min_backoff: takes whole milliseconds"),
        ({"max_age": "$payload.r"}, [], "options.max_age: takes whole milliseconds"),
        ({"result_ttl": "$payload.r"}, {}, "options.result_ttl: takes whole milliseconds"),
        ({"notify_shutdown": "$payload.r"}, 1, "options.notify_shutdown: takes true or false"),
        ({"store_results": "$payload.r"}, "true", "options.store_results: takes true or false"),
        ({"group_completion_uuid": "$payload.r"}, 7, "options.group_completion_uuid: takes text"),
        ({"broker_priority": "$payload.r"}, "1", "options.broker_priority: takes a whole number"),
        ({"pipe_target": {**STEP, "args": "$payload.r"}}, {"a": 1}, "options.pipe_target: takes a list"),
        ({"pipe_target": {**STEP, "args": "$payload.r"}}, "x", "options.pipe_target: takes a list"),
        ({"pipe_target": {**STEP, "kwargs": "$payload.r"}}, [1], "options.pipe_target: takes a mapping"),
        ({"pipe_target": {**STEP, "options": {"max_retries": "$payload.r"}}}, "3", "takes a whole number"),
        (
            {"group_completion_callbacks": [{**STEP, "args": "$payload.r"}]},
            None,
            "options.group_completion_callbacks: takes a list",
        ),
    ],
    ids=lambda value: json.dumps(value)[:50],
)
async def test_an_option_that_would_damage_a_worker_becomes_a_dead_letter(
    redis_server: Redis, tmp_path: Path, options: dict[str, Any], value: object, words: str
) -> None:
    """An option of a wrong type would make a worker lose the message: the event becomes a dead letter instead."""
    loaded = load(tmp_path, redis_server.url, {"options": options})
    body = json.dumps({"r": value}).encode()
    with redis_server.client() as client:
        await write(loaded, body)
        (letter,) = dead_letters(client)
        assert list(client.scan_iter("dramatiq:*")) == []
    assert letter[b"reason"] == b"option"
    assert letter[b"route"] == b"record"
    assert words in letter[b"error"].decode()


@pytest.mark.parametrize("key", ["dramatiq:odd", "dramatiq:odd.msgs"])
@pytest.mark.parametrize("kind", ["text", "set"])
async def test_a_key_of_the_wrong_type(redis_server: Redis, tmp_path: Path, key: str, kind: str) -> None:
    """If a queue's key is of a wrong type, only the events for that queue become dead letters."""
    path = tmp_path / "bridge.yaml"
    path.write_text(f"""\
dramatiq: {{url: '{redis_server.url}'}}
sources: {{s: {{type: redis-pubsub, url: '{redis_server.url}', channels: [c]}}}}
routes:
  - {{from: s, actor: record, args: [$payload.n]}}
  - {{from: s, actor: odd, queue: odd, args: [$payload.n], when: payload.n % 7 == 3}}
""")
    loaded = config.load(path, environ={}, check=check_routes)
    with redis_server.client() as client:
        if kind == "text":
            client.set(key, "not Dramatiq's")
        else:
            client.sadd(key, "not Dramatiq's")
        await write(loaded, *(json.dumps({"n": number}).encode() for number in range(40)))
        odd = [3, 10, 17, 24, 31, 38]
        numbers = [message["args"][0] for message in queue_messages(client, "default")]
        assert numbers == [number for number in range(40) if number not in odd]
        letters = dead_letters(client)
        assert [json.loads(letter[b"body"])["n"] for letter in letters] == odd
        for letter in letters:
            assert letter[b"reason"] == b"refused-by-redis"
            assert f"WRONGTYPE {key} holds a".encode() in letter[b"error"]
        assert client.exists("dramatiq:odd", "dramatiq:odd.msgs") == 1


ACCEPTED: dict[str, Any] = {
    "max_retries": 0,
    "min_backoff": "15s",
    "max_backoff": "7d",
    "max_age": "1h",
    "time_limit": "30s",
    "notify_shutdown": True,
    "on_success": "record",
    "on_failure": "record",
    "on_retry_exhausted": "record",
    "pipe_target": {**STEP, "args": ["next"], "options": {"pipe_ignore": True, "delay": "10ms"}},
    "group_completion_uuid": "6fa459ea-ee8a-3ca4-894e-db5e003bd9b1",
    "group_completion_callbacks": [STEP],
    "store_results": True,
    "result_ttl": "10m",
    "broker_priority": 0,
    "an_option_of_somebody_elses_middleware": {"any": ["thing"]},
}


async def test_a_real_worker_takes_every_option(
    redis_server: Redis, tmp_path: Path, new_worker: Callable[..., Worker]
) -> None:
    """A Dramatiq worker runs a message with each option of the table, and its queues are empty afterwards."""
    path = tmp_path / "bridge.yaml"
    routes = [
        {"from": "s", "actor": "record", "name": name, "args": [name], "options": {name: value}}
        for name, value in ACCEPTED.items()
    ]
    routes.append(
        {"from": "s", "actor": "record", "name": "for-ever", "args": ["null"], "options": {"max_retries": None}}
    )
    routes.append({"from": "s", "actor": "record", "name": "later", "args": ["delayed"], "delay": "10ms"})
    source = {"type": "redis-pubsub", "url": redis_server.url, "channels": ["c"]}
    path.write_text(yaml.safe_dump({"dramatiq": {"url": redis_server.url}, "sources": {"s": source}, "routes": routes}))
    await write(config.load(path, environ={}, check=check_routes), b"{}")
    worker = new_worker(redis_server.url)
    # One more each for on_success and for the second step of the pipeline.
    calls = worker.wait_for(len(ACCEPTED) + 2 + 2)
    first = [call["args"][0] for call in calls if call["args"] and isinstance(call["args"][0], str)]
    assert sorted(first) == sorted([*ACCEPTED, "null", "delayed", "next"])
    with redis_server.client() as client:
        assert dead_letters(client) == []
        wait_until(lambda: not client.exists("dramatiq:default.msgs", "dramatiq:default.DQ.msgs"), what="the last ack")
        assert_queue_empty(client, "default")
        assert not client.exists("dramatiq:default.XQ")
