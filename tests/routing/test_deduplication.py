"""Deduplication: an event that comes again is written once, and none is lost for the lack of a key."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from bridge import config
from bridge.errors import ConfigError
from bridge.model.batch import Batch, Written
from bridge.model.event import Event
from bridge.routing.compiler import check_routes
from bridge.routing.router import Router
from tests.support.batches import DEAD, Sinks, numbers
from tests.support.brokers import Mosquitto, RabbitMQ, Redis
from tests.support.children import wait_until
from tests.support.feeds import AmqpFeed, Feed, LibraryAmqpFeed, LibraryMqttFeed, MqttFeed
from tests.support.processes import BridgeProcess, Bridges
from tests.support.routing import router

BY_ID = {"deduplicate": {"key": "$payload.id"}}
TO_RECORD: list[dict[str, Any]] = [{"actor": "record", "args": ["$payload.n"]}]


def event(body: bytes = b"{}", topic: str = "a/b", message_id: object = None, **headers: object) -> Event:
    """Make an event as a source presents it."""
    return Event("s", topic, body, 0, raw=(headers, {"message_id": message_id}))


def batch(routing: Router, *events: Event) -> Batch:
    """Route events into a batch."""
    made = Batch(list(events))
    routing.route(made)
    return made


def key(expression: str, one: Event) -> bytes | None:
    """Return the deduplication key that the router gives the event; None without one."""
    batch(router([{"actor": "record"}], deduplicate={"key": expression}), one)
    assert (one.write_once is None) == (one.deduplication_key == b"")
    return one.deduplication_key or None


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("$payload.id", b"7"),
        ("$payload.price", b"1.5"),
        ("$meta.message_id", b"m-1"),
        ('$headers["x-id"]', "grüße".encode()),
        ('$f"{headers.device}/{payload.id}"', b"d1/7"),
        ('$f"{topic}/{payload.id:04d}"', b"a/b/0007"),
        ("$default(payload.uuid, meta.message_id)", b"m-1"),
        ('$headers.device if topic == "a/b" else null', b"d1"),
        ("$default(payload.uuid, payload.nested.uuid)", b"u"),
    ],
)
def test_a_deduplication_key_is_any_expression(expression: str, expected: bytes) -> None:
    """It reads payload, headers, meta and topic; a number stands for its digits."""
    body = b'{"id": 7, "price": 1.5, "nested": {"uuid": "u"}}'
    assert key(expression, event(body, message_id="m-1", device="d1", **{"x-id": "grüße"})) == expected


@pytest.mark.parametrize(
    "expression",
    [
        "$payload.missing",
        "$payload.missing.deeper",
        "$payload.null",
        "$payload.null.deeper",
        "$payload.true",
        "$payload.list",
        "$payload",
        "$payload.empty",
        "$meta.message_id",
        '$headers["x-id"]',
        # Of these, "None" would be the key of all the events without an id.
        '$f"{payload.null}"',
        '$f"{meta.message_id}/{payload.n}"',
        '$f"{meta.message_id:}{1 + 1}"',
        '$f"{payload.n + 1}/{payload.null}"',
        "$str(payload.null)",
        "$int(payload.list)",
        "$payload.huge * payload.huge",
    ],
)
def test_an_event_without_a_deduplication_key_passes(expression: str) -> None:
    """Missing, null, empty, of a wrong type, or with a null in its text: the event is written each time it comes."""
    body = b'{"null": null, "true": true, "list": [], "empty": "", "n": 1, "huge": 1e300}'
    one = event(body)
    assert key(expression, one) is None
    made = batch(router([{"actor": "record"}], deduplicate={"key": expression}), one)
    assert [len(column.messages) for column in made.queues.values()] == [1]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (b"1", b"1"),
        (b"1.0", b"1"),
        (b'"1"', b"1"),
        (b"-0.0", b"0"),
        (b"1.5", b"1.5"),
        (b'"1.0"', b"1.0"),
        (b"1e16", b"10000000000000000"),
    ],
)
def test_equal_numbers_are_one_key(number: bytes, text: bytes) -> None:
    """A publisher may write 1 and 1.0 for the same; a text is itself."""
    assert key("$payload.n", event(b'{"n": %b}' % number)) == text


def test_no_float_without_an_end_is_a_deduplication_key() -> None:
    """Not-a-number, which MessagePack can hold, is no key."""
    one = event(b"\x81\xa2id\xcb\x7f\xf8" + b"\0" * 6)
    batch(router([{"actor": "record", "args": ["x"]}], decode="msgpack", **BY_ID), one)
    assert one.write_once is None


def test_the_key_is_evaluated_only_for_events_that_are_written() -> None:
    """An event that was filtered or dropped costs Redis no key; a message and a dead letter have one, of several routes too."""
    routing = router(
        [
            {"actor": "record", "topic": "t", "when": "payload.n > 0"},
            {"actor": "record", "topic": "t", "when": "payload.n > 1", "args": ["$payload.missing"]},
        ],
        **BY_ID,
    )
    filtered, dropped = event(b'{"id": 1, "n": 0}', "t"), event(b'{"id": 2}', "elsewhere")
    written, failed = event(b'{"id": 3, "n": 1}', "t"), event(b'{"id": 4, "n": 2}', "t")
    batch(routing, filtered, dropped, written, failed)
    assert [one.deduplication_key for one in (filtered, dropped, written, failed)] == [b"", b"", b"3", b"4"]
    assert filtered.write_once is dropped.write_once is None
    assert written.write_once is not None
    assert written.write_once is failed.write_once


def test_a_dead_letter_without_a_route_has_no_key() -> None:
    """A body that is no JSON, and an event that fits no route, are dead letters each time they come."""
    amqp = {"type": "amqp", "url": "amqp://localhost", "queue": "q"}
    broken, foreign = event(b"{", "t", message_id="m"), event(b'{"id": 5}', "elsewhere", message_id="n")
    batch(router([{"actor": "record", "topic": "t"}], **amqp, deduplicate={"key": "$meta.message_id"}), broken, foreign)
    assert broken.write_once is foreign.write_once is None


def test_a_long_key_is_shortened() -> None:
    """200 bytes stand as they are; a longer key is hashed, and still tells one event from another."""
    long = {letter: key("$payload.id", event(b'{"id": "%b"}' % (letter.encode() * 201))) for letter in "ab"}
    assert key("$payload.id", event(b'{"id": "%b"}' % (b"a" * 200))) == b"a" * 200
    assert long["a"] != long["b"]
    assert all(hashed is not None and len(hashed) == 71 for hashed in long.values())


async def test_the_second_event_of_a_key_is_a_duplicate(redis_server: Redis) -> None:
    """Within one batch, in a later one, and from another process; an event without an id is never a duplicate."""
    routing = router(TO_RECORD, deduplicate={"key": "$payload.id", "within": "1h"})
    async with Sinks() as make:
        one, other = make(redis_server), make(redis_server)
        events = [
            event(body) for body in (b'{"id":1,"n":1}', b'{"id":2,"n":2}', b'{"id":1,"n":3}', b'{"n":4}', b'{"n":4}')
        ]
        assert await one.write(batch(routing, *events)) == Written(4, 1)
        again = batch(
            router(TO_RECORD, **BY_ID), event(b'{"id":2,"n":5}'), event(b'{"id":"1","n":6}'), event(b'{"id":3,"n":7}')
        )
        assert await other.write(again) == Written(1, 2)
    with redis_server.client() as client:
        assert numbers(client) == [1, 2, 4, 4, 7]
        keys = sorted(client.scan_iter("dramatiq-bridge:seen:*"))
        assert keys == [b"dramatiq-bridge:seen:s:%d" % n for n in (1, 2, 3)]
        left: Any = client.pttl(keys[0])
    assert 3_500_000 < left <= 3_600_000


async def test_a_dead_letter_uses_up_no_key(redis_server: Redis) -> None:
    """Once the route is mended, the event that comes again is written; until then it is a dead letter each time."""
    wrong = router([{"actor": "record", "args": ["$payload.missing"]}], **BY_ID)
    async with Sinks() as make:
        sink = make(redis_server)
        for _ in range(2):
            assert await sink.write(batch(wrong, event(b'{"id": 1, "n": 1}'))) == Written(0, 0)
        mended = router(TO_RECORD, **BY_ID)
        assert await sink.write(batch(mended, event(b'{"id": 1, "n": 1}'))) == Written(1, 0)
        assert await sink.write(batch(mended, event(b'{"id": 1, "n": 1}'))) == Written(0, 1)
    with redis_server.client() as client:
        assert numbers(client) == [1]
        assert client.xlen(DEAD) == 2


@pytest.mark.parametrize("name", ["b", "b\nc", "ü", "a"], ids=repr)
async def test_of_several_routes_only_the_one_that_failed_is_written_again(redis_server: Redis, name: str) -> None:
    """Each route of an event is remembered by itself, whatever its name; a dead letter of a route that was written is a duplicate."""
    good = {"name": "good", "actor": "record", "args": ["$payload.n"]}
    also = {"name": name, "actor": "record", "queue": "other"}
    wrong = router([good, {**also, "args": ["$payload.missing"]}], **BY_ID)
    mended = router([good, {**also, "args": ["$payload.n"]}], **BY_ID)
    body = b'{"id": 1, "n": 1}'
    async with Sinks() as make:
        sink = make(redis_server)
        assert await sink.write(batch(wrong, event(body))) == Written(1, 0)
        assert await sink.write(batch(mended, event(body))) == Written(1, 0)
        assert await sink.write(batch(mended, event(body), event(body))) == Written(0, 2)
        assert await sink.write(batch(wrong, event(body))) == Written(0, 1)
    with redis_server.client() as client:
        assert (numbers(client), numbers(client, "other")) == ([1], [1])
        assert client.xlen(DEAD) == 1
        assert client.get("dramatiq-bridge:seen:s:1") == b"good\n" + name.encode("unicode_escape")


async def test_a_key_of_an_earlier_release_has_every_route(redis_server: Redis) -> None:
    """Its value is empty: an event that was written before an upgrade is not written again after it."""
    with redis_server.client() as client:
        client.set("dramatiq-bridge:seen:s:1", "", px=60_000)
    async with Sinks() as make:
        assert await make(redis_server).write(
            batch(router(TO_RECORD, **BY_ID), event(b'{"id": 1, "n": 1}'))
        ) == Written(0, 1)


def load(tmp_path: Path, source: str, routes: str = "") -> config.Config:
    """Load a configuration whose source `s` has these settings, as `run` does."""
    path = tmp_path / "bridge.yaml"
    path.write_text(f"sources:\n  s:\n    {source}\n{routes}")
    return config.load(path, environ={}, check=check_routes)


MQTT = "{type: mqtt, url: mqtt://localhost, deduplicate: {key: "


@pytest.mark.parametrize(
    ("source", "column", "words"),
    [
        (f"{MQTT}payload.id}}}}", 60, "takes an expression, which begins with $; as in $meta.message_id"),
        (f"{MQTT}$$payload.id}}}}", 60, "takes an expression, which begins with $"),
        (f"{MQTT}5}}}}", 60, "takes an expression, not a number"),
        (f"{MQTT}null}}}}", 60, "takes an expression, not null; as in $meta.message_id"),
        (f"{MQTT}$payload.id + }}}}", 0, "not a valid expression"),
        (f"{MQTT}$meta.mesage_id}}}}", 61, "meta has no field 'mesage_id'; did you mean 'message_id'?"),
        (f"{MQTT}$payload.id + ids}}}}", 74, "there is no name 'ids'"),
        (
            f"{MQTT}$topic}}}}",
            61,
            "a deduplication key that many events share would lose all but the first of them; read it",
        ),
        (f"{MQTT}$now()}}}}", 61, "a deduplication key that many events share"),
        (f"{MQTT}$payload.id + received_at}}}}", 74, "an event that comes again has another received_at"),
        (f"{MQTT}$payload.id, within: 5}}}}", 81, "a bare number has no unit"),
        (f"{MQTT}$payload.id, within: 999ms}}}}", 81, "takes a duration of at least 1s"),
        (f"{MQTT}$payload.id, widthin: 1h}}}}", 73, "unknown key 'widthin'; did you mean 'within'?"),
        (
            "{type: mqtt, url: mqtt://localhost, deduplicate: {within: 1h}}",
            41,
            "sources.s.deduplicate: the key 'key' is missing; add key: expression that tells an event from every other",
        ),
        (
            "{type: mqtt, url: mqtt://localhost, deduplicate: $payload.id}",
            54,
            "takes a mapping, not text; as in deduplicate: {key: $meta.message_id, within: 1d}",
        ),
        (
            "{type: redis-pubsub, url: redis://localhost, channels: [c], deduplicate: {key: $payload.id}}",
            65,
            "there is no 'deduplicate' here; Redis pub/sub never delivers a message again",
        ),
        (
            "{type: redis-stream, url: redis://localhost, streams: [s], group: g, deduplicate: {within: 1h}}",
            74,
            "there is no 'deduplicate' here; an entry of a stream is always recognised, by its id",
        ),
        (
            "{type: redis-stream, url: redis://localhost, streams: [s], group: g, identity: $payload.id}",
            74,
            "there is no 'identity' here; an entry of a stream is always recognised, by its id",
        ),
    ],
    ids=lambda value: str(value)[-60:],
)
def test_a_mistake_is_placed_and_explained(tmp_path: Path, source: str, column: int, words: str) -> None:
    """A wrong key is a mistake at its character, like one in a route, also beside other mistakes."""
    for routes in ("", "routes: [{from: s, actor: a, queue: __x}]\n"):
        with pytest.raises(ConfigError) as caught:
            load(tmp_path, source, routes)
        first, *others = caught.value.diagnostics
        assert len(others) == bool(routes)
        assert words in str(first)
        assert first.line == 3
        assert first.column == column or not column


@pytest.mark.parametrize("source", ["type: amqp, url: amqp://localhost, queue: q", "type: mqtt, url: mqtt://localhost"])
def test_the_earlier_keys_name_the_new_one(tmp_path: Path, source: str) -> None:
    """`identity` and `identity_window` were never released: each is a mistake that says how it is written now."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f"{{{source}, identity: $payload.id, identity_window: 1h}}")
    remedy = "write deduplicate: {key: $meta.message_id, within: 1d}"
    assert [f"{one.where}: {one.message}; {one.hint}" for one in caught.value.diagnostics] == [
        f"sources.s.identity: there is no 'identity' here; {remedy}",
        f"sources.s.identity_window: there is no 'identity_window' here; {remedy}",
    ]


