"""Dead letters are read as they were written: one by one, by filters, in pages, whatever anybody has put there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from bridge.config import Dramatiq
from bridge.dead_letters.letters import Letter
from bridge.dead_letters.store import Filter, LetterStore
from bridge.errors import SinkUnavailable
from bridge.model.batch import DeadLetter
from tests.support.batches import DEAD, Entry, Sinks, batch_of, event
from tests.support.brokers import Redis


@pytest.fixture
async def store(redis_server: Redis) -> AsyncIterator[LetterStore]:
    """Read the letters in the shared Redis."""
    made = LetterStore(Dramatiq(url=redis_server.url))
    yield made
    await made.close()


async def write(server: Redis, *letters: DeadLetter) -> None:
    """Write dead letters as the bridge does."""
    async with Sinks() as sinks:
        sink = sinks(server, cap=100_000)
        for start in range(0, len(letters), 500):
            await sink.write(batch_of([Entry(event(), [], list(letters[start : start + 500]))]))


async def test_a_letter_is_read_as_it_was_written(redis_server: Redis, store: LetterStore) -> None:
    """All its fields; the time of its death is in its id."""
    dead = event(body=b"\xff\x00", raw=({"h": [1]}, {"qos": 1, "retain": None}))
    await write(redis_server, DeadLetter(dead, "decode", "why", "hot"))
    (letter,) = await store.newest(5)
    assert await store.get(letter.id) == letter
    assert letter == Letter(
        id=letter.id, reason="decode", error="why", source="plant", route="hot", topic="a/b", received_at_ms=1234,
        headers={"h": [1]}, meta={"qos": 1}, body=b"\xff\x00", body_size=2, size=letter.size,
    )  # fmt: skip
    assert letter.dead_at_ms == int(letter.id.split("-")[0])
    assert await store.get("1-1") is None
    assert await store.get("what") is None


async def test_thousands_are_read_in_pages(redis_server: Redis, store: LetterStore) -> None:
    """Each once, in order, either way; up to an id none behind it."""
    await write(redis_server, *(DeadLetter(event(body=b"%d" % n), "decode", "x") for n in range(2500)))
    there = [letter async for letter in store.every()]
    assert [int(letter.body) for letter in there] == list(range(2500))
    back = [letter async for letter in store.every(newest_first=True)]
    assert back == there[::-1]
    assert [int(letter.body) async for letter in store.every(up_to=there[1200].id)] == list(range(1201))
    assert await store.count() == 2500
    assert await store.last_id() == there[-1].id


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Filter(), [0, 1, 2]),
        (Filter(source="plant", route="hot"), [0]),
        (Filter(reason="poison"), [1]),
        (Filter(text="STRASSE"), [2]),
        (Filter(text="a/B"), [0, 1, 2]),
        (Filter(source="other"), []),
        (Filter(older_ms=1), []),
        (Filter(newer_ms=2**52), []),
        (Filter(newer_ms=1), [0, 1, 2]),
    ],
)
async def test_filters(redis_server: Redis, store: LetterStore, wanted: Filter, found: list[int]) -> None:
    """By source, route, reason, age, and text in any case of its letters."""
    await write(
        redis_server,
        DeadLetter(event(body=b"0"), "decode", "x", "hot"),
        DeadLetter(event(body=b"1"), "poison", "x"),
        DeadLetter(event(body="2 Straße".encode()), "decode", "x"),
    )
    assert [int(letter.body[:1]) async for letter in store.every(wanted)] == found
    assert [int(letter.body[:1]) for letter in await store.newest(9, wanted)] == found[::-1]


async def test_anything_that_stands_there_is_read(redis_server: Redis, store: LetterStore) -> None:
    """Fields of somebody else, of wrong types, without any of ours."""
    odd: list[dict[str, Any]] = [
        {"x": "y"},
        {"headers": "[1]", "meta": "{", "received_at": "soon", "body_size": "-1", "redacted": "x", "earlier": "{}"},
        {"reason": b"\xff\xfe", "topic": b"\x1b[31m", "headers": b"\xff", "body_cut": "1", "body_size": "9" * 30},
    ]
    with redis_server.client() as client:
        for fields in odd:
            client.xadd(DEAD, fields)
    letters = [letter async for letter in store.every()]
    assert [letter.reason for letter in letters] == ["", "", "\\xff\\xfe"]
    assert letters[1].redacted == ("payload",)


async def test_errors_are_in_words(redis_server: Redis, store: LetterStore) -> None:
    """A key of another type, and a Redis that is not there."""
    with redis_server.client() as client:
        client.set(DEAD, "x")
    with pytest.raises(SinkUnavailable, match="the key of the dead letters holds no stream"):
        await store.newest(1)
    away = LetterStore(Dramatiq(url="redis://127.0.0.1:1"))
    with pytest.raises(SinkUnavailable, match="refused"):
        await away.count()
