"""Values in Redis of another form, as a newer version may have left them: tolerated, or refused in words; nothing goes unsaid."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from bridge.model.batch import BatchSequence, DeadLetter
from bridge.model.event import OnceByXack
from tests.support.batches import (
    DEAD,
    Entry,
    Sinks,
    answer,
    batch,
    batch_of,
    copied,
    event,
    message,
    numbers,
    unavailable,
)
from tests.support.brokers import Redis

BOOKS = f"{DEAD}:books"


@pytest.fixture
async def make() -> AsyncIterator[Sinks]:
    """Make sinks that are closed at the end."""
    async with Sinks() as sinks:
        yield sinks


@pytest.mark.parametrize(
    "other",
    [
        {"format": "2"},
        {"first": "a", "last": "b"},
        {"format": "2", "first": "1", "last": "9", "1": "of another shape", "count": "1000000", "bytes": "0"},
        {"bytes": ""},
    ],
    ids=["a format", "no numbers", "other blocks", "an empty number"],
)
async def test_other_books_are_taken_for_missing(redis_server: Redis, make: Sinks, other: dict[str, str]) -> None:
    """The letters are adopted, the bounds hold again, and no letter goes unsaid."""
    sink = make(redis_server, cap=20)
    letters = [DeadLetter(event(body=b"%d" % n), "decode", "x") for n in range(10)]
    with redis_server.client() as client:
        await sink.write(batch_of([Entry(event(), [], letters)]))
        client.hset(BOOKS, mapping=other)
        assert await sink.delete_old_dead_letters() == 0
        written = await sink.write(batch_of([Entry(event(), [], letters[:1])]))
        assert (written.trimmed.counted, answer(client.xlen(DEAD))) == (0, 11)
        assert answer(client.hmget(BOOKS, "count", "format")) == [b"11", None]
        written = await sink.write(batch_of([Entry(event(), [], letters * 3)]))
        assert written.trimmed.counted == 41 - answer(client.xlen(DEAD)) > 20


async def test_a_result_of_another_form_means_that_the_batch_is_written(redis_server: Redis, make: Sinks) -> None:
    """The process that wrote it ended before it knew; its successor is of an older version."""
    sequence = BatchSequence()
    first = batch(1)
    first.sequence = sequence
    with redis_server.client() as client:
        await make(redis_server).write(first)
        (key,) = client.keys("dramatiq-bridge:batch:*")
        for result in (b"1 {messages: 1}", b"1 1 0 1 -1;0 0 0 0 7", b"1 1 0 1 -1;x|0"):
            client.set(key, result)
            again = await make(redis_server).write(copied(first, sequence, 1))
            assert (again.messages, again.duplicates) == (0, 1)
        assert numbers(client) == [1]


async def test_a_sequence_of_another_form_is_refused(redis_server: Redis, make: Sinks) -> None:
    """Nothing is written, and the words say what to do."""
    first = batch(1)
    first.assign_number()
    with redis_server.client() as client:
        client.set(f"dramatiq-bridge:batch:{first.sequence.name}", "v2:7")
        cause = await unavailable(make(redis_server).write(first))
        assert "holds no number of a batch: start the version again that has written it; or delete it" in cause
        assert client.llen("dramatiq:default") == 0


@pytest.mark.parametrize("kind", ["position", "restart"])
async def test_a_position_of_another_form_is_refused(redis_server: Redis, make: Sinks, kind: str) -> None:
    """Before any effect: the entry stays pending."""
    with redis_server.client() as client:
        client.xgroup_create("s", "g", mkstream=True)
        entry_id = answer(client.xadd("s", {"a": "b"}))
        client.xreadgroup("g", "c", {"s": ">"})
        client.set(f"dramatiq-bridge:{kind}:log", '{"offset": 7}')
        once = OnceByXack("s", "g", "s:", lifetime_ms=60_000, log="log")
        entry = Entry(event(once, deduplication_key=entry_id), [message(1)])
        cause = await unavailable(make(redis_server).write(batch_of([entry])))
        assert f"dramatiq-bridge:{kind}:log holds no position" in cause
        assert "start the version again that has written it" in cause
        assert answer(client.xpending("s", "g"))["pending"] == 1
        assert client.llen("dramatiq:default") == 0