@pytest.mark.parametrize("value", ["null", "${ID:-}"])
def test_deduplication_is_off_unless_configured(tmp_path: Path, value: str) -> None:
    """Without it, or with null or an empty substitution, events have no key."""
    source = load(tmp_path, f"type: mqtt\n    url: mqtt://localhost\n    deduplicate: {value}").sources["s"]
    assert isinstance(source, config.Mqtt)
    assert source.deduplicate is None


def test_a_key_is_remembered_for_a_day(tmp_path: Path) -> None:
    """That is the default of `within`."""
    settings = "type: mqtt\n    url: mqtt://localhost\n    deduplicate: {key: $payload.id}"
    source = load(tmp_path, settings).sources["s"]
    assert isinstance(source, config.Mqtt)
    assert source.deduplicate == config.Deduplicate(key="$payload.id", within="1d")  # type: ignore[arg-type]
    assert source.deduplicate.within == 86_400_000


KEYS: dict[type[Feed], str] = {
    AmqpFeed: "$meta.message_id",
    LibraryAmqpFeed: "$meta.message_id",
    MqttFeed: '$f"{topic}/{payload.n}"',
    LibraryMqttFeed: '$f"{topic}/{payload.n}"',
}


@pytest.mark.parametrize(("redact", "shown"), [(["headers.h"], True), (["payload.card"], False), (["payload"], False)])
def test_a_log_has_no_key_of_a_redacted_field(
    redis_server: Redis, mosquitto: Mosquitto, new_bridge: Bridges, redact: list[str], shown: bool
) -> None:
    """Neither of an event that comes twice, nor in the cause why an event has none."""
    feed = MqttFeed(mosquitto)
    settings = {"deduplicate": {"key": "$upper(payload.card)"}}
    config = feed.config(redis_server, **settings) | {"dead_letters": {"redact": redact}}
    bridge = new_bridge(config).ready()
    feed.publish([{"n": 1, "card": "visa-4111"}, {"n": 1, "card": "visa-4111"}, {"n": 2, "card": ["amex-3782"]}])
    line = bridge.wait_for("event.duplicate")
    assert line["key"] == ("VISA-4111" if shown else "***")
    cause = bridge.wait_for("event.without_deduplication_key")["cause"]
    assert ("list" in cause) == shown
    assert shown or not any(text in bridge.log_tail(500).lower() for text in ("visa", "amex"))


