"""The sink: a batch is in Redis whole and once, or not at all."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
import redis

from bridge.model.batch import BatchSequence, DeadLetter, Written
from bridge.model.event import OnceByPosition, OnceByXack
from bridge.sink.attempts import RedisAttempts
from tests.support.batches import DEAD, Entry, Sinks, answer, batch, batch_of, copied, event, message, numbers
from tests.support.brokers import Redis
from tests.support.documents import acl_line
from tests.support.processes import assert_no_orphans


@pytest.fixture
async def make() -> AsyncIterator[Sinks]:
    """Make sinks that are closed at the end."""
    async with Sinks() as sinks:
        yield sinks


async def test_list_and_hash_agree(redis_server: Redis, make: Sinks) -> None:
    """For every queue each id of the list is in the hash and in its message, in the order of the batch."""
    entries = [Entry(event(), [message(n), message(n, "other"), message(n, "default.DQ")]) for n in range(5)]
    assert await make(redis_server).write(batch_of(entries)) == Written(15, 0)
    with redis_server.client() as client:
        for queue in ("default", "other", "default.DQ"):
            assert numbers(client, queue) == [0, 1, 2, 3, 4]
        assert_no_orphans(client)
        keys = {key.decode() for key in client.scan_iter()}
    names = ("default", "other", "default.DQ")
    assert {key for key in keys if "batch" not in key} == {f"dramatiq:{q}{end}" for q in names for end in ("", ".msgs")}


async def test_an_empty_batch_writes_no_message(redis_server: Redis, make: Sinks) -> None:
    """Events without a message need no queue."""
    assert await make(redis_server).write(batch_of([Entry(event()), Entry(event())])) == Written(0, 0)
    assert await make(redis_server).write(batch_of([])) == Written(0, 0)
    with redis_server.client() as client:
        assert list(client.scan_iter("dramatiq:*")) == []


@pytest.mark.parametrize("once", [False, True])
async def test_the_same_batch_is_written_once(redis_server: Redis, make: Sinks, once: bool) -> None:
    """A write that is sent again because its reply was lost does nothing, even after workers have consumed the messages."""
    same, lost = batch(1, 2, once=once), make(redis_server)
    with redis_server.client() as client:
        await lost.write(same)
        again = copied(same, same.sequence, same.number)
        assert await lost.write(again) == Written(2, 0)
        assert numbers(client) == [1, 2]
        client.delete("dramatiq:default", "dramatiq:default.msgs")
        again = copied(same, same.sequence, same.number)
        assert await make(redis_server).write(again) == Written(2, 0)
        assert list(client.scan_iter("dramatiq:*")) == []


async def test_a_written_batch_is_remembered_for_six_hours(redis_server: Redis, make: Sinks) -> None:
    """One key, however many batches there are, makes all of them safe to send again; it expires by itself."""
    sink, sequence = make(redis_server), BatchSequence()
    for number in range(50):
        await sink.write(copied(batch(number), sequence))
    with redis_server.client() as client:
        assert list(client.scan_iter("dramatiq-bridge:*")) == [f"dramatiq-bridge:batch:{sequence.name}".encode()]
        assert 21_000 < answer(client.ttl(f"dramatiq-bridge:batch:{sequence.name}")) <= 6 * 3600


async def test_a_batch_before_the_last_one_written_is_written_already(redis_server: Redis, make: Sinks) -> None:
    """A batch that is tried again after a later one of its sequence, as after a crash, counts as duplicates and writes nothing."""
    sink, sequence = make(redis_server), BatchSequence()
    first = copied(batch(0, 1), sequence)
    await sink.write(first)
    await sink.write(copied(batch(2), sequence))
    again = copied(first, BatchSequence(sequence.name, sequence.last), first.number)
    assert await make(redis_server).write(again) == Written(0, duplicates=2)
    with redis_server.client() as client:
        assert numbers(client) == [0, 1, 2]


async def test_a_batch_that_has_its_number_moves_its_sequence_on(redis_server: Redis, make: Sinks) -> None:
    """A batch that follows one that was numbered before a restart has a later number, and is written."""
    sink, sequence = make(redis_server), BatchSequence("kept")
    assert await sink.write(copied(batch(1), sequence, 7)) == Written(1, 0)
    assert await sink.write(copied(batch(2), sequence)) == Written(1, 0)
    assert sequence.last == 8
    with redis_server.client() as client:
        assert numbers(client) == [1, 2]


async def test_a_deduplication_key_is_written_once(redis_server: Redis, make: Sinks) -> None:
    """An event that is delivered again in another batch is a duplicate while Redis remembers it, and only then."""
    sink = make(redis_server)
    assert await sink.write(batch(1, 2, 1, once=True)) == Written(2, 1)
    assert await sink.write(batch(2, 3, once=True)) == Written(1, 1)
    with redis_server.client() as client:
        assert numbers(client) == [1, 2, 3]
        assert 50_000 < answer(client.pttl("dramatiq-bridge:seen:s:1")) <= 60_000
        client.delete("dramatiq-bridge:seen:s:1")
    assert await sink.write(batch(1, once=True)) == Written(1, 0)


def stream(client: redis.Redis, count: int) -> list[bytes]:
    """Make a stream with entries that its group has read and not acknowledged; return their ids."""
    answer(client.xgroup_create("audit", "g", "0", mkstream=True))
    ids = [answer(client.xadd("audit", {"n": number})) for number in range(count)]
    client.xreadgroup("g", "me", {"audit": ">"})
    return ids


async def test_a_stream_entry_is_acknowledged_by_its_write(redis_server: Redis, make: Sinks) -> None:
    """XACK is part of the write: an entry is enqueued exactly once, however often it is written; so is one without messages."""
    with redis_server.client() as client:
        ids = stream(client, 4)
        once = OnceByXack("audit", "g", ":audit:g:", 60_000, "audit g")
        events = [event(once, deduplication_key=entry_id) for entry_id in ids]
        letter = DeadLetter(events[2], "decode", "not JSON")

        def entries() -> list[Entry]:
            return [
                Entry(events[0], [message(0), message(0, "other")]),
                Entry(events[1]),
                Entry(events[2], [], [letter]),
                Entry(events[3], [message(3)]),
            ]

        sink = make(redis_server)
        assert await sink.write(batch_of(entries())) == Written(3, 0)
        assert answer(client.xpending("audit", "g"))["pending"] == 0
        assert await sink.write(batch_of(entries())) == Written(0, 4)
        assert numbers(client) == [0, 3]
        assert numbers(client, "other") == [0]
        assert client.xlen(DEAD) == 1


async def test_a_batch_of_10000_messages(redis_server: Redis, make: Sinks) -> None:
    """A large batch is one atomic write too."""
    entries = [Entry(event(), [message(n, f"q{n % 3}")]) for n in range(9000)]
    entries.append(Entry(event(), [message(n) for n in range(10_000)]))
    assert await make(redis_server).write(batch_of(entries)) == Written(19_000, 0)
    with redis_server.client() as client:
        assert numbers(client) == list(range(10_000))
        for rest in range(3):
            assert numbers(client, f"q{rest}") == list(range(rest, 9000, 3))


@pytest.mark.parametrize("namespace", ["{dramatiq}", "a:b", "ü"])
async def test_every_key_is_in_the_namespace(redis_server: Redis, make: Sinks, namespace: str) -> None:
    """Two installations in one Redis never meet; with a hash tag all keys are in one slot of a cluster."""
    sink = make(redis_server, namespace=namespace)
    await sink.write(batch(1, once=True))
    await sink.write(batch_of([Entry(event(), [message(2)], [DeadLetter(event(), "decode", "x")])]))
    with redis_server.client() as client:
        assert numbers(client, namespace=namespace) == [1, 2]
        assert all(key.decode().startswith((f"{namespace}:", f"{namespace}-bridge:")) for key in client.scan_iter())


async def test_a_dead_letter_keeps_everything_known(redis_server: Redis, make: Sinks) -> None:
    """Reason, error, source, route, topic, headers, meta, time and the raw bytes of the body, even if they are no text."""
    body = bytes(range(256))
    dead = event(None, body, raw=({"a": 1, "b": b"\xff", "t": (1, "x")}, {"message_id": "m", "qos": None}))
    letters = [
        DeadLetter(dead, "decode", "not JSON: \ud800", "a-route"),
        DeadLetter(event(raw=({"x": object()}, {})), "option", "y"),
    ]
    await make(redis_server).write(batch_of([Entry(dead, [], letters)]))
    with redis_server.client() as client:
        (_, fields), (_, other) = answer(client.xrange(DEAD))
    assert json.loads(fields.pop(b"headers")) == {"a": 1, "b": "/w==", "t": [1, "x"]}
    assert json.loads(fields.pop(b"meta")) == {"message_id": "m"}
    assert fields == {
        b"version": b"1", b"body_cut": b"0",
        b"reason": b"decode", b"error": b"not JSON: \\ud800", b"source": b"plant", b"route": b"a-route",
        b"topic": b"a/b", b"received_at": b"1234", b"body_size": b"256", b"body": body,
    }  # fmt: skip
    assert (other[b"headers"], other[b"meta"]) == (b"{}", b"{}")
    assert b"JSON has no value" in other[b"details_error"]


async def test_the_minimal_acl_is_enough(redis_server: Redis, make: Sinks) -> None:
    """The permissions that the documents name are all that the bridge needs in Dramatiq's Redis."""
    with redis_server.client() as client:
        try:
            client.execute_command(*acl_line().split())
            sink = make(redis_server, username="bridge", password="secret")
            await sink.ping()
            assert await sink.write(batch(1, 2, once=True)) == Written(2, 0)
            letter = DeadLetter(event(), "decode", "for a test")
            assert await sink.write(batch_of([Entry(event(), [], [letter])])) == Written(0, 0)
            assert numbers(client) == [1, 2]
            assert client.xlen(DEAD) == 1
            assert await sink.queue_length("default") == 2
            assert (await sink.memory()).used > 0
            attempts = RedisAttempts(sink.connections, "dramatiq")
            assert await attempts.begin("a", [b"1"], below=5) == [0]
            assert await attempts.begin("a", [b"1"], below=5) == [1]
            await attempts.forget("a", [b"1"])
        finally:
            client.execute_command("ACL", "DELUSER", "bridge")


@pytest.mark.parametrize(
    ("position", "offset", "written"),
    [
        (None, 0, 1),
        (5, 4, 0),
        (5, 5, 1),
        (10, 9, 0),
        (10**15, 10**15 - 1, 0),
        (2**53 + 1, 2**53, 0),
        (2**53 + 1, 2**53 + 1, 1),
    ],
)
async def test_an_offset_before_the_position_is_a_duplicate(
    redis_server: Redis, make: Sinks, position: int | None, offset: int, written: int
) -> None:
    """Also of offsets that Lua's numbers do not hold."""
    once = OnceByPosition("log")
    with redis_server.client() as client:
        if position is not None:
            client.set("dramatiq-bridge:position:log", position)
        result = await make(redis_server).write(
            batch_of([Entry(event(once, deduplication_key=b"%d" % offset), [message(1)])])
        )
        assert result == Written(written, 1 - written)
        assert client.get("dramatiq-bridge:position:log") == b"%d" % max(position or 0, offset + 1)
