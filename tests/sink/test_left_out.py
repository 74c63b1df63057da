"""The routes of an event that were written before, as the write names them: nothing but their key tells."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from bridge.model.batch import Batch, Written
from bridge.model.event import OncePerRoute
from tests.support.batches import Sinks, copied, event, message
from tests.support.brokers import Redis


@pytest.fixture
async def make() -> AsyncIterator[Sinks]:
    """Make sinks that are closed at the end."""
    async with Sinks() as sinks:
        yield sinks


async def test_the_routes_of_which_a_part_of_an_event_was_written_before(redis_server: Redis, make: Sinks) -> None:
    """They are named, whatever their names are; also to who asks again, and of a batch in parts; a whole duplicate has none."""
    strange = "a:b/1|2;\n9 \u00e4"

    def made(*routes: list[str]) -> Batch:
        events = [event(OncePerRoute("s:", 60_000), deduplication_key=b"%d" % n) for n in range(len(routes))]
        batch = Batch(events)
        for index, names in enumerate(routes):
            for name in names:
                batch.add(index, [message(1), message(2, "other")], name)
        return batch

    assert (await make(redis_server).write(made([strange], ["one"], ["one"], ["two"]))).left_out == []
    batch = made(["one", strange], ["one"], ["one", "two"], ["one"])
    expected = [(0, strange), (2, "one")]
    written = await make(redis_server).write(batch)
    assert (written, sorted(written.left_out)) == (Written(6, 1), expected)
    again = await make(redis_server).write(copied(batch, batch.sequence, batch.number))
    assert (again, sorted(again.left_out)) == (written, expected)
    halved = made(["two", strange], ["one"], ["three", "two"], ["one", "three"])
    halved.number = 7
    halved.halves = halved.split()
    written = await make(redis_server).write(halved)
    assert (written, sorted(written.left_out)) == (Written(6, 1), [(0, strange), (2, "two"), (3, "one")])