@pytest.mark.parametrize("broker", KEYS, ids=lambda feed: feed.kind, indirect=True)
def test_kill_9_makes_no_duplicates(feed: Feed, redis_server: Redis, new_bridge: Callable[..., BridgeProcess]) -> None:
    """Killed in the middle of 2,000 events, restarted, and sent all of them again: each is in the queue exactly once."""
    payloads = [{"n": n, "id": f"id-{n}"} for n in range(2000)]
    bridge = new_bridge(feed.config(redis_server, deduplicate={"key": KEYS[type(feed)]})).ready()
    with redis_server.client() as client:
        publisher = threading.Thread(target=feed.publish, args=(payloads,))
        publisher.start()
        wanted = random.randrange(100, 1500)
        wait_until(lambda: client.llen("dramatiq:default") >= wanted, 60, "the middle")
        bridge.kill()
        publisher.join(60)
        bridge.start().ready()
        wait_until(lambda: client.llen("dramatiq:default") >= 2000, 60, "all events")
        bridge.restart()
        # As a publisher does that has seen no confirmation.
        feed.publish(payloads)
        feed.publish([{"n": 2000, "id": "the-last"}])
        wait_until(lambda: _last(client) == 2000, 60, "the last event")
        bridge.terminate()
        assert bridge.wait() == 0
        assert sorted(numbers(client)) == list(range(2001))
    first = bridge.wait_for("event.duplicate")
    assert first["source"] == "feed"
    assert first["cause"] == "its deduplication key was written before"
    lines = bridge.events("event.duplicate")
    stopped = bridge.wait_for("bridge.stopped")
    assert sum(1 + line.get("repeated", 0) for line in lines) == stopped["deduplicated"]
    assert len(lines) <= 3, "at once, then after 10 s, and at the stop"
    assert stopped["deduplicated"] >= 2000
    assert stopped["received"] == stopped["messages"] + stopped["deduplicated"]


