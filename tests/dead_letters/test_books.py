"""The books stay right, whatever is retried and purged: the stream stays within its bounds, and no letter goes too early."""

from __future__ import annotations

import random
from typing import Any

import pytest

from bridge.dead_letters.retry import Retrier
from bridge.errors import SinkUnavailable
from bridge.model.batch import DeadLetter
from tests.support.batches import DEAD, Entry, Sinks, answer, batch_of, event
from tests.support.letters import Desk, order


async def write(sinks: Sinks, desk: Desk, count: int, cap: int, size: int = 10) -> None:
    """Write letters that no route can make a message of."""
    sink = sinks(desk.server, cap=cap)
    bodies = (b'{"x": "%b"}' % (b"y" * size) for _ in range(count))
    letters = [DeadLetter(order(body), "missing-field", "x", "record") for body in bodies]
    for start in range(0, count, 100):
        await sink.write(batch_of([Entry(event(), [], letters[start : start + 100])]))


async def test_any_order_of_writes_retries_and_purges(desk: Desk) -> None:
    """After each step the books have exactly the letters that are there, and never more than `max_length`."""
    chance = random.Random(17)
    cap = 300
    retry: dict[str, Any] = {"from": "orders", "actor": "record", "args": [1]}
    mended = desk.write_config([retry], dead_letters={"max_length": cap})
    broken = desk.write_config([{**retry, "args": ["$payload.none"]}], dead_letters={"max_length": cap})
    async with Sinks() as sinks:
        for _ in range(120):
            step, letters = chance.randrange(5), await desk.letters()
            some = chance.sample(letters, min(len(letters), chance.randrange(1, 60)))
            if step < 2:
                await write(sinks, desk, chance.randrange(1, 150), cap, chance.choice([1, 100, 6_000]))
            elif step == 2:
                await desk.store.purge([letter.id for letter in some])
            else:
                retrier = Retrier(mended if step == 3 else broken, desk.store)
                async for _, retried in retrier.retry_all(some):
                    assert retried.outcome == ("retried" if step == 3 else "failed"), retried
            books = desk.books()
            assert books["count"] == books["length"] <= cap
            sizes = sum(letter.size for letter in await desk.letters())
            assert sizes <= books["bytes"] <= sizes * 1.3 + 210 * books["count"]
        await desk.store.purge([letter.id for letter in await desk.letters()])
    assert desk.books() == {"count": 0, "bytes": 0, "length": 0, "blocks": 0}


async def test_blocks_that_are_empty_do_not_pile_up(desk: Desk) -> None:
    """An old letter stays, thousands come and go behind it: the books keep some hundred blocks at most."""
    desk.write_config([{"from": "orders", "actor": "record", "args": [1]}], dead_letters={"max_length": 128})
    async with Sinks() as sinks:
        for _ in range(12):
            await write(sinks, desk, 110, 128)
            letters = await desk.letters()
            await desk.store.purge([letter.id for letter in letters[1:]])
            assert desk.books()["count"] == 1
            assert desk.books()["blocks"] <= 4 * 128 + 112
        assert (await desk.letters())[0].id == letters[0].id
        await write(sinks, desk, 127, 128)
        assert desk.books()["length"] == 128


async def test_letters_without_books_and_of_strangers(desk: Desk) -> None:
    """Those of before the books, and those that somebody else has written, are retried and purged; the books do not suffer."""
    with desk.server.client() as client:
        foreign = [answer(client.xadd(DEAD, {"body": b"x" * 100})).decode() for _ in range(50)]
        assert await desk.store.purge(foreign[:10]) == 10
        async with Sinks() as sinks:
            await write(sinks, desk, 20, 1000)  # adopts them
            assert desk.books()["count"] == 60
            assert await desk.store.purge(foreign[:20]) == 10
            assert desk.books()["count"] == 50
            client.xdel(DEAD, *foreign[20:25])
            client.xadd(DEAD, {"body": "y"})
            ids = [letter.id for letter in await desk.letters()]
            assert await desk.store.purge(ids) == len(ids)
            assert answer(client.xlen(DEAD)) == 0
            await write(sinks, desk, 5, 1000)
            assert desk.books()["length"] == 5
        client.delete(DEAD, f"{DEAD}:books")
        assert await desk.store.purge(ids) == 0
        assert answer(client.exists(DEAD, f"{DEAD}:books")) == 0


async def test_a_broken_key_is_said(desk: Desk) -> None:
    """Of the books too; nothing is deleted."""
    (letter,) = await desk.receive(order(b"{}"))
    with desk.server.client() as client:
        client.delete(f"{DEAD}:books")
        client.set(f"{DEAD}:books", "x")
        for run in (desk.store.purge([letter.id]), desk.retry(letter)):
            with pytest.raises(SinkUnavailable, match=r"DEADLETTERS .*books holds a string"):
                await run
        assert answer(client.xlen(DEAD)) == 1
