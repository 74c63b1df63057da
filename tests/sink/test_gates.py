"""Messages that are written only once: by the source's key for each route, and by a key of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest

from bridge.model.batch import Batch, BatchSequence, Written
from bridge.model.event import OnceByKey, OnceByPosition, OnceByXack, OncePerRoute, WriteOnce
from bridge.model.message import Gate, GateRule, Message
from bridge.redis_io.connection import Word, encode_command
from bridge.sink.dead_letters import LetterBounds
from bridge.sink.script_arguments import ScriptArguments
from tests.support.batches import DEAD, Sinks, answer, copied, event, message, numbers, unavailable
from tests.support.brokers import Redis


@pytest.fixture
async def make() -> AsyncIterator[Sinks]:
    """Make sinks that are closed at the end."""
    async with Sinks() as sinks:
        yield sinks


async def test_every_message_of_a_route_is_written_for_the_key_of_its_source(redis_server: Redis, make: Sinks) -> None:
    """Two messages of one route and event are no duplicates of each other; once the event comes again, both are."""
    sink = make(redis_server)

    def again() -> Batch:
        made = Batch([event(OncePerRoute("orders:", 60_000), deduplication_key=b"o-1")])
        made.add(0, [message(1), message(2), message(3, "other")], "lines")
        made.add(0, [message(4)], "audit")
        return made

    assert await sink.write(again()) == Written(4, 0)
    assert await sink.write(again()) == Written(0, 1)
    with redis_server.client() as client:
        assert (numbers(client), numbers(client, "other")) == ([1, 2, 4], [3])
        assert client.get("dramatiq-bridge:seen:orders:o-1") == b"lines\naudit"


def gated(number: int, key: str = "", queue: str = "default", route: str = "lines", within_ms: int = 60_000) -> Message:
    """Make a message with a key of its own, by default its number."""
    made = message(number, queue)
    return Message(made.queue, made.id, made.body, Gate(GateRule(route, within_ms), (key or str(number)).encode()))


def suppressed(written: Written) -> list[tuple[int, str]]:
    """Return the event and the route of each message that was left out for its own key."""
    return [(one.event_index, one.gate.rule.route) for one in written.suppressed]


def made_of(
    *events: list[Message], once: Sequence[WriteOnce | None] = (), sequence: BatchSequence | None = None
) -> Batch:
    """Make a batch of events with these messages, each event with its number as key where there is a condition."""
    conditions = [*once, *[None] * (len(events) - len(once))]
    made = Batch(
        [event(condition, deduplication_key=b"%d" % n) for n, condition in enumerate(conditions)],
        sequence or BatchSequence(),
    )
    for index, messages in enumerate(events):
        for each in messages:
            route = each.gate.rule.route if each.gate else "plain"
            made.add(index, [each], route if isinstance(conditions[index], OncePerRoute) else "")
    return made


async def test_a_message_whose_key_is_there_is_left_out(redis_server: Redis, make: Sinks) -> None:
    """Others of its event, also of its route, are written; an event of which nothing is written counts as a duplicate."""
    sink = make(redis_server)
    first = made_of([gated(1), gated(2), gated(3, key="1"), message(4)], [gated(5, key="2")])
    written = await sink.write(first)
    assert (written, suppressed(written)) == (Written(3, 1), [(0, "lines"), (1, "lines")])
    assert list(written.duplicate_indexes) == [1]
    written = await sink.write(made_of([gated(6, key="1")], [gated(7, key="7")], [gated(8, key="1", route="audit")]))
    assert (written, list(written.duplicate_indexes)) == (Written(2, 1), [0])
    with redis_server.client() as client:
        assert numbers(client) == [1, 2, 4, 7, 8]
        keys = sorted(client.scan_iter("dramatiq-bridge:once:*"))
        assert keys == [b"dramatiq-bridge:once:" + end for end in (b"audit:1", b"lines:1", b"lines:2", b"lines:7")]
        assert all(59_000 < answer(client.pttl(key)) <= 60_000 for key in keys)


async def test_two_routes_never_share_a_key(redis_server: Redis, make: Sinks) -> None:
    """Also where a colon in a name could make one key of two."""
    made = made_of([gated(1, key="b:c", route="a"), gated(2, key="c", route="a:b"), gated(3, key="c", route="a%3Ab")])
    assert await make(redis_server).write(made) == Written(3, 0)
    with redis_server.client() as client:
        assert numbers(client) == [1, 2, 3]


async def test_the_first_of_a_batch_is_written_whatever_its_queue_is(redis_server: Redis, make: Sinks) -> None:
    """Where a route chooses the queue, the order of the events decides, not that of the queues."""
    made = made_of(
        [message(0, "urgent")], [gated(1, key="k")], [gated(2, key="k", queue="urgent"), gated(3, queue="urgent")]
    )
    assert await make(redis_server).write(made) == Written(3, 0)
    with redis_server.client() as client:
        assert (numbers(client, "urgent"), numbers(client)) == ([0, 3], [1])


async def test_a_gated_batch_is_written_once(redis_server: Redis, make: Sinks) -> None:
    """Sent again because its reply was lost, it writes nothing, and tells the same result: its own keys are no duplicates."""
    sink, same = make(redis_server), made_of([gated(1)], [gated(2, key="1")])
    assert await sink.write(same) == Written(1, 1)
    again = copied(same, same.sequence, same.number)
    written = await make(redis_server).write(again)
    assert (written, suppressed(written)) == (Written(1, 1), [(1, "lines")])
    with redis_server.client() as client:
        assert numbers(client) == [1]


async def test_the_parts_of_a_split_batch_keep_their_gates(redis_server: Redis, make: Sinks) -> None:
    """One event in a batch that Redis refuses for good costs the others neither their keys nor their place in the order."""
    events = [[gated(n), message(10 + n)] for n in range(4)] + [[gated(4, key="0")]]
    made = made_of(*events)
    made.number = 7
    made.halves = made.split()
    written = await make(redis_server).write(made)
    assert (written, suppressed(written)) == (Written(8, 1), [(4, "lines")])
    assert list(written.duplicate_indexes) == [4]
    with redis_server.client() as client:
        assert numbers(client) == [0, 10, 1, 11, 2, 12, 3, 13]


async def test_merged_batches_keep_their_gates(redis_server: Redis, make: Sinks) -> None:
    """The batches of a spool are written as one; each message keeps its own key."""
    made = made_of([message(1), gated(2)])
    made.extend(made_of([gated(3, key="2"), gated(4)], [message(5)]))
    written = await make(redis_server).write(made)
    assert (written, suppressed(written)) == (Written(4, 0), [(1, "lines")])
    with redis_server.client() as client:
        assert numbers(client) == [1, 2, 4, 5]


async def test_a_redis_that_is_full_uses_no_key(redis_server: Redis, make: Sinks) -> None:
    """It refuses the whole batch before any effect: once it has room, each message is written."""
    sink = make(redis_server)
    made = made_of([gated(1)], [gated(2, key="1")])
    await sink.probe()
    with redis_server.client() as client:
        client.config_set("maxmemory", 1)
        try:
            assert "OOM" in await unavailable(sink.write(made))
        finally:
            client.config_set("maxmemory", 0)
        assert client.keys("dramatiq-bridge:once:*") == []
        assert await sink.write(made) == Written(1, 1)
        assert numbers(client) == [1]


async def test_a_refused_message_uses_no_key(redis_server: Redis, make: Sinks) -> None:
    """Its event becomes a dead letter, and none of its messages is written: once it is retried, its key is still free."""
    with redis_server.client() as client:
        client.set("dramatiq:broken", "a text")
        made = made_of([gated(1), message(2, "broken")], [gated(3)])
        assert await make(redis_server).write(made) == Written(1, 0, 1)
        assert numbers(client) == [3]
        assert client.keys("dramatiq-bridge:once:*") == [b"dramatiq-bridge:once:lines:3"]


@pytest.mark.parametrize(
    "once",
    [OncePerRoute("s:", 60_000), OnceByKey("s:", 60_000, "s"), OnceByPosition("s")],
    ids=["route", "key", "position"],
)
async def test_a_key_of_its_own_and_a_condition_of_the_source(
    redis_server: Redis, make: Sinks, once: WriteOnce
) -> None:
    """An event that comes again is a duplicate by its source, and its messages touch no key; a new one is asked for its own."""
    sink = make(redis_server)
    events = [[gated(1), message(2)], [gated(3, key="1"), message(4)], [gated(5, key="1")]]
    first = await sink.write(made_of(*events, once=[once] * 3))
    assert (first, list(first.duplicate_indexes), suppressed(first)) == (
        Written(3, 1), [2], [(1, "lines"), (2, "lines")],
    )  # fmt: skip
    with redis_server.client() as client:
        client.delete("dramatiq-bridge:once:lines:1")
        again = await sink.write(made_of(*events, once=[once] * 3))
        assert (again, suppressed(again)) == (Written(0, 3), [])
        assert numbers(client) == [1, 2, 4]
        assert client.keys("dramatiq-bridge:once:*") == []


async def test_a_stream_entry_with_a_key_is_acknowledged_by_its_write(redis_server: Redis, make: Sinks) -> None:
    """Left out or written, the entry is acknowledged in the same step."""
    with redis_server.client() as client:
        ids = [answer(client.xadd("in", {"n": n})) for n in range(2)]
        client.xgroup_create("in", "g", 0)
        client.xreadgroup("g", "me", {"in": ">"})
        once = OnceByXack("in", "g", "s:", 60_000, "s")
        made = Batch([event(once, deduplication_key=entry) for entry in ids])
        for index in range(2):
            made.add(index, [gated(index, key="same")])
        assert await make(redis_server).write(made) == Written(1, 1)
        assert answer(client.xpending("in", "g"))["pending"] == 0
        assert numbers(client) == [0]


async def test_a_batch_without_keys_sends_what_it_always_sent(make: Sinks) -> None:
    """Byte for byte: who uses no key of a route pays nothing for those who do."""
    del make
    made = made_of([message(1), message(2, "other")], [message(3)], once=[OncePerRoute("s:", 60_000)] * 2)
    (one, body_1), (three, body_3) = made.queues["default"].messages
    ((two, body_2),) = made.queues["other"].messages
    keys = ["dramatiq-bridge:batch:" + made.sequence.name, DEAD, "dramatiq:default", "dramatiq:default.msgs",
            "dramatiq:other", "dramatiq:other.msgs", "dramatiq-bridge:seen:s:0", "dramatiq-bridge:seen:s:1"]  # fmt: skip
    values: list[Word] = [1, 21600, 0, 2, 0, 1, "r", 2, 7, 60000, 1, "plain",
              2, "", "1 1", one, body_1, three, body_3, 1, "", "1", two, body_2]  # fmt: skip
    arguments = ScriptArguments("dramatiq", LetterBounds(1, 1, 1), made, 1)
    assert arguments.command("EVALSHA", "digest") == encode_command("EVALSHA", "digest", len(keys), *keys, *values)


async def test_messages_that_follow_one_another_are_one_series(make: Sinks) -> None:
    """An event of many elements, or many events: beside its key none of them makes the command longer."""
    del make
    for one_event in (True, False):
        messages = [gated(n) for n in range(100)]
        made = made_of(messages) if one_event else made_of(*([each] for each in messages))
        columns = made.queues["default"].messages
        keys: list[Word] = [
            "dramatiq-bridge:batch:" + made.sequence.name,
            DEAD,
            "dramatiq:default",
            "dramatiq:default.msgs",
        ]
        keys += [f"dramatiq-bridge:once:lines:{n}" for n in range(100)]
        values: list[Word] = [
            1,
            21600,
            0,
            1,
            0,
            1,
            "k",
            1,
            5,
            f"100 1 0 0 {0 if one_event else 1} 0 60000",
            0,
            100,
            "",
            "",
        ]
        values += [word for pair in columns for word in pair]
        arguments = ScriptArguments("dramatiq", LetterBounds(1, 1, 1), made, 1)
        assert arguments.command("EVALSHA", "digest") == encode_command("EVALSHA", "digest", len(keys), *keys, *values)


async def test_a_series_ends_where_the_next_message_is_another_one(redis_server: Redis, make: Sinks) -> None:
    """Of another route, event, queue or lifetime, or behind one without a key: each message keeps its own place and event."""
    made = made_of(
        [gated(1), gated(2), message(3), gated(4)],
        [gated(5, key="2"), gated(6, route="audit")],
        [gated(7)], [message(8)],
        [gated(9, queue="other"), gated(10, key="7"), gated(11, within_ms=9_000)],
        [gated(12, key="1"), gated(13, queue="other", key="9")],
    )  # fmt: skip
    written = await make(redis_server).write(made)
    assert suppressed(written) == [(1, "lines"), (4, "lines"), (5, "lines"), (5, "lines")]
    assert list(written.duplicate_indexes) == [5]
    with redis_server.client() as client:
        assert (numbers(client), numbers(client, "other")) == ([1, 2, 3, 4, 6, 7, 8, 11], [9])
        assert 8_000 < answer(client.pttl("dramatiq-bridge:once:lines:11")) <= 9_000


async def test_a_key_of_another_type_costs_its_own_event(redis_server: Redis, make: Sinks) -> None:
    """It becomes a dead letter; the others are written, and those whose keys are there are left out."""
    sink = make(redis_server)
    assert await sink.write(made_of([gated(1)])) == Written(1, 0)
    with redis_server.client() as client:
        client.rpush("dramatiq-bridge:once:lines:2", "a list")
        written = await sink.write(made_of([gated(3)], [gated(2), message(4)], [gated(5, key="1")], [gated(6)]))
        assert (written, suppressed(written)) == (Written(2, 1, 1), [(2, "lines")])
        assert numbers(client) == [1, 3, 6]
        assert client.lrange("dramatiq-bridge:once:lines:2", 0, -1) == [b"a list"]
