"""Dead letters are bounded in number, bytes and age: the oldest go, counted; a body that a retry could use is kept whole."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from bridge.config import DeadLetters, Dramatiq
from bridge.model.batch import BatchSequence, DeadLetter, Trimmed
from bridge.sink import RedisSink
from bridge.sink.dead_letters import LetterBounds
from bridge.sink.redis_sink import SCRIPT
from bridge.sink.script_arguments import ScriptArguments
from tests.support.batches import DEAD, Entry, Sinks, answer, batch_of, copied, dead_letters, event, load, write
from tests.support.brokers import Redis
from tests.support.documents import acl_line

BOOKS = f"{DEAD}:books"
NewRedis = Callable[..., Redis]


@pytest.fixture
async def make() -> AsyncIterator[Sinks]:
    """Make sinks that are closed at the end."""
    async with Sinks() as sinks:
        yield sinks


def letters(count: int, size: int = 10, start: int = 0) -> list[DeadLetter]:
    """Make dead letters whose bodies begin with their numbers."""
    return [DeadLetter(event(body=(b"%d " % n).ljust(size, b"x")), "decode", "x") for n in range(start, start + count)]


async def add(sink: RedisSink, new: list[DeadLetter]) -> Trimmed:
    """Write dead letters in batches of at most 2 MiB; return how many made room for them."""
    trimmed, step = Trimmed(), max(1, min(500, (2 << 20) // len(new[0].event.body)))
    for start in range(0, len(new), step):
        written = await sink.write(batch_of([Entry(event(), [], new[start : start + step])]))
        trimmed = trimmed.plus(written.trimmed)
    return trimmed


def numbers(client: Any) -> list[int]:
    """Return the numbers of the letters that are kept, oldest first."""
    return [int(fields[b"body"].split()[0]) for fields in dead_letters(client)]


@pytest.mark.no_cover  # it takes long enough without the tracer
@pytest.mark.parametrize("size", [100, 4096, 255 << 10])
async def test_dead_letters_take_no_more_memory_than_max_size(new_redis: NewRedis, make: Sinks, size: int) -> None:
    """Whatever their size: Redis's own figures stay below it; the newest are kept, and the others counted."""
    server, max_size = new_redis(), 4 << 20
    sink, count = make(server, cap=10**6, dead_letters={"max_size": "4MiB"}), 3 * max_size // size
    with server.client() as client:
        await add(sink, letters(1))
        before = answer(client.info("memory"))["used_memory"]
        trimmed = await add(sink, letters(count, size, 1))
        client.memory_purge()
        assert answer(client.memory_usage(DEAD, samples=0)) < 1.2 * max_size
        assert answer(client.info("memory"))["used_memory"] - before < 1.2 * max_size
        kept = numbers(client)
        assert kept == list(range(count + 1 - len(kept), count + 1))
        assert len(kept) * (size + 400) > 0.7 * max_size
        assert trimmed == Trimmed(max_size=count + 1 - len(kept))
        assert answer(client.hlen(BOOKS)) < 500


@pytest.mark.parametrize("cap", [1, 100, 1000])
async def test_dead_letters_are_capped(redis_server: Redis, make: Sinks, cap: int) -> None:
    """There are never more than `max_length`; the oldest go, and each that went is counted once."""
    sink = make(redis_server, cap=cap)
    with redis_server.client() as client:
        trimmed = await add(sink, letters(3000))
        kept = numbers(client)
        assert 0.99 * cap <= len(kept) <= cap
        assert kept[-1] == 2999
        assert trimmed == Trimmed(max_length=3000 - len(kept))


async def test_dead_letters_go_once_they_are_older_than_max_age(redis_server: Redis) -> None:
    """An old one goes with the next that is written."""
    settings = DeadLetters.model_construct(max_length=1000, max_size=1 << 20, max_age=400)
    sink = RedisSink(Dramatiq(url=redis_server.url), settings)
    with redis_server.client() as client:
        await add(sink, letters(3))
        await asyncio.sleep(0.5)
        assert await add(sink, letters(1, start=3)) == Trimmed(max_age=3)
        assert numbers(client) == [3]
    await sink.close()


async def test_dead_letters_go_max_age_after_the_last_one_counted(redis_server: Redis, make: Sinks) -> None:
    """A Redis that gets no more of them is rid of them, and of their books; neither key can be evicted before."""
    sink = make(redis_server, dead_letters={"max_age": "1m"})
    await add(sink, letters(3))
    with redis_server.client() as client:
        assert [answer(client.ttl(key)) for key in (DEAD, BOOKS)] == [-1, -1]
        assert await sink.delete_old_dead_letters() == 0
        _, letters_, size = answer(client.hget(BOOKS, "1")).split()
        client.hset(BOOKS, "1", b"%d-0 %b %b" % ((time.time() - 62) * 1000, letters_, size))
        assert await sink.delete_old_dead_letters() == 3
        assert answer(client.exists(DEAD, BOOKS)) == 0
        assert await sink.delete_old_dead_letters() == 0