def _last(client: redis.Redis) -> int:
    return numbers(client)[-1]


def _both(feeds: list[Feed], sink: Redis, keys: list[str]) -> dict[str, Any]:
    made = feeds[0].config(sink)
    made["sources"] = {
        feed.kind: {**feed.source, "deduplicate": {"key": key}} for feed, key in zip(feeds, keys, strict=True)
    }
    made["routes"] = [
        {"from": feed.kind, "actor": "record", "args": ["$payload.n"], "queue": feed.kind} for feed in feeds
    ]
    return made


def test_an_event_without_a_deduplication_key_is_logged(
    redis_server: Redis, rabbitmq: RabbitMQ, mosquitto: Mosquitto, either_bridge: Bridges
) -> None:
    """No event is lost for the lack of its id: all are written, and one line logs the lack, with source and cause."""
    feeds: list[Feed] = [AmqpFeed(rabbitmq), MqttFeed(mosquitto)]
    for feed in feeds:
        feed.prepare()
    bridge = either_bridge(_both(feeds, redis_server, ['$headers["x-id"]', KEYS[MqttFeed]])).ready()
    feeds[0].publish([{"n": 1}] * 20)
    feeds[1].publish([{"n": None}] * 20)
    with redis_server.client() as client:
        for feed in feeds:
            wait_until(lambda key=f"dramatiq:{feed.kind}": client.llen(key) == 20, 30, "20 messages")  # type: ignore[misc]
        assert list(client.scan_iter("dramatiq-bridge:seen:*")) == []
    for feed in feeds:
        bridge.wait_for("event.without_deduplication_key", source=feed.kind)
    causes = {line["source"]: line["cause"] for line in bridge.events("event.without_deduplication_key")}
    assert len(bridge.events("event.without_deduplication_key")) == 2
    assert causes == {
        "amqp": "no field 'x-id' in `headers[\"x-id\"]`",
        "mqtt": 'a part of it is null in `f"{topic}/{payload.n}"`',
    }