async def test_dead_letters_whose_age_is_not_known_are_kept(redis_server: Redis, make: Sinks) -> None:
    """Those without books, adopted by a user without the permission for TIME, who gets it later."""
    sink = make(redis_server, dead_letters={"max_age": "1m"})
    await add(sink, letters(3))
    with redis_server.client() as client:
        _, letters_, size = answer(client.hget(BOOKS, "1")).split()
        client.hset(BOOKS, "1", b"0 %b %b" % (letters_, size))
        assert await sink.delete_old_dead_letters() == 0
        assert numbers(client) == [0, 1, 2]


async def test_letters_that_go_uncounted_are_said(redis_server: Redis, make: Sinks) -> None:
    """Without the permission to ask how many there are, those without books go but for 256; the reply says so."""
    with redis_server.client() as client:
        for n in range(600):
            client.xadd(DEAD, {"body": b"%d" % n})
        client.execute_command("ACL", "SETUSER", "default", "-xlen")
        try:
            assert await add(make(redis_server), letters(1, start=600)) == Trimmed(uncounted=1)
        finally:
            client.execute_command("ACL", "SETUSER", "default", "+xlen")
        assert numbers(client) == list(range(344, 601))


async def test_a_write_that_is_sent_again_tells_again_how_many_went(redis_server: Redis, make: Sinks) -> None:
    """Its reply may have been lost: the letters that it trimmed are counted all the same, and none more goes."""
    sink, sequence = make(redis_server, cap=2), BatchSequence()
    same = copied(batch_of([Entry(event(), [], letters(5))]), sequence)
    assert (await sink.write(same)).trimmed == Trimmed(max_length=3)
    assert (await sink.write(copied(same, sequence, same.number))).trimmed == Trimmed(max_length=3)
    with redis_server.client() as client:
        assert numbers(client) == [3, 4]


@pytest.mark.parametrize("size", [None, 8])
async def test_letters_of_before_the_books_are_kept_and_bounded(
    redis_server: Redis, make: Sinks, size: int | None
) -> None:
    """A stream that an earlier version wrote, or whose books were evicted, loses no more than its bounds demand."""
    with redis_server.client() as client:
        for n in range(300):
            client.xadd(DEAD, {"body": b"%d" % n + b" " * (size or 0) * 1024})
        sink = make(redis_server, cap=200 if size is None else 1000, dead_letters={"max_size": "1MiB"})
        trimmed = await add(sink, letters(1, start=300))
        kept = numbers(client)
        assert kept == list(range(301 - len(kept), 301))
        assert sum(trimmed) == 301 - len(kept)
        assert len(kept) > (190 if size is None else 40)
        assert answer(client.memory_usage(DEAD, samples=0)) < 1.2 * (1 << 20)
        await add(sink, letters(50, 64 << 10, 301))
        assert answer(client.memory_usage(DEAD, samples=0)) < 1.2 * (1 << 20)
        assert numbers(client)[-1] == 350


async def test_letters_that_a_person_deletes_leave_the_bounds_as_they_are(redis_server: Redis, make: Sinks) -> None:
    """After DEL, XTRIM and XDEL new letters have all the room there is, and no more than that."""
    sink = make(redis_server, cap=1000, dead_letters={"max_size": "1MiB"})
    with redis_server.client() as client:
        deletions: list[Callable[[], object]] = [
            lambda: client.delete(DEAD),
            lambda: client.xtrim(DEAD, maxlen=2, approximate=False),
            lambda: client.xtrim(DEAD, maxlen=0, approximate=False),
            lambda: client.xdel(DEAD, *[letter_id for letter_id, _ in answer(client.xrange(DEAD))[::2]]),
        ]
        for delete in deletions:
            await add(sink, letters(30, 16 << 10))
            delete()
            await add(sink, letters(40, 16 << 10, 30))
            assert numbers(client)[-40:] == list(range(30, 70))
            await add(sink, letters(100, 16 << 10, 70))
            kept = numbers(client)
            assert 40 < len(kept) <= 64
            assert kept == list(range(170 - len(kept), 170))
        client.delete(DEAD)
        assert await add(sink, letters(40, 16 << 10)) == Trimmed()


async def test_a_redis_without_minid_trims_by_number(redis_server: Redis, make: Sinks) -> None:
    """Redis 6.0 knows no MINID: the same letters go."""
    sink = make(redis_server)
    with redis_server.client() as client:
        for n in range(20):
            arguments = ScriptArguments(
                "dramatiq", LetterBounds(5, 1 << 20, 60_000), batch_of([Entry(event(), [], letters(1, start=n))]), 1
            )
            command = arguments.command("EVAL", SCRIPT.replace("'MINID'", "'UNKNOWN'"))
            await sink.connections.execute_raw(command)
        assert numbers(client) == [15, 16, 17, 18, 19]


async def test_the_minimal_acl_is_enough_to_trim(redis_server: Redis, make: Sinks) -> None:
    """The permissions that the documents name bound the dead letters too, also those of before the books."""
    with redis_server.client() as client:
        for n in range(400):
            client.xadd(DEAD, {"body": b"%d" % n})
        client.execute_command(*acl_line().split())
        try:
            sink = make(redis_server, cap=300, username="bridge", password="secret")
            await add(sink, letters(1, start=400))
            kept = numbers(client)
            assert 250 <= len(kept) <= 300
            assert kept == list(range(401 - len(kept), 401))
            await add(sink, letters(1000, start=401))
            assert 297 <= len(numbers(client)) <= 300
            client.delete(DEAD)
            assert await add(sink, letters(301)) == Trimmed(max_length=2)
        finally:
            client.execute_command("ACL", "DELUSER", "bridge")


async def test_dead_letters_take_at_most_a_tenth_of_maxmemory(new_redis: NewRedis, make: Sinks) -> None:
    """However large `max_size` is: below the share of memory from which sources pause there is room for messages."""
    server = new_redis({"maxmemory": "40mb"})
    sink = make(server, cap=10**6, dead_letters={"max_size": "1GiB"})
    with server.client() as client:
        assert (await sink.memory()).limit == 40 << 20
        trimmed = await add(sink, letters(100, 255 << 10))
        assert answer(client.memory_usage(DEAD, samples=0)) < 1.2 * (4 << 20)
        assert trimmed.max_size == 100 - len(numbers(client)) > 80


async def test_a_body_that_a_retry_could_use_is_kept_whole(redis_server: Redis, tmp_path: Path) -> None:
    """A body within `max_body` is whole, however large: of a route that failed, and of one that made too much of it."""
    body = json.dumps({"text": "x" * (1 << 20)}).encode()
    for args in (["$payload.missing"], ["$[payload.text, payload.text, payload.text, payload.text]"]):
        await write(load(tmp_path, redis_server.url, {"args": args}, max_body="2MiB"), body)
    with redis_server.client() as client:
        kept = dead_letters(client)
    assert [fields[b"reason"] for fields in kept] == [b"missing-field", b"too-large"]
    assert [(fields[b"body"] == body, fields[b"body_cut"]) for fields in kept] == [(True, b"0")] * 2


async def test_a_body_that_no_retry_could_use_is_cut(redis_server: Redis, make: Sinks, tmp_path: Path) -> None:
    """Beyond `max_body` 16 KiB are kept, with the true size; a quarter of `max_size` is too large in any case."""
    await write(load(tmp_path, redis_server.url, {"args": []}), b"[" + b"1" * (300 << 10))
    sink = make(redis_server, dead_letters={"max_size": "1MiB"})
    skipped, large = event(body=b"y" * 100, skipped=400_000), event(body=b"z" * (300 << 10))
    await add(sink, [DeadLetter(skipped, "unmatched", "x"), DeadLetter(large, "poison", "x")])
    with redis_server.client() as client:
        kept = dead_letters(client)
    sizes = [(len(fields[b"body"]), int(fields[b"body_size"]), fields[b"body_cut"]) for fields in kept]
    assert sizes == [(16384, 307_201, b"1"), (100, 400_100, b"1"), (16384, 307_200, b"1")]


async def test_headers_topic_and_error_of_a_dead_letter_are_bounded(redis_server: Redis, make: Sinks) -> None:
    """Headers that fit stay, the others are counted; a topic and an error are cut, and it is said."""
    headers = {"a": 1, "huge": "x" * 100_000, "b": "y" * 20_000, "c": "z" * 20_000, "d": 2}
    one = event(raw=(headers, {"message_id": "m", "reply_to": "r" * 60_000}))
    one.topic = "ü" * 100_000
    await add(make(redis_server), [DeadLetter(one, "decode", "e" * 5000)])
    with redis_server.client() as client:
        (fields,) = dead_letters(client)
    assert json.loads(fields[b"headers"]) == {"a": 1, "b": "y" * 20_000, "d": 2}
    assert json.loads(fields[b"meta"]) == {"message_id": "m"}
    assert fields[b"details_error"].startswith(b"3 of 7 are left out: all have 200")
    assert fields[b"topic"].decode() == "ü" * 32_768
    assert fields[b"topic_cut"] == b"1"
    assert fields[b"error"] == b"e" * 1000 + b" ... (5000 characters)"


async def test_a_key_of_the_books_that_holds_another_type_costs_no_message(redis_server: Redis, make: Sinks) -> None:
    """The write waits and says why, as for the dead letters' own key; nothing is written half."""
    with redis_server.client() as client:
        client.set(BOOKS, "something else")
        with pytest.raises(Exception, match=r"DEADLETTERS WRONGTYPE .*not a hash: rename or delete it$"):
            await add(make(redis_server), letters(1))
        assert not client.exists(DEAD)
